// How much is needed for a load, from what was measured: a pure calculation that shows its steps.
//
// The model. A group of queues is one log with one live node; queues are spread over groups, groups over
// nodes, one group a node. Each region has as many nodes as the other, because a standby stores and applies
// all that the live one does. A group carries what its tightest limit allows, less the headroom. What one
// message costs at a size between two measured ones lies on the line between them; below the smallest it is
// the smallest's; above the largest it grows with the bytes. Decimal units for rates (MB/s), binary for
// memory and disk (MiB, GiB).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "capacity/measurements.h"

namespace mainstay::capacity {

struct Load {
  double message_bytes{};        ///< average body, 1 to 32 MiB
  double peak_rate{};            ///< messages a second in, all of them also out; over 0
  double headroom = 0.3;         ///< part of each limit that stays free at the peak: 0 to 0.9
  std::uint32_t nodes_lost = 1;  ///< nodes of a region that may be away while the others carry the peak
  std::uint32_t regions = 2;     ///< 1 or 2: with a standby region
  double backlog_hours = 4;      ///< consumers away for so long at the peak rate; 0 to 8760
  double queues = 1, connections = 1;
  double network_mbit = 1000;             ///< of one node, each way
  std::optional<double> node_memory_mib;  ///< absent: what is needed is told, no limit made of it
  std::optional<double> disk_bytes_per_second, cores;  ///< of a node, where it is not the measured one
};

struct Limit {
  std::string name;     ///< "CPU", "disk bandwidth", "syncs", "network", "broker as measured"
  double per_second{};  ///< messages a second that one group could carry by this limit alone
  std::string calculation;
};
struct Need {
  std::string name;  ///< "groups", "disk of a node for the backlog"
  double value{};
  std::string unit;
  std::string calculation;
};

struct Plan {
  std::vector<Limit> limits;  ///< the tightest first, at least one
  std::vector<Need> needs;
  std::vector<std::string> notes;  ///< what was assumed, interpolated, or missing in the records
  double groups{}, nodes_per_region{}, nodes{};
  bool fits = true;  ///< false: a node's memory does not suffice, see the notes
};

/// @return the Failure names every value that is out of its range.
[[nodiscard]] Result<Plan, Failure> plan(const Load& load, const Measurements& measured);

[[nodiscard]] std::string to_text(const Plan& plan, const Load& load);
[[nodiscard]] std::string to_json(const Plan& plan, const Load& load);

/// What a message of `bytes` costs, from `points` (bytes, cost), ascending, at least one.
struct CostPoint {
  double bytes{}, cost{};
};
struct Cost {
  double value{};
  std::string how;  ///< "measured", "between 1,024 B and 4,096 B", …
};
[[nodiscard]] Cost cost_at(const std::vector<CostPoint>& points, double bytes);

}  // namespace mainstay::capacity
