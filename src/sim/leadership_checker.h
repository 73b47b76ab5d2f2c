// A term is led in by one node, once; terms seen by a node and held by the register never go back.
#pragma once

#include <map>
#include <string>

#include "base/ids.h"
#include "sim/report.h"

namespace mainstay::sim {

class LeadershipChecker {
 public:
  explicit LeadershipChecker(Report& report) : report_(report) {}
  /// `node` in its `life`-th run became live in `term`.
  void leads(const std::string& node, std::uint64_t life, RegionTerm term);
  /// `node` believes that `term` is the highest. Asked at all times, across restarts.
  void believes(const std::string& node, RegionTerm term);

 private:
  Report& report_;
  std::map<RegionTerm, std::pair<std::string, std::uint64_t>> leaders_;
  std::map<std::string, RegionTerm> highest_;
};

}  // namespace mainstay::sim
