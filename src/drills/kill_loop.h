// `mainstay drill kill-loop`: two regions on this machine, payments flowing through one of them, and all the
// while one process after the other, of both regions and of every kind, is killed without warning and started
// again. The audit says what became of every message, and the standby must end as the live region's twin (P2,
// P3, P4, P10, D1).
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "drills/drill_monitor.h"
#include "drills/drill_series.h"

namespace mainstay::drills {

struct KillLoopOptions : DrillOptions {
  std::uint64_t kills = 60;  ///< at least 1
};

/// See run_series() for output, thread and exit status.
int run_kill_loop(const KillLoopOptions& options);

/// When and whom: one kill of the plan.
struct PlannedKill {
  std::uint64_t after_entered{};  ///< not before so many messages have entered
  Duration pause{};               ///< nor so soon after the kill before
  bool after_arrival = false;     ///< nor before something has arrived since; else a recovery may be hit, too
  std::size_t victim{};           ///< index of the process
};
/// `kills` of them, spread evenly over `messages` (the last twentieth stays free of them), otherwise random.
[[nodiscard]] std::vector<PlannedKill> plan_kills(std::uint64_t kills, std::uint64_t messages,
                                                  std::size_t processes, Random& random);

/// How two replicas' logs and states compare, as far as the two views allow it.
struct TwinComparison {
  enum class Verdict : std::uint8_t { unknown, same, different };
  Verdict log = Verdict::unknown;    ///< unknown while their durable_lsn differ
  Verdict state = Verdict::unknown;  ///< unknown while their applied_lsn differ
};
[[nodiscard]] TwinComparison compare_twins(const NodeView& live, const NodeView& standby);

}  // namespace mainstay::drills
