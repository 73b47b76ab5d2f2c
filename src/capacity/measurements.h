// What the planner takes from benchmark records ("mainstay-bench-1", written by `./dev bench NAME --json`).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace mainstay::capacity {

/// One message size that was measured, saturated.
struct SizePoint {
  double message_bytes{};
  double publish_per_second{};                ///< confirmed publishes
  std::optional<double> complete_per_second;  ///< published, received and completed at once
  std::optional<double> cpu_us;               ///< server CPU for publish, delivery and completion
  std::optional<double> syncs_per_message;    ///< of the same
};

/// Medians. What no record held is absent.
struct Measurements {
  std::vector<SizePoint> sizes;  ///< ascending in message_bytes, each size once, at least one
  std::optional<double> cores;
  std::optional<double> disk_bytes_per_second;  ///< sequential write + sync
  std::optional<double> syncs_per_second;       ///< one small record each
  /// Resident memory of one broker with so many messages waiting; ascending. Empty, or idle and two more.
  struct Memory {
    double messages{}, mib{};
  };
  std::vector<Memory> memory;
  std::optional<double> drain_per_second;  ///< an old backlog
  std::optional<double> memory_per_queue_kib, memory_per_connection_kib;
  std::vector<std::string> environments;  ///< each once; more than one: measured on different machines
};

/// @param texts  of the files, each with its name for messages. A later record of the same benchmark and size
/// replaces an earlier one.
/// @return the Failure names the file that is no such record, or what is missing and the command that makes
/// it.
struct RecordFile {
  std::string name, text;
};
[[nodiscard]] Result<Measurements, Failure> read_measurements(const std::vector<RecordFile>& files);

}  // namespace mainstay::capacity
