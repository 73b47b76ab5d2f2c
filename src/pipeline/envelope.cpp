#include "pipeline/envelope.h"

#include <charconv>

#include "amqp/message.h"
#include "amqp/value_reader.h"
#include "base/checksum.h"

namespace mainstay::pipeline {

namespace {

constexpr std::size_t session_characters_max = 128;
constexpr const char* content_type = "application/octet-stream";

void read_application_properties(BytesView section, Envelope& into) {
  amqp::ValueReader outer(section);
  const auto map = amqp::described(outer.next());
  if (!map || map->value.kind != amqp::Kind::map) return;
  amqp::ValueReader pairs = amqp::ValueReader::inside(map->value);
  while (!pairs.at_end()) {
    const amqp::Value name = pairs.next();
    const amqp::Value value = pairs.next();
    if (name.kind != amqp::Kind::string || value.kind != amqp::Kind::string) continue;
    const std::string_view key = name.text();
    const std::string_view text = value.text();
    if (key == "idempotency-key") into.idempotency_key = text;
    if (key == "content-digest") into.content_digest = text;
    if (key == "ordering-key") into.ordering_key = text;
    if (key == "kind") into.kind = text;
    if (key == "reference") into.reference = text;
    if (key == "uetr") into.uetr = text;
    if (key == "sender") into.sender = text;
    if (key == "receiver") into.receiver = text;
    if (key == "ingest") std::from_chars(text.data(), text.data() + text.size(), into.ingest);
    if (key == "replayed") into.replayed = text == "true";
  }
}

}  // namespace

std::string message_id_of(std::string_view idempotency_key, std::string_view content_digest) {
  return digest128(as_bytes(idempotency_key)) + "-" + std::string(content_digest);
}

std::string session_of(std::string_view ordering_key) {
  if (ordering_key.size() <= session_characters_max) return std::string(ordering_key);
  return "H:" + digest128(as_bytes(ordering_key));
}

Buffer encode(const Envelope& envelope) {
  amqp::SimpleMessage message;
  message.message_id = envelope.message_id;
  message.group_id = session_of(envelope.ordering_key);
  message.subject = envelope.type;
  message.content_type = content_type;
  message.body = envelope.body;
  const std::pair<const char*, std::string> properties[] = {
      {"idempotency-key", envelope.idempotency_key},
      {"content-digest", envelope.content_digest},
      {"ordering-key", envelope.ordering_key},
      {"kind", envelope.kind},
      {"reference", envelope.reference},
      {"uetr", envelope.uetr},
      {"sender", envelope.sender},
      {"receiver", envelope.receiver},
      {"ingest", std::to_string(envelope.ingest)},
      {"replayed", envelope.replayed ? "true" : ""},
  };
  for (const auto& [name, value] : properties) {
    if (!value.empty()) message.application_properties.emplace_back(name, value);
  }
  return amqp::encode_message(message);
}

Result<Envelope, Failure> decode(BytesView message) {
  const auto view = amqp::view_message(message);
  if (!view) return Failure{"not an AMQP message: " + view.error().what};
  Envelope envelope;
  envelope.message_id = view->message_id().value_or("");
  envelope.type = view->subject.value_or("");
  read_application_properties(view->application_properties, envelope);
  if (envelope.idempotency_key.empty()) return Failure{"no application property idempotency-key"};
  if (envelope.content_digest.empty()) return Failure{"no application property content-digest"};
  amqp::ValueReader sections(view->body);
  const auto body = amqp::described(sections.next());
  if (!body || body->value.kind != amqp::Kind::binary || !sections.at_end()) {
    return Failure{"the body is not one data section; a payment is sent as one"};
  }
  envelope.body = body->value.content;
  return envelope;
}

}  // namespace mainstay::pipeline
