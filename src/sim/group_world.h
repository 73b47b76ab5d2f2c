// What everything in one simulation of a group shares: the nodes of a region that hold copies of one log,
// their register and their clients.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "group/bugs.h"
#include "group/member.h"
#include "sim/event_queue.h"
#include "sim/group_checker.h"
#include "sim/report.h"

namespace mainstay::sim {

struct GroupOptions {
  std::uint64_t seed = 1;
  std::uint64_t operations = 60;  ///< for clients to have acknowledged
  group::Bug bug = group::Bug::none;
  bool trace = false;  ///< tell on standard error what happens
};

struct GroupWorld {
  explicit GroupWorld(const GroupOptions& with) : options(with), random(with.seed), checker(report) {
    report.seed = with.seed;
  }
  Duration between(Duration low, Duration high) {
    return {static_cast<std::int64_t>(
        random.between(static_cast<std::uint64_t>(low.ns), static_cast<std::uint64_t>(high.ns)))};
  }
  void trace(const std::string& what) const;
  void fault(const std::string& name) {
    ++report.faults[name];
    trace("fault: " + name);
  }
  void reached(const std::string& name) { ++report.reached[name]; }

  GroupOptions options;
  Report report;
  EventQueue queue;
  SeededRandom random;
  GroupChecker checker;
  bool faults_on = true;
  bool register_was_put_back = false;  ///< and not repaired yet
  /// Nodes may say so: answers from before a repair may arrive later, at nodes that were paused.
  Duration put_back_told_until{};
  std::uint64_t next_id = 0;
};

}  // namespace mainstay::sim
