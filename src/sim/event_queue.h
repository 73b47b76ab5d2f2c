// Virtual time: events happen in order of time, those of one time in order of being planned.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "base/clock.h"

namespace mainstay::sim {

class EventQueue {
 public:
  /// True time since the simulation began; nobody inside can see it, only clocks that follow it.
  [[nodiscard]] Duration now() const { return now_; }
  void after(Duration delay, std::function<void()> event) {
    events_.emplace(std::pair{(now_ + delay).ns, ++planned_}, std::move(event));
  }
  /// @return false when nothing is planned.
  bool run_next() {
    if (events_.empty()) return false;
    auto node = events_.extract(events_.begin());
    now_ = Duration{node.key().first};
    ++ran_;
    node.mapped()();
    return true;
  }
  [[nodiscard]] std::uint64_t ran() const { return ran_; }

 private:
  Duration now_{};
  std::uint64_t planned_ = 0, ran_ = 0;
  std::map<std::pair<std::int64_t, std::uint64_t>, std::function<void()>> events_;
};

/// A node's clock: runs a little fast or slow; its wall time jumps when told.
class DriftingClock final : public Clock {
 public:
  DriftingClock(const EventQueue& queue, std::int64_t drift_ppm) : queue_(queue), drift_ppm_(drift_ppm) {}
  Instant now() override { return {1'000'000'000 + elapsed()}; }
  WallTime wall() override { return {1'700'000'000'000 + elapsed() / 1'000'000 + jumped_ms_}; }
  void jump_wall(std::int64_t ms) { jumped_ms_ += ms; }
  [[nodiscard]] std::int64_t drift_ppm() const { return drift_ppm_; }
  /// True time that passes while this clock advances by `local`, rounded up.
  [[nodiscard]] Duration true_time(Duration local) const {
    return {local.ns + (local.ns < 0 ? 0 : local.ns / 1'000'000 * (drift_ppm_ < 0 ? -drift_ppm_ : 0)) +
            1'000};
  }

 private:
  [[nodiscard]] std::int64_t elapsed() const {
    const std::int64_t ns = queue_.now().ns;
    return ns + ns / 1'000'000 * drift_ppm_;
  }
  const EventQueue& queue_;
  std::int64_t drift_ppm_;
  std::int64_t jumped_ms_ = 0;
};

}  // namespace mainstay::sim
