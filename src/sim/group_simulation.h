// One simulation of a group: its nodes, their register, clients and everything that can go wrong, from one
// seed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/group_world.h"
#include "sim/report.h"

namespace mainstay::sim {

/// Every class of fault there is, by the name it has in Report::faults.
[[nodiscard]] const std::vector<std::string>& group_fault_classes();
/// Paths that enough seeds must reach, by their name in Report::reached.
[[nodiscard]] const std::vector<std::string>& group_probes();
/// Each listed bug by name: `--resurrect NAME`.
[[nodiscard]] std::vector<std::pair<std::string, group::Bug>> group_bugs();

/// Same options, same report, on every machine.
[[nodiscard]] Report simulate_group(const GroupOptions& options);

}  // namespace mainstay::sim
