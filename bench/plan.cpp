#include "plan.h"

#include <algorithm>
#include <cmath>

namespace mainstay::bench {
namespace {

auto record_named(std::vector<Record>& records, const std::string& name) {
  return std::find_if(records.begin(), records.end(),
                      [&](const Record& record) { return record.benchmark == name; });
}

}  // namespace

std::vector<std::string> left_to_measure(const std::vector<Planned>& all,
                                         const std::vector<Record>& records) {
  std::vector<std::string> out;
  for (const Planned& part : all) {
    const bool whole = std::any_of(records.begin(), records.end(), [&](const Record& record) {
      return record.benchmark == part.name && record.trouble.empty();
    });
    if (!whole) out.push_back(part.name);
  }
  return out;
}

void merge(std::vector<Record>& records, const std::vector<Record>& found) {
  for (const Record& record : found) {
    const auto same = record_named(records, record.benchmark);
    if (same == records.end()) {
      records.push_back(record);
    } else if (!record.trouble.empty() && same->trouble.empty()) {
      same->trouble = "these figures are of an earlier run; measured again: " + record.trouble;
    } else {
      *same = record;
    }
  }
}

void Schedule::done(double seconds, bool whole) {
  if (left_.empty()) return;
  gone_ += seconds;
  if (whole) {
    took_ += seconds;
    expected_ += left_.front().seconds;
  }
  left_.erase(left_.begin());
}

double Schedule::remaining_seconds() const {
  double expected = 0;
  for (const Planned& part : left_) expected += part.seconds;
  return expected_ > 0 ? expected * took_ / expected_ : expected;
}

std::string Schedule::text() const {
  return duration_text(gone_) + " gone, about " + duration_text(remaining_seconds()) + " left";
}

std::string duration_text(double seconds) {
  if (seconds < 60) return std::to_string(std::lround(seconds)) + " s";
  const long minutes = std::lround(seconds / 60);
  if (minutes < 60) return std::to_string(minutes) + " min";
  return std::to_string(minutes / 60) + " h " + std::to_string(minutes % 60) + " min";
}

}  // namespace mainstay::bench
