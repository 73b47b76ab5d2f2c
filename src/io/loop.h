// The strand everything of a node runs on: one Boost.Asio io_context, run by one thread. Asio stays out of
// this header.
#pragma once

#include <functional>
#include <memory>

#include "base/clock.h"

namespace mainstay::io {

class Loop {
 public:
  Loop();
  ~Loop();
  /// For how long after a handler the loop looks for work before it lets its thread sleep: what comes within
  /// that time is not late by a wake-up, and costs the time as CPU. It looks only as long as that finds
  /// something now and then (spin_policy.h). 0 (the start) sleeps at once. On the loop's thread, or before
  /// run().
  void spin_before_sleep(Duration most);
  /// Runs handlers until stop(). One thread.
  void run();
  /// Any thread.
  void stop();
  /// Runs `work` on the loop, after what is already due. Any thread.
  void post(std::function<void()> work);
  /// Calls `handler` on SIGTERM and SIGINT (once per signal received).
  void on_signals(std::function<void(int)> handler);

  struct Impl;
  [[nodiscard]] Impl& impl() { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

/// One timer; setting it again replaces what was set. On the loop's thread.
class Timer {
 public:
  explicit Timer(Loop& loop);
  ~Timer();
  /// @param at  on CLOCK_MONOTONIC, as SystemClock::now() tells it; a past time fires at once.
  void at(Instant at, std::function<void()> work);
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainstay::io
