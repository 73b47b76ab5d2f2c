// One simulation of a group: its nodes, their register, clients and everything that can go wrong, from one
// seed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/group_world.h"
#include "sim/report.h"

namespace mainstay::sim {

/// Every class of fault there is in a stage, by the name it has in Report::faults.
[[nodiscard]] std::vector<std::string> group_fault_classes(bool members_only);
/// Paths that enough seeds of a stage must reach, by their name in Report::reached.
[[nodiscard]] std::vector<std::string> group_probes(bool members_only);
/// A listed bug: `--resurrect NAME`.
struct GroupBug {
  std::string name;
  AnyBug bug{};
  /// The stage that looks for it: a member's bug shows without a broker, and sooner.
  bool members_only = true;
  std::uint64_t from_seed = 1;  ///< for one that is rare: where its test begins to look
};
[[nodiscard]] const std::vector<GroupBug>& group_bugs();

/// Same options, same report, on every machine.
[[nodiscard]] Report simulate_group(const GroupOptions& options);

}  // namespace mainstay::sim
