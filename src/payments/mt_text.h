// Block 4 of a user message: fields ":NNA:value", one or more lines each.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "payments/formats.h"
#include "payments/mt_frame.h"

namespace mainstay::payments {

struct Field {
  std::string_view tag;    ///< "20", "32A"
  std::string_view value;  ///< all lines, with the line ends between them as written
  std::size_t at = 0;      ///< of the line, in the item
};

using Fields = std::vector<Field>;

std::optional<Defect> read_fields(const MtBlock& block, std::size_t fields_max, Fields& fields);

/// The first field with this tag; a pattern ending in 'a' ("50a") takes any option letter or none.
const Field* find_field(const Fields& fields, std::string_view pattern);
std::string_view first_line(const Field* field);  ///< trimmed; empty for nullptr

/// The content as it is compared: each ":tag:value", lines joined by CR LF, whatever the line ends were.
std::string canonical_text(std::string_view type, const Fields& fields);

}  // namespace mainstay::payments
