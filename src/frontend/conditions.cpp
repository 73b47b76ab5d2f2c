#include "frontend/conditions.h"

#include "amqp/value_reader.h"
#include "amqp/value_writer.h"

namespace mainstay::frontend {

amqp::Condition condition_of(const broker::BrokerError& error) {
  using Code = broker::ErrorCode;
  const char* symbol = "amqp:internal-error";
  switch (error.code) {
    case Code::queue_not_found:
      symbol = "amqp:not-found";
      break;
    case Code::session_required:
    case Code::session_not_supported:
    case Code::cannot_dead_letter:
    case Code::publish_not_allowed:
      symbol = "amqp:not-allowed";
      break;
    case Code::session_locked:
      symbol = "com.microsoft:session-cannot-be-locked";
      break;
    case Code::session_timeout:
      symbol = "com.microsoft:timeout";
      break;
    case Code::session_lock_lost:
      symbol = "com.microsoft:session-lock-lost";
      break;
    case Code::message_lock_lost:
      symbol = "com.microsoft:message-lock-lost";
      break;
    case Code::message_not_found:
      symbol = "com.microsoft:message-not-found";
      break;
    case Code::bad_queue_options:
    case Code::id_too_long:
      symbol = "amqp:invalid-field";
      break;
  }
  return {symbol, error.what};
}

namespace {

// Copies a map with its keys as strings, leaving out keys that `skip` takes. Empty when nothing is left or
// the map is not well-formed (the engine checked it before it handed it over).
template <class Skip>
Buffer with_string_keys(BytesView encoded_map, Skip skip) {
  Buffer out;
  if (encoded_map.empty()) return out;
  amqp::ValueReader reader(encoded_map);
  const amqp::Value map = reader.next();
  if (!reader.ok() || map.kind != amqp::Kind::map) return out;
  amqp::ValueWriter writer(out);
  const auto open = writer.map();
  std::uint32_t count = 0;
  amqp::ValueReader entries = amqp::ValueReader::inside(map);
  for (std::uint32_t i = 0; i + 1 < map.count; i += 2) {
    const amqp::Value key = entries.next();
    const amqp::Value value = entries.next();
    if (!entries.ok()) return {};
    if (key.kind != amqp::Kind::string && key.kind != amqp::Kind::symbol) continue;
    if (skip(key.text(), value)) continue;
    writer.string(key.text());
    writer.encoded(value.encoded);
    count += 2;
  }
  if (count == 0) return {};
  writer.close(open, count);
  return out;
}

}  // namespace

DeadLetterRequest dead_letter_request(const amqp::Outcome& rejected) {
  DeadLetterRequest out;
  bool named = false;
  out.properties = with_string_keys(rejected.map, [&](std::string_view key, const amqp::Value& value) {
    std::string* into = key == "DeadLetterReason"             ? &out.reason
                        : key == "DeadLetterErrorDescription" ? &out.description
                                                              : nullptr;
    if (into == nullptr) return false;
    named = true;
    if (value.kind == amqp::Kind::string) *into = value.text();  // null when not given: no property then
    return true;
  });
  // A generic client says why in the error itself; Service Bus SDKs say `com.microsoft:dead-letter` there.
  if (!named && rejected.error && rejected.error->symbol != "com.microsoft:dead-letter") {
    out.reason = rejected.error->symbol;
    out.description = rejected.error->description;
  }
  return out;
}

Buffer with_string_keys(BytesView encoded_map) {
  return with_string_keys(encoded_map, [](std::string_view, const amqp::Value&) { return false; });
}

Buffer modified_properties(const amqp::Outcome& modified) {
  return with_string_keys(modified.map);
}

}  // namespace mainstay::frontend
