// `mainstay drill partition`: two regions on this machine, each broker and each region's pipeline on a host
// of its own in a network that can be cut and disturbed, each broker on a disk that can fail. Payments flow,
// one fault is made for a while and repaired, the flow goes to its end, and the audit says what became of
// every message (P2, P3, P4, H3, H12, D9, N4). And the same for a group of two nodes: pair_drill.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "drills/drill_series.h"

namespace mainstay::drills {

struct PartitionOptions : DrillOptions {
  /// A name of partition_scenarios() or pair_scenarios(); "pair", "store": all of the latter whose names
  /// begin so; "all": all of both that are to be clean.
  std::string scenario = "all";
  std::int64_t fault_s = 4;  ///< how long a fault lasts, at least 1
};

struct PartitionScenario {
  std::string_view name;
  std::string_view about;     ///< what is broken, in a few words
  bool must_be_clean = true;  ///< false: no software survives it; shows that the audit finds a loss
};
[[nodiscard]] const std::vector<PartitionScenario>& partition_scenarios();

/// See run_series() for output, thread and exit status; of "all" the worst. Needs what lab::Network needs.
int run_partition(const PartitionOptions& options);

}  // namespace mainstay::drills
