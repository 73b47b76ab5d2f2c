// Virtual time: events happen in order of time, those of one time in order of being planned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace mainstay::sim {

class EventQueue {
 public:
  /// True time since the simulation began; nobody inside can see it, only clocks that follow it.
  [[nodiscard]] Duration now() const { return now_; }
  template <class Event>
  void after(Duration delay, Event&& event) {
    if (free_.empty()) {
      free_.push_back(events_.size());
      events_.emplace_back();
    }
    const std::size_t place = free_.back();
    free_.pop_back();
    events_[place] = std::forward<Event>(event);
    heap_.push_back({(now_ + delay).ns, ++planned_, place});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  /// @return false when nothing is planned.
  bool run_next() {
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Planned next = heap_.back();
    heap_.pop_back();
    now_ = Duration{next.at};
    ++ran_;
    // It may plan others, which move what is in events_.
    const std::function<void()> event = std::move(events_[next.place]);
    events_[next.place] = nullptr;
    free_.push_back(next.place);
    event();
    return true;
  }
  [[nodiscard]] std::uint64_t ran() const { return ran_; }

 private:
  struct Planned {
    std::int64_t at;
    std::uint64_t number;
    std::size_t place;  ///< in events_
  };
  static bool later(const Planned& a, const Planned& b) {
    return a.at != b.at ? a.at > b.at : a.number > b.number;
  }

  Duration now_{};
  std::uint64_t planned_ = 0, ran_ = 0;
  std::vector<Planned> heap_;                  ///< the next one is in front
  std::vector<std::function<void()>> events_;  ///< empty where no event is planned
  std::vector<std::size_t> free_;              ///< places of those
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
