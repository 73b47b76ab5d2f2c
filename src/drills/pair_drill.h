// The scenarios of `mainstay drill partition` for one group of two nodes under three voters: clients publish
// and receive at a steady rate, one thing is broken for a while and mended, and the audit says what became of
// every message, and whether two nodes ever led at one time (H3, H12, B1-B8, N4).
#pragma once

#include <string_view>
#include <vector>

#include "drills/partition_drill.h"

namespace mainstay::drills {

/// Names begin with "pair-", or with "store-" for two nodes that share one directory. All are to be clean.
[[nodiscard]] const std::vector<PartitionScenario>& pair_scenarios();

/// One series of one scenario. `options.messages` is not used: the load lasts as long as the drill needs it.
/// @return as run_series()
int run_pair(const PartitionOptions& options, const PartitionScenario& scenario);

}  // namespace mainstay::drills
