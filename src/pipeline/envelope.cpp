#include "pipeline/envelope.h"

#include <charconv>

#include "base/checksum.h"

namespace mainstay::pipeline {

namespace {

constexpr std::size_t session_characters_max = 128;
constexpr std::string_view data_content_type = "application/octet-stream";

// Section descriptors, OASIS AMQP 1.0 part 3.
constexpr std::uint64_t section_properties = 0x73, section_application_properties = 0x74, section_data = 0x75;

// ---- writing: compact forms where the value allows them

void put_sized(Buffer& to, std::uint8_t short_form, std::string_view text) {
  ByteWriter out(to);
  if (text.size() < 256) {
    out.u8(short_form);
    out.u8(static_cast<std::uint8_t>(text.size()));
  } else {
    out.u8(static_cast<std::uint8_t>(short_form + 0x10));
    out.u32_be(static_cast<std::uint32_t>(text.size()));
  }
  out.bytes(as_bytes(text));
}
void put_string(Buffer& to, std::string_view text) {
  put_sized(to, 0xa1, text);
}
void put_symbol(Buffer& to, std::string_view text) {
  put_sized(to, 0xa3, text);
}
void put_null(Buffer& to) {
  to.push_back(std::byte{0x40});
}
void put_descriptor(Buffer& to, std::uint64_t section) {
  ByteWriter out(to);
  out.u8(0x00);
  out.u8(0x53);
  out.u8(static_cast<std::uint8_t>(section));
}
/// A list32 or map32 whose size is filled in by close_compound().
std::size_t open_compound(Buffer& to, std::uint8_t form, std::uint32_t count) {
  ByteWriter out(to);
  out.u8(form);
  const std::size_t at = to.size();
  out.u32_be(0);
  out.u32_be(count);
  return at;
}
void close_compound(Buffer& to, std::size_t at) {
  store_be(to.data() + at, static_cast<std::uint32_t>(to.size() - at - 4));
}

// ---- reading

struct Value {
  std::uint8_t form = 0x40;  ///< constructor
  BytesView content;         ///< without size prefixes; compound: items, without the count
  std::uint32_t count = 0;   ///< of a compound
  [[nodiscard]] bool is_text() const { return form == 0xa1 || form == 0xb1 || form == 0xa3 || form == 0xb3; }
};

/// Any undescribed AMQP value; widths follow from the constructor's upper half (part 1, section 1.2).
Value read_value(ByteReader& in) {
  Value value;
  value.form = in.u8();
  switch (value.form >> 4) {
    case 0x4:
      break;
    case 0x5:
      value.content = in.bytes(1);
      break;
    case 0x6:
      value.content = in.bytes(2);
      break;
    case 0x7:
      value.content = in.bytes(4);
      break;
    case 0x8:
      value.content = in.bytes(8);
      break;
    case 0x9:
      value.content = in.bytes(16);
      break;
    case 0xa:
      value.content = in.bytes(in.u8());
      break;
    case 0xb:
      value.content = in.bytes(in.u32_be());
      break;
    case 0xc:
    case 0xe: {
      const std::size_t size = in.u8();
      ByteReader inner(in.bytes(size));
      value.count = inner.u8();
      value.content = inner.bytes(inner.remaining());
      if (!inner.ok()) in.fail();
      break;
    }
    case 0xd:
    case 0xf: {
      const std::size_t size = in.u32_be();
      ByteReader inner(in.bytes(size));
      value.count = inner.u32_be();
      value.content = inner.bytes(inner.remaining());
      if (!inner.ok()) in.fail();
      break;
    }
    default:
      in.fail();
  }
  return value;
}

/// A value that may be described, its descriptor skipped.
Value read_any(ByteReader& in) {
  for (int depth = 0; depth < 4; ++depth) {
    ByteReader ahead = in;
    if (ahead.u8() != 0x00 || !ahead.ok()) return read_value(in);
    in.u8();
    read_value(in);
  }
  in.fail();
  return {};
}

std::uint64_t read_descriptor(ByteReader& in) {
  if (in.u8() != 0x00) in.fail();
  const Value value = read_value(in);
  if (!in.ok()) return 0;
  if (value.form == 0x53) return std::to_integer<std::uint64_t>(value.content[0]);
  if (value.form == 0x80) return load_be<std::uint64_t>(value.content.data());
  if (value.form == 0x44) return 0;
  // Symbolic descriptors are legal; only the sections read here matter.
  const std::string_view name = value.is_text() ? as_text(value.content) : std::string_view();
  if (name == "amqp:properties:list") return section_properties;
  if (name == "amqp:application-properties:map") return section_application_properties;
  if (name == "amqp:data:binary") return section_data;
  return 0;
}

void read_properties(const Value& list, Envelope& into) {
  ByteReader fields(list.content);
  for (std::uint32_t i = 0; i < list.count && fields.remaining() > 0; ++i) {
    const Value field = read_any(fields);
    if (!field.is_text()) continue;
    if (i == 0) into.message_id = as_text(field.content);
    if (i == 3) into.type = as_text(field.content);
  }
}

void read_application_properties(const Value& map, Envelope& into) {
  ByteReader pairs(map.content);
  for (std::uint32_t i = 0; i + 1 < map.count && pairs.remaining() > 0; i += 2) {
    const Value name = read_any(pairs);
    const Value value = read_any(pairs);
    if (!name.is_text() || !value.is_text()) continue;
    const std::string_view key = as_text(name.content);
    const std::string_view text = as_text(value.content);
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
  Buffer to;
  to.reserve(envelope.body.size() + 512);
  put_descriptor(to, section_properties);
  const std::size_t list = open_compound(to, 0xd0, 11);
  put_string(to, envelope.message_id);
  put_null(to);  // user-id
  put_null(to);  // to
  put_string(to, envelope.type);
  put_null(to);  // reply-to
  put_null(to);  // correlation-id
  put_symbol(to, data_content_type);
  put_null(to);  // content-encoding
  put_null(to);  // absolute-expiry-time
  put_null(to);  // creation-time
  put_string(to, session_of(envelope.ordering_key));
  close_compound(to, list);

  const std::string ingest = std::to_string(envelope.ingest);
  const std::pair<std::string_view, std::string_view> properties[] = {
      {"idempotency-key", envelope.idempotency_key},
      {"content-digest", envelope.content_digest},
      {"ordering-key", envelope.ordering_key},
      {"kind", envelope.kind},
      {"reference", envelope.reference},
      {"uetr", envelope.uetr},
      {"sender", envelope.sender},
      {"receiver", envelope.receiver},
      {"ingest", ingest},
      {"replayed", envelope.replayed ? "true" : ""},
  };
  std::uint32_t count = 0;
  for (const auto& [name, value] : properties) count += value.empty() ? 0U : 2U;
  put_descriptor(to, section_application_properties);
  const std::size_t map = open_compound(to, 0xd1, count);
  for (const auto& [name, value] : properties) {
    if (value.empty()) continue;
    put_string(to, name);
    put_string(to, value);
  }
  close_compound(to, map);

  put_descriptor(to, section_data);
  ByteWriter out(to);
  out.u8(0xb0);
  out.u32_be(static_cast<std::uint32_t>(envelope.body.size()));
  out.bytes(envelope.body);
  return to;
}

Result<Envelope, Failure> decode(BytesView message) {
  Envelope envelope;
  ByteReader in(message);
  bool has_body = false;
  while (in.remaining() > 0) {
    const std::uint64_t section = read_descriptor(in);
    const Value value = read_value(in);
    if (!in.ok()) break;
    if (section == section_properties) read_properties(value, envelope);
    if (section == section_application_properties) read_application_properties(value, envelope);
    if (section == section_data) {
      if (has_body) return Failure{"the message has more than one data section; a payment is sent as one"};
      has_body = true;
      envelope.body = value.content;
    }
  }
  if (!in.ok()) return Failure{"not an AMQP message: malformed at byte " + std::to_string(in.position())};
  if (envelope.idempotency_key.empty()) return Failure{"no application property idempotency-key"};
  if (envelope.content_digest.empty()) return Failure{"no application property content-digest"};
  if (!has_body) return Failure{"no data section: there is no payment in it"};
  return envelope;
}

}  // namespace mainstay::pipeline
