#include "sim/publish_checker.h"

#include <algorithm>

namespace mainstay::sim {

void PublishChecker::acknowledged(const std::string& id, Lsn lsn, RegionTerm term) {
  acknowledged_[id].push_back({lsn, term});
}

bool PublishChecker::beyond_a_fork(Lsn lsn, RegionTerm term) const {
  return std::any_of(forks_.begin(), forks_.end(),
                     [&](const auto& fork) { return fork.first > term && lsn > fork.second; });
}

void PublishChecker::finish() {
  for (const auto& [id, acks] : acknowledged_) {
    if (settled_.contains(id)) continue;
    const bool may_be_lost = std::all_of(acks.begin(), acks.end(),
                                         [this](const Ack& ack) { return beyond_a_fork(ack.lsn, ack.term); });
    if (may_be_lost && !global_.contains(id)) {
      report_.lost_in_forced_promotion.push_back(id);
      continue;
    }
    report_.violated("lost: " + id + " was acknowledged" + (global_.contains(id) ? " in both regions" : "") +
                     " (LSN " + std::to_string(acks.front().lsn.value) + ", term " +
                     std::to_string(acks.front().term.value) + ") and never left its queue");
  }
}

}  // namespace mainstay::sim
