// Time comes in from outside. Two kinds that never mix: monotonic for durations and locks, wall for what
// people and messages mean by a date. `io` has the machine's clock, `sim` and tests have one that moves when
// told.
#pragma once

#include <compare>
#include <cstdint>

namespace mainstay {

/// A span of time in nanoseconds.
struct Duration {
  std::int64_t ns{};
  friend constexpr auto operator<=>(Duration, Duration) = default;
  friend constexpr Duration operator+(Duration a, Duration b) { return {a.ns + b.ns}; }
  friend constexpr Duration operator-(Duration a, Duration b) { return {a.ns - b.ns}; }
  [[nodiscard]] constexpr std::int64_t milliseconds() const { return ns / 1'000'000; }
  [[nodiscard]] constexpr double seconds() const { return static_cast<double>(ns) / 1e9; }
};
constexpr Duration microseconds(std::int64_t n) {
  return {n * 1'000};
}
constexpr Duration milliseconds(std::int64_t n) {
  return {n * 1'000'000};
}
constexpr Duration seconds(std::int64_t n) {
  return {n * 1'000'000'000};
}

/// A point on this process's monotonic clock. Meaningless on another machine or after a restart.
struct Instant {
  std::int64_t ns{};
  friend constexpr auto operator<=>(Instant, Instant) = default;
  friend constexpr Instant operator+(Instant a, Duration d) { return {a.ns + d.ns}; }
  friend constexpr Duration operator-(Instant a, Instant b) { return {a.ns - b.ns}; }
};

/// Milliseconds since 1970-01-01T00:00:00Z, as AMQP timestamps are. May jump: never use it for a lock or a
/// time-out.
struct WallTime {
  std::int64_t ms{};
  friend constexpr auto operator<=>(WallTime, WallTime) = default;
};

/// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Instant now() = 0;
  [[nodiscard]] virtual WallTime wall() = 0;
};

/// A clock that moves when told. For tests and the simulator. Not thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(WallTime wall = {1'700'000'000'000}) : wall_(wall) {}
  Instant now() override { return now_; }
  WallTime wall() override { return wall_; }
  void advance(Duration by) {
    now_ = now_ + by;
    fraction_ns_ += by.ns;
    wall_.ms += fraction_ns_ / 1'000'000;
    fraction_ns_ %= 1'000'000;
  }
  /// Moves only the wall clock, as an operator or a time daemon might; may go backwards.
  void jump_wall(std::int64_t ms) { wall_.ms += ms; }

 private:
  Instant now_{1'000'000'000};
  WallTime wall_;
  std::int64_t fraction_ns_ = 0;
};

}  // namespace mainstay
