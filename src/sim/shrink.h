// From a seed that fails to the little of it that fails: fewer operations, fewer classes of faults, fewer
// faults. Cheap and greedy: each step is one more run of the simulation that still fails or does not.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "sim/fault_choice.h"
#include "sim/report.h"

namespace mainstay::sim {

struct ShrinkResult {
  std::uint64_t operations{};
  FaultChoice faults;
  Report report;      ///< of the smallest run that fails
  unsigned runs = 0;  ///< that it took
};

/// Runs one seed; same arguments, same report.
using Run = std::function<Report(std::uint64_t operations, const FaultChoice& faults)>;

/// What counts as the same failure: unsafe stays unsafe, by the same rule (the words before the first ':'),
/// stuck stays stuck. @pre the run with these arguments fails
[[nodiscard]] ShrinkResult shrink(const Run& run, std::uint64_t operations, const FaultChoice& faults,
                                  unsigned runs_max = 400);

/// Options of mainstay-sim that repeat it, with a space in front; empty when nothing is left out.
[[nodiscard]] std::string command_line(const FaultChoice& faults);

}  // namespace mainstay::sim
