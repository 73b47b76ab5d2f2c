#include "io/loop.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <thread>

#include "io/spin_policy.h"
#include "io/system_clock.h"

namespace mainstay::io {
namespace {

long times_slept() {
  rusage use{};
  getrusage(RUSAGE_THREAD, &use);
  return use.ru_nvcsw;
}

struct Waits {
  int wanted;       ///< timers that fire on time: it ends then
  int fired = 0;    ///< all; of one that was due before its loop came to wait for it, nothing follows
  int on_time = 0;  ///< less than half a millisecond late
  std::function<void()> then = {};
};

/// Timers one after the other, each 1 ms after the last.
void wait_for_timers(Loop& loop, SystemClock& clock, Timer& timer, Waits& waits) {
  const Instant due = clock.now() + milliseconds(1);
  timer.at(due, [&, due] {
    ++waits.fired;
    if (clock.now() - due < microseconds(500)) ++waits.on_time;
    if (waits.on_time == waits.wanted) return waits.then ? waits.then() : loop.stop();
    wait_for_timers(loop, clock, timer, waits);
  });
}

TEST(LoopSpin, WorkThatComesSoonIsFoundWithoutSleeping) {
  Loop loop;
  SystemClock clock;
  Timer timer(loop);
  loop.spin_before_sleep(milliseconds(50));
  Waits waits{60};
  loop.post([&] { wait_for_timers(loop, clock, timer, waits); });
  const long before = times_slept();
  loop.run();
  EXPECT_LT(times_slept() - before, waits.fired / 3);
}

TEST(LoopSpin, NoneMeansThatEveryWaitIsASleep) {
  Loop loop;
  SystemClock clock;
  Timer timer(loop);
  Waits waits{60};
  loop.post([&] { wait_for_timers(loop, clock, timer, waits); });
  const long before = times_slept();
  loop.run();
  EXPECT_GE(times_slept() - before, 50);
}

TEST(LoopSpin, WhatNeverComesSoonIsNotLookedForAnyMore) {
  // All looks fail; only the first few and a try now and then are paid for.
  Loop loop;
  SystemClock clock;
  Timer timer(loop);
  loop.spin_before_sleep(milliseconds(1));
  int fired = 0;
  std::function<void()> next = [&] {
    if (++fired == 100) return loop.stop();
    timer.at(clock.now() + milliseconds(3), next);
  };
  timer.at(clock.now(), next);
  rusage before{}, after{};
  getrusage(RUSAGE_THREAD, &before);
  loop.run();
  getrusage(RUSAGE_THREAD, &after);
  const auto us = [](const timeval& t) { return t.tv_sec * 1'000'000L + t.tv_usec; };
  const long cpu_us = us(after.ru_utime) + us(after.ru_stime) - us(before.ru_utime) - us(before.ru_stime);
  EXPECT_LT(cpu_us, 60'000) << "100 looks would be 100 ms";
}

TEST(LoopSpin, CanBeSwitchedOffAndOnByAHandler) {
  Loop loop;
  SystemClock clock;
  Timer timer(loop);
  loop.spin_before_sleep(milliseconds(50));
  long off = 0, on = 0;
  Waits while_on{30};
  Waits while_off{30, 0, 0, [&] {
                    off = times_slept() - off;
                    loop.spin_before_sleep(milliseconds(50));
                    on = times_slept();
                    wait_for_timers(loop, clock, timer, while_on);
                  }};
  loop.post([&] {
    loop.spin_before_sleep(Duration{});
    off = times_slept();
    wait_for_timers(loop, clock, timer, while_off);
  });
  loop.run();
  on = times_slept() - on;
  EXPECT_GE(off, 25);
  EXPECT_LT(on, while_on.fired / 3);
}

TEST(LoopSpin, PostsOfOtherThreadsRunInOrderAndStopEndsIt) {
  for (const Duration spin : {Duration{}, microseconds(50), milliseconds(20)}) {
    Loop loop;
    loop.spin_before_sleep(spin);
    std::vector<int> order;
    std::thread poster([&] {
      for (int i = 0; i < 1000; ++i) {
        loop.post([&order, i] { order.push_back(i); });
        if (i % 64 == 0) std::this_thread::yield();
      }
      loop.post([&loop] { loop.stop(); });
    });
    loop.run();
    poster.join();
    ASSERT_EQ(order.size(), 1000U);
    for (int i = 0; i < 1000; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], i);
  }
}

TEST(LoopSpin, AnExceptionOfAHandlerLeavesRunAndItCanGoOn) {
  Loop loop;
  loop.spin_before_sleep(milliseconds(1));
  bool after = false;
  loop.post([] { throw std::runtime_error("x"); });
  loop.post([&] {
    after = true;
    loop.stop();
  });
  EXPECT_THROW(loop.run(), std::runtime_error);
  EXPECT_FALSE(after);
  loop.run();
  EXPECT_TRUE(after);
}

TEST(SpinPolicy, StopsWhenNothingIsFoundAndTriesNowAndThen) {
  SpinPolicy policy;
  int looked = 0;
  for (int i = 0; i < 1000; ++i) {
    if (!policy.worthwhile()) continue;
    policy.spun(false);
    ++looked;
  }
  EXPECT_LE(looked, SpinPolicy::kMost + 1000 / SpinPolicy::kTryEvery);
  EXPECT_GE(looked, 1000 / SpinPolicy::kTryEvery);
}

TEST(SpinPolicy, StartsAgainWithTheFirstTryThatFindsSomething) {
  SpinPolicy policy;
  for (int i = 0; i < 100; ++i) policy.spun(false);
  policy.spun(true);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(policy.worthwhile());
    policy.spun(i % 4 == 0);
  }
}

}  // namespace
}  // namespace mainstay::io
