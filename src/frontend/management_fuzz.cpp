// Any bytes as a request to a `$management` node: whatever is read stays inside them, and what can be
// answered is answered by a message that says to which request.
#include <algorithm>

#include "base/assert.h"
#include "frontend/management_codec.h"

namespace {
using namespace mainstay;            // NOLINT: a program of its own
using namespace mainstay::frontend;  // NOLINT

bool inside(BytesView part, BytesView whole) {
  return part.empty() ||
         (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}
bool same(BytesView a, BytesView b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BytesView bytes = std::as_bytes(std::span(data, size));
  const auto request = read_management_request(bytes);
  if (!request) {
    MS_ASSERT(!request.error().what.empty(), "an error says what is wrong");
    return 0;
  }
  MS_ASSERT(inside(request->correlation_id, bytes) && inside(as_bytes(request->reply_to), bytes) &&
                inside(as_bytes(request->operation), bytes) && inside(request->tracking_id, bytes),
            "views point into the request");
  const auto operation = read_management_operation(*request);
  ManagementStatus status;
  if (!operation) {
    status = operation.error();
    MS_ASSERT((status.code == 400 || status.code == 501) && !status.condition.empty() &&
                  !status.description.empty(),
              "a refusal has a condition and a sentence");
  } else if (const auto* schedule = std::get_if<ScheduleMessages>(&*operation)) {
    MS_ASSERT(!schedule->messages.empty(), "at least one message");
    for (const BytesView message : schedule->messages)
      MS_ASSERT(inside(message, bytes), "messages are the client's");
  } else if (const auto* renew = std::get_if<RenewLock>(&*operation)) {
    MS_ASSERT(!renew->tokens.empty() && renew->tokens.size() <= kManagementItemsMax,
              "a bounded number of locks");
  }
  const Buffer response = encode_management_response(ManagementReply(*request), status);
  MS_ASSERT(amqp::well_formed(response, std::nullopt), "a response is a message");
  const auto again = read_management_request(response);
  MS_ASSERT(
      again && same(again->correlation_id, request->correlation_id) && again->body.kind == amqp::Kind::map,
      "a response carries the request's id and a map");
  return 0;
}
