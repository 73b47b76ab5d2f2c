// One simulation: two regions, their clients, an operator and everything that can go wrong, from one seed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/report.h"
#include "sim/world.h"

namespace mainstay::sim {

/// Every class of fault there is, by the name it has in Report::faults.
[[nodiscard]] const std::vector<std::string>& fault_classes();
/// Paths that enough seeds must reach, by their name in Report::reached.
[[nodiscard]] const std::vector<std::string>& probes();
[[nodiscard]] std::optional<Canary> canary_named(const std::string& name);
[[nodiscard]] std::vector<std::string> canary_names();

/// Same options, same report, on every machine.
[[nodiscard]] Report simulate(const Options& options);

}  // namespace mainstay::sim
