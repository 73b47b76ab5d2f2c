// How long a packet and its answer take between two nodes of a group, and the times that follow from it: who
// is given up when. Pure: samples and instants come in.
#pragma once

#include <cstddef>
#include <vector>

#include "base/clock.h"

namespace mainstay::group {

/// Always drop_after < lease < suspect_after.
struct Times {
  Duration drop_after, lease, suspect_after;  ///< MemberOptions has the same names
  friend bool operator==(const Times&, const Times&) = default;
};

/// The floor, grown as a whole so that drop_after covers a beacon and three round trips, until suspect_after
/// reaches its ceiling. @param round_trip  0 = not known
[[nodiscard]] Times times_for(const Times& floor, Duration suspect_after_max, Duration beacon_every,
                              Duration round_trip);

/// What to count with of one node's round trips: the 95th percentile of the last `kWindow` samples, with
/// hysteresis. It takes four slow samples to move it, of a window that is not full yet too; it grows at once
/// and shrinks slowly, by a quarter at most for every `shrink_every` in which all was quicker.
class RoundTrip {
 public:
  static constexpr std::size_t kWindow = 64;
  static constexpr std::size_t kEnough = 16;  ///< samples before it says anything
  static constexpr std::size_t kSlowToMove = 4;

  /// @param every  one sample per such a stretch of time counts, whatever the traffic
  explicit RoundTrip(Duration every, Duration shrink_every = seconds(5))
      : every_(every), shrink_every_(shrink_every) {}

  /// @return used() is another one now
  bool sample(Duration round_trip, Instant now);
  /// 0 = not known yet.
  [[nodiscard]] Duration used() const { return used_; }

 private:
  [[nodiscard]] Duration percentile() const;

  Duration every_, shrink_every_;
  std::vector<Duration> samples_;
  std::size_t next_ = 0;
  Instant next_sample_{};
  Duration used_{};
  Instant quicker_since_{};  ///< valid while the window is quicker than used_
  bool quicker_ = false;
};

}  // namespace mainstay::group
