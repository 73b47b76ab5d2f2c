#include "drills/tsv.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/escape.h"

namespace mainstay::drills {
namespace {

using OpenFile = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

Failure system_failure(const char* doing, const std::string& path) {
  return {std::string("cannot ") + doing + " " + path + ": " + std::strerror(errno)};
}

}  // namespace

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

Result<std::string, Failure> read_text_file(const std::string& path) {
  const OpenFile file(std::fopen(path.c_str(), "rbe"), &std::fclose);
  if (!file) return system_failure("open", path);
  std::string text;
  char block[65536];
  while (const std::size_t count = std::fread(block, 1, sizeof block, file.get())) text.append(block, count);
  if (std::ferror(file.get()) != 0) return system_failure("read", path);
  // Spelled out: a Failure, too, can be made from a string.
  return {boost::system::in_place_value, std::move(text)};
}

Result<void, Failure> write_text_file(const std::string& path, std::string_view content) {
  OpenFile file(std::fopen(path.c_str(), "wbe"), &std::fclose);
  if (!file) return system_failure("create", path);
  if (std::fwrite(content.data(), 1, content.size(), file.get()) != content.size() ||
      std::fclose(file.release()) != 0)
    return system_failure("write", path);
  return {};
}

}  // namespace mainstay::drills
