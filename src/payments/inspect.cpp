#include "payments/inspect.h"

#include <array>

#include "base/bytes.h"
#include "base/escape.h"

namespace mainstay::payments {
namespace {

constexpr std::string_view kColumns =
    "file\tkind\ttype\tref\tuetr\tverdict\twhy\tn\tcontainer\tlevel\tcode\tsender\treceiver\tidkey\tordkey\tf"
    "lags\trelation\n";

std::string_view verdict(const Message& message) {
  return message.valid ? "valid" : "invalid";
}

void write_field(std::string& to, std::string_view value, char end = '\t') {
  if (value.empty()) to += '-';
  for (const char c : value) {
    const std::string_view one(&c, 1);
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == '\x7f';
    if (control && c != '\t' && c != '\n' && c != '\r') {
      to += "\\x" + hex(as_bytes(one));
    } else {
      append_tsv_field(to, one);
    }
  }
  to += end;
}

/// Length of the well-formed UTF-8 sequence at the front (Unicode, table 3-7) and its code point; 0 if there
/// is none.
std::size_t read_code_point(std::string_view text, std::uint32_t& code_point) {
  const auto byte = [text](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const std::uint32_t first = byte(0);
  std::size_t length = 1;
  std::uint32_t smallest = 0;
  code_point = first;
  if (first >= 0xF0 && first <= 0xF4) {
    length = 4, smallest = 0x10000, code_point = first & 0x07U;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3, smallest = 0x800, code_point = first & 0x0FU;
  } else if (first >= 0xC2 && first <= 0xDF) {
    length = 2, smallest = 0x80, code_point = first & 0x1FU;
  } else if (first >= 0x80) {
    return 0;
  }
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0U) != 0x80U) return 0;
    code_point = (code_point << 6) | (byte(i) & 0x3FU);
  }
  const bool surrogate = code_point >= 0xD800 && code_point <= 0xDFFF;
  return code_point < smallest || code_point > 0x10FFFF || surrogate ? 0 : length;
}

void write_escape(std::string& to, std::uint32_t unit) {
  std::array<std::byte, 2> raw{};
  store_be(raw.data(), static_cast<std::uint16_t>(unit));
  to += "\\u" + hex(BytesView(raw));
}

void write_text(std::string& to, std::string_view text) {
  to += '"';
  while (!text.empty()) {
    std::uint32_t c = 0;
    std::size_t length = read_code_point(text, c);
    if (length == 0) {
      length = 1;
      c = 0xFFFD;
    }
    text.remove_prefix(length);
    if (c == '"' || c == '\\') {
      to += '\\';
      to += static_cast<char>(c);
    } else if (c >= 0x20 && c < 0x7f) {
      to += static_cast<char>(c);
    } else if (c < 0x10000) {
      write_escape(to, c);
    } else {
      write_escape(to, 0xD800 + ((c - 0x10000) >> 10));
      write_escape(to, 0xDC00 + ((c - 0x10000) & 0x3FFU));
    }
  }
  to += '"';
}

class JsonObject {
 public:
  explicit JsonObject(std::string& to) : to_(to) { to_ += '{'; }
  void text(std::string_view name, std::string_view value) {
    if (value.empty()) return;
    begin(name);
    write_text(to_, value);
  }
  void number(std::string_view name, std::uint64_t value) {
    begin(name);
    to_ += std::to_string(value);
  }
  void boolean(std::string_view name, bool value) {
    begin(name);
    to_ += value ? "true" : "false";
  }
  void end() { to_ += "}\n"; }

 private:
  void begin(std::string_view name) {
    if (to_.back() != '{') to_ += ',';
    write_text(to_, name);
    to_ += ':';
  }
  std::string& to_;
};

std::string_view direction(const Message& message) {
  switch (message.direction) {
    case Direction::input:
      return "input";
    case Direction::output:
      return "output";
    case Direction::unknown:
      break;
  }
  return {};
}

}  // namespace

void write_tsv_header(std::string& to) {
  to += kColumns;
}

void write_tsv(std::string& to, std::string_view file, const Message& message, const Relation& relation) {
  write_field(to, file);
  write_field(to, text(message.kind));
  write_field(to, message.type);
  write_field(to, message.reference);
  write_field(to, message.uetr);
  write_field(to, verdict(message));
  write_field(to, message.why);
  write_field(to, std::to_string(message.item));
  write_field(to, text(message.container));
  write_field(to, {});
  write_field(to, message.code);
  write_field(to, message.sender);
  write_field(to, message.receiver);
  write_field(to, message.idempotency_key);
  write_field(to, message.ordering_key);
  write_field(to, message.flags.text());
  write_field(to, relation.text(), '\n');
}

void write_json(std::string& to, std::string_view file, const Message& message, const Relation& relation) {
  JsonObject object(to);
  object.text("file", file);
  object.number("n", message.item);
  object.text("kind", text(message.kind));
  object.text("container", text(message.container));
  object.text("verdict", verdict(message));
  object.text("code", message.code);
  object.text("why", message.why);
  object.text("type", message.type);
  object.text("variant", message.variant);
  object.text("ref", message.reference);
  object.text("uetr", message.uetr);
  object.text("sender", message.sender);
  object.text("receiver", message.receiver);
  object.text("idkey", message.idempotency_key);
  object.text("ordkey", message.ordering_key);
  object.text("flags", message.flags.text());
  object.text("relation", relation.text());
  object.text("digest", message.content_digest);
  object.number("offset", message.offset);
  object.number("bytes", message.raw.size());
  object.text("direction", direction(message));
  object.boolean("test", message.test);
  object.text("related_ref", message.related_reference);
  object.text("currency", message.currency);
  object.text("amount", message.amount);
  object.text("value_date", message.value_date);
  object.text("account", message.account);
  object.text("transactions", message.transactions);
  object.text("priority", message.priority);
  object.text("service", message.service);
  object.text("mur", message.mur);
  object.text("mir", message.mir);
  object.text("mor", message.mor);
  object.end();
}

}  // namespace mainstay::payments
