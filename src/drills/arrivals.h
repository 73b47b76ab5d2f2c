// arrivals.tsv: the witness's record of what arrived at a destination, and in which order.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "drills/audit.h"

namespace mainstay::drills {

/// The header line of the file, with its line feed.
std::string_view arrivals_header();
/// Appends one line.
void append_line(std::string& to, const Arrival& arrival);
/// The line that says why the record does not prove the order. Anywhere after the header.
void append_incomplete_line(std::string& to, std::string_view why);

/// Reads a record written so. A last line without its end makes the record incomplete, anything else that is
/// wrong is a failure naming the line.
[[nodiscard]] Result<Arrivals, Failure> parse_arrivals(std::string_view text);

}  // namespace mainstay::drills
