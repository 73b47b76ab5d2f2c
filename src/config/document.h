// A TOML file as plain values that remember where they stand. The parser (toml++) is known to document.cpp
// alone: its exceptions and limits end there. Language: toml.io, version 1.0.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mainstay::config {

/// From 1; column counts characters. {0, 0} = the file as a whole.
struct Place {
  std::uint32_t line{};
  std::uint32_t column{};
};

struct Entry;

/// A value, tables and arrays included. Only the member that `kind` names is meaningful.
struct Node {
  enum class Kind : std::uint8_t { table, array, text, integer, real, boolean, date };
  Kind kind = Kind::table;
  Place place{};
  std::string text;
  std::int64_t integer{};
  double real{};
  bool boolean{};
  std::vector<Node> items;     ///< array, in order
  std::vector<Entry> entries;  ///< table, in order of appearance

  /// nullptr when the table has no such key.
  [[nodiscard]] const Entry* find(std::string_view key) const;
};
struct Entry {
  std::string key;
  Place place{};  ///< of the key
  Node value;
};

/// Reads TOML. A syntax error, a key given twice included, names `file`, line and column. The content of a
/// line that sets a password or a token is never in it.
[[nodiscard]] Result<Node, Failure> parse_document(std::string_view text, const std::string& file);

/// Reads a whole small file: missing, unreadable, a directory or longer than `bytes_max` is a Failure that
/// says which.
[[nodiscard]] Result<std::string, Failure> read_text_file(const std::string& path, std::size_t bytes_max);

}  // namespace mainstay::config
