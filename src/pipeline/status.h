// A component's counters as a small JSON file, replaced atomically, for people and drills to look at while it
// runs. Not an interface for decisions: it may be late or lost.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace mainstay::pipeline {

struct Status {
  std::string component, region, worker;
  std::string state;  ///< "running", "waiting" (gate closed), "stopped"
  std::string why;    ///< for "waiting"
  std::uint64_t term = 0;
  std::vector<std::pair<std::string_view, std::uint64_t>> counters;
};

/// {"component":…,"region":…,"worker":…,"state":…,"why":…,"term":…,"at_ms":…,"pid":…,"counters":{…}}
std::string to_json(const Status& status, WallTime now);
/// Writes now and then: at most once per interval unless `force`. Failures are kept to itself: a status file
/// must not stop the flow.
class StatusFile {
 public:
  StatusFile(std::string path, Duration interval) : path_(std::move(path)), interval_(interval) {}
  [[nodiscard]] bool due(Instant now) const { return !path_.empty() && now >= next_; }
  void write(const Status& status, Clock& clock);

 private:
  std::string path_;
  Duration interval_;
  Instant next_{};
};

}  // namespace mainstay::pipeline
