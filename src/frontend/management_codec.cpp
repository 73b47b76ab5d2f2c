#include "frontend/management_codec.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "frontend/conditions.h"

namespace mainstay::frontend {
namespace {

using amqp::Kind;
using amqp::Value;

constexpr std::string_view kPrefix = "com.microsoft:";

bool is_text(const Value& v) {
  return v.kind == Kind::string || v.kind == Kind::symbol;
}

/// The standard's four types, and the integers that some clients count their requests with.
bool is_id(const Value& v) {
  switch (v.kind) {
    case Kind::string:
    case Kind::binary:
    case Kind::uuid:
    case Kind::ulong:
    case Kind::uint:
    case Kind::long_:
    case Kind::int_:
      return true;
    default:
      return false;
  }
}

/// The map's value of this key; null when it is absent.
Value get(const Value& map, std::string_view name) {
  amqp::ValueReader entries = amqp::ValueReader::inside(map);
  for (std::uint32_t i = 0; i + 1 < map.count && entries.ok(); i += 2) {
    const Value key = entries.next();
    const Value value = entries.next();
    if (entries.ok() && is_text(key) && key.text() == name) return value;
  }
  return {};
}

ManagementStatus bad(std::string description) {
  return {400, "com.microsoft:argument-error", std::move(description)};
}

/// A signed integer of any width. nullopt when it is another type or does not fit.
std::optional<std::int64_t> integer(const Value& v) {
  switch (v.kind) {
    case Kind::byte:
    case Kind::short_:
    case Kind::int_:
    case Kind::long_:
    case Kind::ubyte:
    case Kind::ushort:
    case Kind::uint:
      return v.signed_number();
    case Kind::ulong:
      if (v.number >> 63U == 0) return v.signed_number();
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

/// Reads one body: the first thing that is wrong with it stays.
class Body {
 public:
  Body(std::string_view operation, const Value& map) : operation_(operation), map_(map) {}

  std::optional<ManagementStatus> problem;

  void fail(std::string_view key, const std::string& want) {
    if (!problem) problem = bad(std::string(operation_) + ": '" + std::string(key) + "' must be " + want);
  }
  std::string_view text(std::string_view key) {
    const auto value = optional_text(key);
    if (!value) fail(key, "a string");
    return value.value_or("");
  }
  std::optional<std::string_view> optional_text(std::string_view key) {
    const Value v = get(map_, key);
    if (v.is_null()) return std::nullopt;
    if (!is_text(v)) fail(key, "a string");
    return v.text();
  }
  bool flag(std::string_view key) {
    const Value v = get(map_, key);
    if (!v.is_null() && v.kind != Kind::boolean) fail(key, "a boolean");
    return v.number == 1;
  }
  std::int64_t number(std::string_view key, std::int64_t low, std::int64_t high) {
    const auto n = integer(get(map_, key));
    if (!n || *n < low || *n > high) {
      fail(key, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
    }
    return n.value_or(low);
  }
  Value map(std::string_view key) {
    const Value v = get(map_, key);
    if (!v.is_null() && v.kind != Kind::map) fail(key, "a map");
    return v;
  }
  /// Calls `take` with each element of an array or list; it returns false for what does not belong there.
  template <class F>
  void items(std::string_view key, const char* what, F&& take) {
    const Value v = get(map_, key);
    const std::string want = "an array of 1 to " + std::to_string(kManagementItemsMax) + " " + what;
    if ((v.kind != Kind::array && v.kind != Kind::list) || v.count == 0 || v.count > kManagementItemsMax) {
      fail(key, want);
      return;
    }
    Value element;
    bool good = true;
    std::uint32_t seen = 0;
    if (v.kind == Kind::array) {
      amqp::ArrayReader elements(v);
      while (good && elements.next(element)) {
        good = take(element);
        ++seen;
      }
    } else {
      amqp::ValueReader elements = amqp::ValueReader::inside(v);
      while (good && !elements.at_end()) {
        element = elements.next();
        good = elements.ok() && take(element);
        ++seen;
      }
    }
    if (!good || seen != v.count) fail(key, want);
  }
  std::vector<broker::LockToken> tokens() {
    std::vector<broker::LockToken> out;
    items("lock-tokens", "uuids", [&](const Value& v) {
      if (v.kind != Kind::uuid) return false;
      Uuid uuid;
      std::transform(v.content.begin(), v.content.end(), uuid.bytes.begin(),
                     [](std::byte b) { return std::to_integer<std::uint8_t>(b); });
      out.push_back(lock_token_as_uuid(uuid));
      return true;
    });
    return out;
  }
  std::vector<broker::SequenceNumber> sequences() {
    std::vector<broker::SequenceNumber> out;
    items("sequence-numbers", "sequence numbers", [&](const Value& v) {
      const auto n = integer(v);
      if (!n) return false;
      out.push_back({static_cast<std::uint64_t>(*n)});  // a negative one is no message's either
      return true;
    });
    return out;
  }

 private:
  std::string_view operation_;
  Value map_;
};

UpdateDisposition update_disposition(Body& body) {
  using Status = UpdateDisposition::Status;
  UpdateDisposition out;
  const std::string_view status = body.text("disposition-status");
  static constexpr std::array<std::pair<std::string_view, Status>, 6> kStatuses{
      {{"completed", Status::completed},
       {"abandoned", Status::abandoned},
       {"defered", Status::deferred},
       {"suspended", Status::suspended},
       {"unlocked", Status::unlocked},
       {"renewed", Status::renewed}}};
  const auto* const known =
      std::find_if(kStatuses.begin(), kStatuses.end(), [&](const auto& s) { return s.first == status; });
  if (known == kStatuses.end()) {
    body.fail("disposition-status", "completed, abandoned, defered, suspended, unlocked or renewed");
  } else {
    out.status = known->second;
  }
  out.tokens = body.tokens();
  out.reason = body.optional_text("deadletter-reason").value_or("");
  out.description = body.optional_text("deadletter-description").value_or("");
  const Value properties = body.map("properties-to-modify");
  if (properties.kind == Kind::map) out.properties = with_string_keys(properties.encoded);
  out.session_id = body.optional_text("session-id");
  return out;
}

PeekMessages peek_messages(Body& body) {
  PeekMessages out;
  constexpr auto kMax = std::numeric_limits<std::int64_t>::max();
  const std::int64_t from =
      body.number("from-sequence-number", std::numeric_limits<std::int64_t>::min(), kMax);
  out.from = from > 0 ? static_cast<std::uint64_t>(from) : 1;
  out.max =
      static_cast<std::size_t>(body.number("message-count", 1, std::numeric_limits<std::int32_t>::max()));
  out.session_id = body.optional_text("session-id");
  out.omit_body = body.flag("omit-message-body");
  return out;
}

ReceiveBySequenceNumber receive_by_sequence_number(Body& body) {
  ReceiveBySequenceNumber out;
  out.sequences = body.sequences();
  out.mode = body.number("receiver-settle-mode", 0, 1) == 0 ? broker::ReceiveMode::receive_and_delete
                                                            : broker::ReceiveMode::peek_lock;
  out.session_id = body.optional_text("session-id");
  return out;
}

ScheduleMessages schedule_messages(Body& body) {
  ScheduleMessages out;
  body.items("messages", "maps with the entry 'message', an encoded message", [&](const Value& v) {
    if (v.kind != Kind::map) return false;
    const Value message = get(v, "message");
    if (message.kind != Kind::binary) return false;
    out.messages.push_back(message.content);
    return true;
  });
  return out;
}

}  // namespace

void throw_exception_from_error(const ManagementStatus& status, const boost::source_location& where) {
  assertion_failed("result.has_value()", status.description.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

Uuid lock_token_as_uuid(const Uuid& token) {
  Uuid out = token;
  std::reverse(out.bytes.begin(), out.bytes.begin() + 4);
  std::reverse(out.bytes.begin() + 4, out.bytes.begin() + 6);
  std::reverse(out.bytes.begin() + 6, out.bytes.begin() + 8);
  return out;
}

Result<ManagementRequest, Failure> read_management_request(BytesView message) {
  namespace section = amqp::descriptor;
  ManagementRequest out;
  BytesView own_correlation;
  amqp::ValueReader reader(message);
  amqp::Described part;
  BytesView bytes;
  while (!reader.at_end()) {
    const std::size_t at = reader.position();
    if (!reader.next(part, bytes) || !amqp::well_formed_inside(part.value) || part.code < section::header ||
        part.code > section::footer) {
      return Failure{"a request, byte " + std::to_string(at) + ": no section of an AMQP message starts here"};
    }
    if (part.code == section::properties) {
      amqp::Fields fields(part.value);
      const Value message_id = fields.any();
      fields.any();  // user-id
      fields.any();  // to
      fields.any();  // subject
      const Value reply_to = fields.any();
      const Value correlation_id = fields.any();
      if (!fields.ok()) return Failure{"a request: its properties are malformed"};
      for (const Value& id : {message_id, correlation_id}) {
        if (!id.is_null() && !is_id(id)) return Failure{"a request: an id is of a type that no id has"};
      }
      if (!message_id.is_null()) out.correlation_id = message_id.encoded;
      if (!correlation_id.is_null()) own_correlation = correlation_id.encoded;
      if (is_text(reply_to)) out.reply_to = reply_to.text();
    } else if (part.code == section::application_properties) {
      if (part.value.kind != Kind::map) {
        return Failure{"a request: its application properties are no map"};
      }
      const Value operation = get(part.value, "operation");
      if (is_text(operation)) out.operation = operation.text();
      const Value tracking = get(part.value, "com.microsoft:tracking-id");
      if (tracking.kind == Kind::string) out.tracking_id = tracking.encoded;
    } else if (part.code == section::amqp_value && part.value.kind == Kind::map) {
      out.body = part.value;
    }
  }
  if (out.correlation_id.empty()) out.correlation_id = own_correlation;
  return out;
}

Result<ManagementOperation, ManagementStatus> read_management_operation(const ManagementRequest& request) {
  if (request.operation.empty()) {
    return bad("the request has no application property 'operation'");
  }
  std::string_view name = request.operation;
  const bool prefixed = name.substr(0, kPrefix.size()) == kPrefix;
  if (prefixed) name.remove_prefix(kPrefix.size());
  Body body(name, request.body);
  ManagementOperation out;
  if (prefixed && name == "renew-lock") {
    out = RenewLock{body.tokens()};
  } else if (prefixed && name == "renew-session-lock") {
    out = RenewSessionLock{body.text("session-id")};
  } else if (prefixed && name == "update-disposition") {
    out = update_disposition(body);
  } else if (prefixed && name == "peek-message") {
    out = peek_messages(body);
  } else if (prefixed && name == "receive-by-sequence-number") {
    out = receive_by_sequence_number(body);
  } else if (prefixed && name == "schedule-message") {
    out = schedule_messages(body);
  } else if (prefixed && name == "cancel-scheduled-message") {
    out = CancelScheduledMessages{body.sequences()};
  } else {
    return ManagementStatus{
        501, "amqp:not-implemented",
        "this broker does not support the operation '" + std::string(request.operation.substr(0, 100)) + "'"};
  }
  if (body.problem) return *body.problem;
  return out;
}

Buffer encode_management_response(const ManagementReply& reply, const ManagementStatus& status,
                                  BytesView body) {
  constexpr std::uint32_t kCorrelationIdField = 5;
  Buffer out;
  out.reserve(256 + body.size());
  amqp::ValueWriter w(out);
  w.descriptor(amqp::descriptor::properties);
  const auto properties = w.list();
  w.null();  // message-id
  w.null();  // user-id
  reply.to.empty() ? w.null() : w.string(reply.to);
  w.null();  // subject
  w.null();  // reply-to
  reply.correlation_id.empty() ? w.null() : w.encoded(reply.correlation_id);
  w.close(properties, kCorrelationIdField + 1);
  w.descriptor(amqp::descriptor::application_properties);
  const auto map = w.map();
  std::uint32_t count = 4;
  w.string("statusCode");
  w.int_(status.code);
  w.string("statusDescription");
  w.string(status.description);
  if (!status.condition.empty()) {
    w.string("errorCondition");
    w.symbol(status.condition);
    count += 2;
  }
  if (!reply.tracking_id.empty()) {
    w.string("com.microsoft:tracking-id");
    w.encoded(reply.tracking_id);
    count += 2;
  }
  w.close(map, count);
  w.descriptor(amqp::descriptor::amqp_value);
  if (body.empty()) {
    w.close(w.map(), 0);
  } else {
    w.encoded(body);
  }
  return out;
}

namespace {

template <class F>
Buffer body_of_one(std::string_view key, F&& value) {
  Buffer out;
  amqp::ValueWriter w(out);
  const auto map = w.map();
  w.string(key);
  value(w);
  w.close(map, 2);
  return out;
}

}  // namespace

Buffer expirations_body(std::span<const std::int64_t> times_ms) {
  return body_of_one("expirations", [&](amqp::ValueWriter& w) { w.timestamps(times_ms); });
}
Buffer expiration_body(std::int64_t time_ms) {
  return body_of_one("expiration", [&](amqp::ValueWriter& w) { w.timestamp(time_ms); });
}
Buffer sequence_numbers_body(std::span<const std::int64_t> numbers) {
  return body_of_one("sequence-numbers", [&](amqp::ValueWriter& w) { w.longs(numbers); });
}

MessagesBody::MessagesBody() {
  map_ = writer_.map();
  writer_.string("messages");
  list_ = writer_.list();
}

void MessagesBody::add(const broker::LockToken& token, std::span<const BytesView> parts) {
  const auto map = writer_.map();
  if (!token.is_nil()) {
    writer_.string("lock-token");
    writer_.uuid(lock_token_as_uuid(token).bytes);
  }
  writer_.string("message");
  writer_.binary_of(parts);
  writer_.close(map, token.is_nil() ? 2 : 4);
  ++count_;
}

Buffer MessagesBody::take() {
  writer_.close(list_, count_);
  writer_.close(map_, 2);
  return std::move(body_);
}

}  // namespace mainstay::frontend
