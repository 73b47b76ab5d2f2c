#include "drills/tsv.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <memory>

namespace mainstay::drills {
namespace {

using OpenFile = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

void append_escaped(std::string& to, std::string_view field) {
  for (const char c : field) {
    switch (c) {
      case '\t':
        to += "\\t";
        break;
      case '\n':
        to += "\\n";
        break;
      case '\r':
        to += "\\r";
        break;
      case '\\':
        to += "\\\\";
        break;
      default:
        to += c;
    }
  }
}

Failure system_failure(const char* doing, const std::string& path) {
  return {std::string("cannot ") + doing + " " + path + ": " + std::strerror(errno)};
}

}  // namespace

void append_tsv_line(std::string& to, const std::vector<std::string_view>& fields) {
  bool first = true;
  for (const std::string_view field : fields) {
    if (!first) to += '\t';
    first = false;
    append_escaped(to, field);
  }
  to += '\n';
}

Result<std::vector<std::string>, Failure> split_tsv_line(std::string_view line) {
  std::vector<std::string> fields(1);
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\t') {
      fields.emplace_back();
    } else if (line[i] != '\\') {
      fields.back() += line[i];
    } else {
      const char escaped = i + 1 < line.size() ? line[++i] : '\0';
      switch (escaped) {
        case 't':
          fields.back() += '\t';
          break;
        case 'n':
          fields.back() += '\n';
          break;
        case 'r':
          fields.back() += '\r';
          break;
        case '\\':
          fields.back() += '\\';
          break;
        default:
          return Failure{"field " + std::to_string(fields.size()) + " has an unknown escape after '\\'"};
      }
    }
  }
  return fields;
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
