// Within a session messages are first delivered in the order in which they were published.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "sim/report.h"

namespace mainstay::sim {

class SessionOrderChecker {
 public:
  explicit SessionOrderChecker(Report& report) : report_(report) {}
  /// Message number `index` (in order of publishing within its session) was shown to a consumer.
  void delivered(const std::string& session, std::uint64_t index);

 private:
  Report& report_;
  std::map<std::string, std::set<std::uint64_t>> seen_;
};

}  // namespace mainstay::sim
