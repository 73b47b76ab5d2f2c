#include "drills/arrivals.h"

#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

constexpr std::string_view header = "order\twall_ms\tmonotonic_ns\tname\tbytes_digest\n";
constexpr std::string_view incomplete_mark = "incomplete";

}  // namespace

std::string_view arrivals_header() {
  return header;
}

void append_line(std::string& to, const Arrival& arrival) {
  append_tsv_line(to, {std::to_string(arrival.order), std::to_string(arrival.wall_ms),
                       std::to_string(arrival.monotonic_ns), arrival.name, arrival.bytes_digest});
}

void append_incomplete_line(std::string& to, std::string_view why) {
  append_tsv_line(to, {incomplete_mark, why});
}

Result<Arrivals, Failure> parse_arrivals(std::string_view text) {
  if (!text.starts_with(header))
    return Failure{"not a record of arrivals: the first line must be \"" +
                   std::string(header.substr(0, header.size() - 1)) + "\" (tab-separated)"};
  Arrivals arrivals;
  std::size_t line_number = 1;
  for (text.remove_prefix(header.size()); !text.empty();) {
    ++line_number;
    const auto bad = [&](const std::string& why) {
      return Failure{"record of arrivals, line " + std::to_string(line_number) + ": " + why};
    };
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) {
      arrivals.incomplete =
          "the record of arrivals ends in the middle of line " + std::to_string(line_number);
      break;
    }
    auto fields = split_tsv_line(text.substr(0, end));
    text.remove_prefix(end + 1);
    if (!fields) return bad(fields.error().what);
    if (fields->size() == 2 && fields->front() == incomplete_mark) {
      arrivals.incomplete = fields->back();
      continue;
    }
    if (fields->size() != 5) return bad(std::to_string(fields->size()) + " fields instead of 5");
    const auto order = parse_number((*fields)[0]);
    const auto wall_ms = parse_number((*fields)[1]);
    const auto monotonic_ns = parse_number((*fields)[2]);
    if (!order || !wall_ms || !monotonic_ns) return bad("order or time is not a number");
    if (*order != arrivals.list.size() + 1)
      return bad("arrival " + std::to_string(*order) + " where " + std::to_string(arrivals.list.size() + 1) +
                 " was expected: the record has been cut or edited");
    arrivals.list.push_back({.order = *order,
                             .wall_ms = static_cast<std::int64_t>(*wall_ms),
                             .monotonic_ns = static_cast<std::int64_t>(*monotonic_ns),
                             .name = std::move((*fields)[3]),
                             .bytes_digest = std::move((*fields)[4])});
  }
  return arrivals;
}

}  // namespace mainstay::drills
