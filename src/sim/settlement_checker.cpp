#include "sim/settlement_checker.h"

namespace mainstay::sim {

void SettlementChecker::finish() {
  for (const auto& [id, removals] : removals_) {
    std::size_t lasting = 0;
    for (const Removal& removal : removals)
      lasting += publishes_.beyond_a_fork(removal.lsn, removal.term) ? 0U : 1U;
    if (lasting > 1) {
      report_.violated("settled twice: " + id + " was removed successfully " + std::to_string(lasting) +
                       " times");
    }
  }
}

}  // namespace mainstay::sim
