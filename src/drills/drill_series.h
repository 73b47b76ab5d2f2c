// One drill per seed: a directory for each, its report as a page and as JSON, and a table when there were
// several.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "drills/progress_line.h"
#include "drills/report.h"

namespace mainstay::drills {

/// What every drill with two regions is told.
struct DrillOptions {
  std::string program;  ///< path of the mainstay binary
  std::string version;  ///< "mainstay 0.1.0 (…)"
  std::uint64_t messages = 20'000;
  std::uint64_t seed_first = 1, seed_last = 1;  ///< one drill per seed, one after the other
  std::string report = "drill-reports";         ///< a directory per drill is made in it
  double rate_per_s = 1'000;
  std::int64_t stuck_after_s = 30;  ///< without any progress
  bool json = false;                ///< the reports as JSON on standard output, one per line
  bool keep = false;                ///< keep the workspace of a clean drill too
};

/// Where one drill of a series runs, and with what.
struct DrillPlace {
  std::uint64_t seed{};
  std::string directory;  ///< absolute, empty; the workspace is made in it
  Clock& clock;
  ProgressLine& progress;
};

/// A column of the table that a series ends with, besides those that every drill has.
struct SeriesColumn {
  std::string title;
  std::function<std::string(const DrillReport&)> cell;
};

/// Runs `drill` once per seed; progress goes to standard error, results to standard output. Call it from the
/// main thread: the processes a drill starts die with it.
/// @param name  as on the command line, "region-outage".
/// @return 0 every drill clean; 1 some drill not clean; 2 some drill could not run or got stuck.
int run_series(const std::string& name, const DrillOptions& options, const std::vector<SeriesColumn>& columns,
               const std::function<DrillReport(const DrillPlace&)>& drill);

/// "7" or "1..20" → first and last; a Failure that says what is allowed.
[[nodiscard]] Result<std::pair<std::uint64_t, std::uint64_t>, Failure> parse_seeds(const std::string& text);

}  // namespace mainstay::drills
