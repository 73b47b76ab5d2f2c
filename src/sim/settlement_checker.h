// A message is settled successfully at most once, unless the settlement lies beyond the fork of a forced
// promotion.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/publish_checker.h"
#include "sim/report.h"

namespace mainstay::sim {

class SettlementChecker {
 public:
  SettlementChecker(Report& report, const PublishChecker& publishes)
      : report_(report), publishes_(publishes) {}
  /// A node showed the success of a settlement that removes `id`, recorded at `lsn` in `term`.
  void removed(const std::string& id, Lsn lsn, RegionTerm term) { removals_[id].push_back({lsn, term}); }
  void finish();

 private:
  struct Removal {
    Lsn lsn;
    RegionTerm term;
  };
  Report& report_;
  const PublishChecker& publishes_;
  std::map<std::string, std::vector<Removal>> removals_;
};

}  // namespace mainstay::sim
