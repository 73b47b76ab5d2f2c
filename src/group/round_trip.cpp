#include "group/round_trip.h"

#include <algorithm>

namespace mainstay::group {

Times times_for(const Times& floor, Duration suspect_after_max, Duration beacon_every, Duration round_trip) {
  const std::int64_t wanted = beacon_every.ns + 3 * round_trip.ns;
  if (wanted <= floor.drop_after.ns || suspect_after_max <= floor.suspect_after) return floor;
  // In double: exact enough, and no product of two spans can overflow.
  const double factor =
      std::min(static_cast<double>(wanted) / static_cast<double>(floor.drop_after.ns),
               static_cast<double>(suspect_after_max.ns) / static_cast<double>(floor.suspect_after.ns));
  const auto grown = [factor](Duration d) {
    return Duration{static_cast<std::int64_t>(static_cast<double>(d.ns) * factor)};
  };
  return {grown(floor.drop_after), grown(floor.lease),
          std::min(grown(floor.suspect_after), suspect_after_max)};
}

/// The fourth slowest, which of a full window is the 95th percentile. The 95th of sixteen is the slowest one:
/// a moment in which one node was busy would decide.
Duration RoundTrip::percentile() const {
  static_assert(kWindow - kWindow * 95 / 100 == kSlowToMove && kEnough > kSlowToMove);
  std::vector<Duration> sorted = samples_;
  const auto at = sorted.end() - kSlowToMove;
  std::nth_element(sorted.begin(), at, sorted.end());
  return *at;
}

bool RoundTrip::sample(Duration round_trip, Instant now) {
  if (round_trip.ns <= 0 || now < next_sample_) return false;
  next_sample_ = now + every_;
  if (samples_.size() < kWindow) {
    samples_.push_back(round_trip);
  } else {
    samples_[next_] = round_trip;
    next_ = (next_ + 1) % kWindow;
  }
  if (samples_.size() < kEnough) return false;
  const Duration p95 = percentile();
  const Duration before = used_;
  const Duration quarter{used_.ns / 4};
  if (used_.ns == 0 || p95 > used_ + quarter) {
    used_ = p95;
    quicker_ = false;
  } else if (p95 + quarter < used_) {
    if (!quicker_) quicker_since_ = now;
    quicker_ = true;
    if (now - quicker_since_ >= shrink_every_) {
      used_ = std::max(p95, used_ - quarter);
      quicker_since_ = now;
    }
  } else {
    quicker_ = false;
  }
  return used_ != before;
}

}  // namespace mainstay::group
