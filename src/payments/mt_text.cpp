#include "payments/mt_text.h"

#include <algorithm>

namespace mainstay::payments {
namespace {

/// Length of ":NN:" or ":NNA:" at the start of the line, 0 if there is none.
std::size_t tag_length(std::string_view line) {
  if (line.size() < 4 || line[0] != ':' || !is_digit(line[1]) || !is_digit(line[2])) return 0;
  if (line[3] == ':') return 4;
  return line.size() >= 5 && is_capital(line[3]) && line[4] == ':' ? 5 : 0;
}

}  // namespace

std::optional<Defect> read_fields(const MtBlock& block, std::size_t fields_max, Fields& fields) {
  std::string_view rest = block.content;
  std::size_t at = block.content_at;
  if (rest.starts_with('\n')) {  // the line break behind "{4:"
    rest.remove_prefix(1);
    ++at;
  }
  const char* const base = rest.data();
  const std::size_t base_at = at;
  while (!rest.empty()) {
    at = base_at + static_cast<std::size_t>(rest.data() - base);
    const std::string_view line = take_line(rest);
    if (const std::size_t length = tag_length(line); length != 0) {
      if (fields.size() >= fields_max) {
        return Defect{"MT_TOO_LONG", at, "more than " + std::to_string(fields_max) + " fields"};
      }
      fields.push_back({line.substr(1, length - 2), line.substr(length), at});
      continue;
    }
    if (line.starts_with(':')) {
      return Defect{"MT_B4_TAG", at,
                    "a line that begins with ':' must be a tag like ':20:' or ':32A:', found " + shown(line)};
    }
    if (fields.empty()) {
      if (trimmed(line).empty()) continue;
      return Defect{"MT_B4_TAG", at,
                    "expected a tag like ':20:', found text before the first tag: " + shown(line)};
    }
    if (line.starts_with('-')) {
      return Defect{"MT_B4_DASH", at, "a continuation line must not begin with '-', found " + shown(line)};
    }
    Field& field = fields.back();
    field.value = {field.value.data(),
                   static_cast<std::size_t>(line.data() + line.size() - field.value.data())};
  }
  return std::nullopt;
}

const Field* find_field(const Fields& fields, std::string_view pattern) {
  const bool any_option = pattern.back() == 'a';
  const std::string_view number = pattern.substr(0, 2);
  const auto found = std::find_if(fields.begin(), fields.end(), [&](const Field& field) {
    return any_option ? field.tag.substr(0, 2) == number : field.tag == pattern;
  });
  return found == fields.end() ? nullptr : &*found;
}

std::string_view first_line(const Field* field) {
  if (field == nullptr) return {};
  std::string_view rest = field->value;
  return trimmed(take_line(rest));
}

std::string canonical_text(std::string_view type, const Fields& fields) {
  std::string out(type);
  for (const Field& field : fields) {
    out += "\r\n:";
    out += field.tag;
    out += ':';
    std::string_view rest = field.value;
    out += take_line(rest);
    while (!rest.empty()) {
      out += "\r\n";
      out += take_line(rest);
    }
  }
  return out;
}

}  // namespace mainstay::payments
