// What the loop's thread is busy with, and for how long at a time: whoever waits for the loop waits for the
// longest of these. Fixed memory, no allocation. One strand.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"
#include "node/latency_histogram.h"

namespace mainstay::node {

enum class Work : std::uint8_t {
  queued,   ///< a turn that was due waited for the turn before it: the loop's lag
  input,    ///< bytes of one socket: frames read, commands decided
  outputs,  ///< committed outputs: confirms and deliveries
  commit,   ///< a small batch written and synced on the loop
  upkeep,   ///< checkpoints begun, pages stored, old messages moved
  sockets,  ///< output handed to sockets
  timers,   ///< deadlines: locks, time to live, idle connections
};
inline constexpr std::size_t kWorks = 7;

constexpr const char* work_name(Work work) {
  constexpr std::array<const char*, kWorks> names = {"queued", "input",   "outputs", "commit",
                                                     "upkeep", "sockets", "timers"};
  return names[static_cast<std::size_t>(work)];
}

class TurnMeter {
 public:
  struct Figures {
    LatencyHistogram times;
    Duration longest{};
  };

  void add(Work work, Duration took) {
    Figures& figures = figures_[static_cast<std::size_t>(work)];
    figures.times.add(took);
    figures.longest = std::max(figures.longest, took);
  }
  [[nodiscard]] const Figures& of(Work work) const { return figures_[static_cast<std::size_t>(work)]; }

  /// Splits a turn into works: each did() takes the time since the one before it.
  class Laps {
   public:
    Laps(TurnMeter& meter, Clock& clock) : meter_(meter), clock_(clock), from_(clock.now()) {}
    void did(Work work) {
      const Instant now = clock_.now();
      meter_.add(work, now - from_);
      from_ = now;
    }
    [[nodiscard]] Instant from() const { return from_; }

   private:
    TurnMeter& meter_;
    Clock& clock_;
    Instant from_;
  };

 private:
  std::array<Figures, kWorks> figures_;
};

}  // namespace mainstay::node
