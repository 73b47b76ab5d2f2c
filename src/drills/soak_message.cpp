#include "drills/soak_message.h"

#include <fmt/format.h>
#include <proton/error.h>

#include <charconv>
#include <cstring>

#include "base/assert.h"
#include "base/checksum.h"
#include "drills/proton_data.h"

namespace mainstay::drills {
namespace {

/// Bytes that no other message has, cheap to make.
Buffer body_of(const std::string& id, std::uint64_t bytes) {
  Buffer body(bytes);
  std::uint64_t word = checksum64(std::as_bytes(std::span(id)));
  for (std::size_t at = 0; at < body.size(); at += sizeof word) {
    word = word * 6364136223846793005ULL + 1442695040888963407ULL;
    std::memcpy(body.data() + at, &word, std::min(sizeof word, body.size() - at));
  }
  return body;
}

}  // namespace

EncodedSoakMessage encode_soak_message(const SoakMessage& message) {
  const Buffer body = body_of(message.id, message.bytes);
  EncodedSoakMessage out;
  out.checksum = checksum64(body);
  const ProtonMessage made = new_proton_message();
  pn_message_set_inferred(made.get(), true);  // the body is a data section
  pn_message_set_durable(made.get(), true);
  if (message.ttl_ms > 0) pn_message_set_ttl(made.get(), message.ttl_ms);
  pn_atom_t id{};
  id.type = PN_STRING;
  id.u.as_bytes = bytes_of(message.id);
  pn_message_set_id(made.get(), id);
  if (!message.session.empty()) pn_message_set_group_id(made.get(), message.session.c_str());
  pn_message_set_subject(made.get(), fmt::format("{:016x}", out.checksum).c_str());
  pn_data_put_binary(pn_message_body(made.get()),
                     pn_bytes(body.size(), reinterpret_cast<const char*>(body.data())));
  out.message.resize(message.bytes + 1024);  // the rest of a message is far smaller
  std::size_t size = out.message.size();
  const int failed = pn_message_encode(made.get(), reinterpret_cast<char*>(out.message.data()), &size);
  MS_ASSERT(failed == 0, "a soak's message fits its buffer");
  out.message.resize(size);
  return out;
}

Result<DecodedSoakMessage, Failure> decode_soak_message(BytesView bytes) {
  const ProtonMessage message = new_proton_message();
  if (pn_message_decode(message.get(), reinterpret_cast<const char*>(bytes.data()), bytes.size()) != 0)
    return Failure{fmt::format("{} bytes that are no AMQP message", bytes.size())};
  DecodedSoakMessage out;
  const pn_atom_t id = pn_message_get_id(message.get());
  if (id.type != PN_STRING) return Failure{"a message without an id of a soak's"};
  out.id = text_of(id.u.as_bytes);
  if (const char* group = pn_message_get_group_id(message.get()); group != nullptr) out.session = group;
  out.count = pn_message_get_delivery_count(message.get());
  if (const char* subject = pn_message_get_subject(message.get()); subject != nullptr)
    std::from_chars(subject, subject + std::strlen(subject), out.claimed, 16);
  pn_data_t* body = pn_message_body(message.get());
  pn_data_rewind(body);
  if (pn_data_next(body) && pn_data_type(body) == PN_BINARY) {
    const pn_bytes_t found = pn_data_get_binary(body);
    out.bytes = found.size;
    out.checksum = checksum64(std::as_bytes(std::span(found.start, found.size)));
  }
  pn_data_t* annotations = pn_message_annotations(message.get());
  for_each_entry(annotations, [&](const std::string& key) {
    if (key == "x-opt-sequence-number")
      out.sequence = static_cast<std::uint64_t>(pn_data_get_long(annotations));
    if (key == "x-opt-enqueued-time") out.enqueued_ms = pn_data_get_timestamp(annotations);
    if (key == "x-opt-locked-until") out.locked_until_ms = pn_data_get_timestamp(annotations);
  });
  pn_data_t* properties = pn_message_properties(message.get());
  for_each_entry(properties, [&](const std::string& key) {
    if (key == "DeadLetterReason") out.dead_letter_reason = text_of(pn_data_get_string(properties));
  });
  return out;
}

}  // namespace mainstay::drills
