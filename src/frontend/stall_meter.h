// Who waits for what, for how long: figures for metrics, and a word for the log when it lasts.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "frontend/credit_policy.h"

namespace mainstay::frontend {

/// For the log: a stall that has lasted kStallToldAfter, or the end of one that was told.
struct StallNotice {
  StallReason reason{};
  bool ended = false;
  std::string text;  ///< what waits, since when, what to do
};
inline constexpr Duration kStallToldAfter = seconds(5);

/// One strand.
class StallMeter {
 public:
  /// `waiting` links wait for this reason from now on; 0: none does.
  void set(StallReason reason, std::uint64_t waiting, Instant now);
  [[nodiscard]] std::uint64_t waiting(StallReason reason) const { return at(reason).waiting; }
  /// Time during which at least one link waited, the stall under way included.
  [[nodiscard]] Duration total(StallReason reason, Instant now) const;
  /// What is to be told now; each beginning and each end once.
  void notices(Instant now, std::vector<StallNotice>& into);

 private:
  struct Stall {
    std::uint64_t waiting = 0, most = 0;
    Instant since{};
    Duration before{};  ///< of earlier stalls
    bool told = false;
  };
  [[nodiscard]] const Stall& at(StallReason reason) const {
    return stalls_[static_cast<std::size_t>(reason)];
  }

  std::array<Stall, kStallReasons> stalls_;
  std::vector<StallNotice> ended_;
};

}  // namespace mainstay::frontend
