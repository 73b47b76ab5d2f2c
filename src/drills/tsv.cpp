#include "drills/tsv.h"

#include <charconv>

#include "base/escape.h"

namespace mainstay::drills {

void append_tsv_line(std::string& to, const std::vector<std::string_view>& fields) {
  bool first = true;
  for (const std::string_view field : fields) {
    if (!first) to += '\t';
    first = false;
    append_tsv_field(to, field);
  }
  to += '\n';
}

Result<std::vector<std::string>, Failure> split_tsv_line(std::string_view line) {
  std::vector<std::string> fields;
  for (;;) {
    const std::size_t end = line.find('\t');
    auto field = unescaped_tsv_field(line.substr(0, end));
    if (!field)
      return Failure{"field " + std::to_string(fields.size() + 1) + " has an unknown escape after '\\'"};
    fields.push_back(std::move(*field));
    if (end == std::string_view::npos) return fields;
    line.remove_prefix(end + 1);
  }
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace mainstay::drills
