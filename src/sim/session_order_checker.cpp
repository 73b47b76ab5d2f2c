#include "sim/session_order_checker.h"

namespace mainstay::sim {

void SessionOrderChecker::delivered(const std::string& session, std::uint64_t index) {
  auto& seen = seen_[session];
  if (!seen.empty() && index < *seen.rbegin() && !seen.contains(index)) {
    report_.violated("order: message " + std::to_string(index) + " of session " + session +
                     " was first delivered after message " + std::to_string(*seen.rbegin()));
  }
  seen.insert(index);
}

}  // namespace mainstay::sim
