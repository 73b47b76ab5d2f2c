// Any bytes as a message: what view_message() takes is taken again after each way of rewriting it, with the
// bare message bit for bit in place.
#include <algorithm>

#include "amqp/message.h"
#include "amqp/value_reader.h"
#include "base/assert.h"

namespace {
using namespace mainstay;        // NOLINT: a program of its own
using namespace mainstay::amqp;  // NOLINT

bool same(BytesView a, BytesView b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}
Buffer joined(const MessageParts& parts) {
  Buffer out;
  for (const auto part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BytesView bytes = std::as_bytes(std::span(data, size));
  const auto view = view_message(bytes);
  if (!view) {
    MS_ASSERT(!view.error().what.empty(), "an error says what is wrong");
    return 0;
  }
  MS_ASSERT(!view->body.empty() && well_formed(bytes, std::nullopt),
            "a message is well-formed all the way down");
  const MessageView sections = view_sections(bytes);
  MS_ASSERT(same(sections.bare, view->bare) && same(sections.footer, view->footer) &&
                same(sections.message_annotations, view->message_annotations) &&
                same(sections.application_properties, view->application_properties) &&
                sections.ttl_ms == view->ttl_ms && sections.durable == view->durable &&
                sections.priority == view->priority,
            "looking again without checking finds the same");
  Buffer head;
  DeliveryHead with;
  with.delivery_count = 3;
  with.locked_until_ms = 7;
  {
    const Buffer sent = joined(encode_for_delivery(bytes, *view, with, head));
    const auto again = view_message(sent);
    MS_ASSERT(again, "a delivery is a message");
    MS_ASSERT(same(again->bare, view->bare) && same(again->footer, view->footer),
              "the bare message is untouched");
    MS_ASSERT(
        again->delivery_count == 3 && again->ttl_ms == view->ttl_ms && again->delivery_annotations.empty(),
        "the head is the one given");
  }
  with.dead_letter_reason = "reason";
  with.modified_properties = view->message_annotations.empty() ? BytesView() : bytes.first(size / 2);
  {
    const Buffer sent = joined(encode_for_delivery(bytes, *view, with, head));
    const auto again = view_message(sent);
    MS_ASSERT(again && same(again->body, view->body) && same(again->properties, view->properties),
              "only application properties change in a dead-letter queue");
  }
  if (!view->message_id()) {
    const Buffer named = with_message_id(bytes, *view, "id");
    const auto again = view_message(named);
    MS_ASSERT(again && again->message_id() == "id" && same(again->body, view->body) &&
                  again->group_id == view->group_id &&
                  same(again->message_annotations, view->message_annotations),
              "an id is all that is added");
  }
  return 0;
}
