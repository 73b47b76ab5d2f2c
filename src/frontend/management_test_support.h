// For tests: requests to a `$management` node as clients write them, and its responses taken apart.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "amqp/message.h"
#include "amqp/value_reader.h"
#include "amqp/value_writer.h"
#include "frontend/management_codec.h"

namespace mainstay::frontend::testing {

/// Writes the body's entries and returns how many values (keys and values each count).
using Entries = std::function<std::uint32_t(amqp::ValueWriter&)>;

struct RequestText {
  std::string operation;
  std::string message_id = "id-1";
  std::string reply_to;
  Entries body;
};

inline Buffer encode_request(const RequestText& request) {
  Buffer out;
  amqp::ValueWriter w(out);
  w.descriptor(amqp::descriptor::properties);
  const auto properties = w.list();
  request.message_id.empty() ? w.null() : w.string(request.message_id);
  for (int i = 0; i < 3; ++i) w.null();
  request.reply_to.empty() ? w.null() : w.string(request.reply_to);
  w.close(properties, 5);
  w.descriptor(amqp::descriptor::application_properties);
  const auto map = w.map();
  w.string("operation");
  w.string(request.operation);
  w.string("com.microsoft:tracking-id");
  w.string("track");
  w.close(map, 4);
  w.descriptor(amqp::descriptor::amqp_value);
  const auto body = w.map();
  const std::uint32_t count = request.body ? request.body(w) : 0;
  w.close(body, count);
  return out;
}

/// `lock-tokens` as a list: an array is what SDKs send, a list what a generic client may.
inline Entries lock_tokens(std::vector<Uuid> tokens, Entries more = {}) {
  return [tokens = std::move(tokens), more = std::move(more)](amqp::ValueWriter& w) {
    w.string("lock-tokens");
    const auto list = w.list();
    for (const Uuid& token : tokens) w.uuid(lock_token_as_uuid(token).bytes);
    w.close(list, static_cast<std::uint32_t>(tokens.size()));
    return 2 + (more ? more(w) : 0);
  };
}
inline Entries sequence_numbers(std::vector<std::int64_t> numbers, Entries more = {}) {
  return [numbers = std::move(numbers), more = std::move(more)](amqp::ValueWriter& w) {
    w.string("sequence-numbers");
    w.longs(numbers);
    return 2 + (more ? more(w) : 0);
  };
}
inline Entries text(std::string key, std::string value, Entries more = {}) {
  return [key = std::move(key), value = std::move(value), more = std::move(more)](amqp::ValueWriter& w) {
    w.string(key);
    w.string(value);
    return 2 + (more ? more(w) : 0);
  };
}
inline Entries number(std::string key, std::int64_t value, Entries more = {}) {
  return [key = std::move(key), value, more = std::move(more)](amqp::ValueWriter& w) {
    w.string(key);
    w.long_(value);
    return 2 + (more ? more(w) : 0);
  };
}

/// The map's value of this key; null when absent.
inline amqp::Value entry(const amqp::Value& map, std::string_view name) {
  amqp::ValueReader entries = amqp::ValueReader::inside(map);
  while (!entries.at_end()) {
    const amqp::Value key = entries.next();
    const amqp::Value value = entries.next();
    if (key.text() == name) return value;
  }
  return {};
}
inline std::vector<std::int64_t> numbers_of(const amqp::Value& array) {
  std::vector<std::int64_t> out;
  amqp::ArrayReader elements(array);
  for (amqp::Value element; elements.next(element);) out.push_back(element.signed_number());
  return out;
}

struct ResponseText {
  std::string correlation_id, to, description, condition, tracking_id;
  std::int64_t status = 0;
  Buffer body_bytes;  ///< encoded map
  [[nodiscard]] amqp::Value body() const { return amqp::ValueReader(body_bytes).next(); }
};

inline ResponseText read_response(BytesView bytes) {
  ResponseText out;
  const amqp::MessageView view = amqp::view_message(bytes).value();
  const auto inside = [](BytesView section) {
    return amqp::described(amqp::ValueReader(section).next())->value;
  };
  amqp::Fields fields(inside(view.properties));
  fields.skip(2);
  out.to = fields.any().text();
  fields.skip(2);
  const amqp::Value correlation = fields.any();
  out.correlation_id = correlation.kind == amqp::Kind::string ? std::string(correlation.text())
                                                              : std::to_string(correlation.number);
  const amqp::Value properties = inside(view.application_properties);
  out.status = entry(properties, "statusCode").signed_number();
  out.description = entry(properties, "statusDescription").text();
  out.condition = entry(properties, "errorCondition").text();
  out.tracking_id = entry(properties, "com.microsoft:tracking-id").text();
  out.body_bytes = to_buffer(inside(view.body).encoded);
  return out;
}

}  // namespace mainstay::frontend::testing
