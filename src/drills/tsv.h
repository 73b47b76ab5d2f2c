// Tab-separated evidence files: one line per record, a header line first, no quoting. Tab, line feed,
// carriage return and backslash inside a field are written \t \n \r \\ so that any key survives.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "lab/text_files.h"

namespace mainstay::drills {

/// Appends the escaped fields and a line feed to `to`.
void append_tsv_line(std::string& to, const std::vector<std::string_view>& fields);

/// The fields of one line (without its line feed), unescaped. Fails on an unknown escape.
[[nodiscard]] Result<std::vector<std::string>, Failure> split_tsv_line(std::string_view line);

/// The whole text as an unsigned decimal number, or nothing.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text);

using lab::read_text_file;
using lab::write_text_file;

}  // namespace mainstay::drills
