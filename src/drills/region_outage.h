// `mainstay drill region-outage`: two regions on this machine, payments flowing through one of them; every
// process of it is killed at once and its disk taken away; the other is promoted as an operator would do it,
// the archive brings what had not been replicated, the flow ends, and the audit says what became of every
// message (P1-P4, P14, P15.1, N1, N2).
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "drills/report.h"

namespace mainstay::drills {

struct RegionOutageOptions {
  std::string program;  ///< path of the mainstay binary
  std::string version;  ///< "mainstay 0.1.0 (…)"
  std::uint64_t messages = 20'000;
  std::string source;  ///< directory to feed instead of generated messages; empty: generate
  std::uint64_t seed_first = 1, seed_last = 1;  ///< one drill per seed, one after the other
  std::string report = "drill-reports";         ///< a directory per drill is made in it
  double rate_per_s = 1'000;
  std::int64_t stuck_after_s = 30;  ///< without any progress
  bool json = false;                ///< the reports as JSON on standard output, one per line
  bool keep = false;                ///< keep the workspace of a clean drill too
};

/// Runs the drill or drills; progress goes to standard error, results to standard output. Call it from the
/// main thread: the processes it starts die with it.
/// @return 0 every audit clean; 1 some audit not clean; 2 some drill could not run or got stuck.
int run_region_outage(const RegionOutageOptions& options);

/// "7" or "1..20" → first and last; a Failure that says what is allowed.
[[nodiscard]] Result<std::pair<std::uint64_t, std::uint64_t>, Failure> parse_seeds(const std::string& text);

}  // namespace mainstay::drills
