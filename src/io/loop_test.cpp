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

/// Timers one after the other, each 1 ms after the last. @return how often the thread slept meanwhile.
long sleeps_for(int timers, Duration spin) {
  Loop loop;
  SystemClock clock;
  Timer timer(loop);
  loop.spin_before_sleep(spin);
  int fired = 0;
  std::function<void()> next = [&] {
    if (++fired == timers) return loop.stop();
    timer.at(clock.now() + milliseconds(1), next);
  };
  timer.at(clock.now(), next);
  const long before = times_slept();
  loop.run();
  EXPECT_EQ(fired, timers);
  return times_slept() - before;
}

TEST(LoopSpin, WorkThatComesSoonIsFoundWithoutSleeping) {
  EXPECT_LT(sleeps_for(60, milliseconds(50)), 20);
}

TEST(LoopSpin, NoneMeansThatEveryWaitIsASleep) {
  EXPECT_GE(sleeps_for(60, Duration{}), 50);
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
  loop.post([&] {
    loop.spin_before_sleep(Duration{});
    timer.at(clock.now() + milliseconds(2), [&] {
      loop.spin_before_sleep(milliseconds(50));
      timer.at(clock.now() + milliseconds(2), [&] { loop.stop(); });
    });
  });
  const long before = times_slept();
  loop.run();
  EXPECT_GE(times_slept() - before, 1);
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
