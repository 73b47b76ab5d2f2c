#include "group/store_tenure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mainstay::group {
namespace {

using Lock = StoreWatch::Lock;
using testing::HasSubstr;

/// A leadership, its time, and what it asked for.
struct Leader {
  explicit Leader(bool locked) : tenure({}, locked, now) {}
  /// So long in steps of 10 ms, fences answered at once.
  void pass(Duration time, bool leads = true) {
    for (const Instant until = now + time; now < until; now = now + milliseconds(10)) {
      tenure.tick(leads, now);
      take();
    }
  }
  void take() {
    std::vector<TenureOutput> outputs;
    tenure.outputs(outputs);
    for (const TenureOutput& output : outputs) {
      if (std::holds_alternative<CheckFence>(output)) {
        ++looks;
        if (answers) tenure.fence_checked("");
      }
      if (std::holds_alternative<TryLock>(output)) ++tries;
      if (std::holds_alternative<RemoveOldClaims>(output)) ++removals;
      if (const auto* leave = std::get_if<LeaveStore>(&output)) left.push_back(leave->why);
    }
  }

  Instant now{1'000'000'000};
  StoreTenure tenure;
  bool answers = true;
  int looks = 0, tries = 0, removals = 0;
  std::vector<std::string> left;
};

TEST(StoreTenure, WithTheLockItNeverAsksForIt) {
  Leader it(true);
  it.pass(seconds(30));
  EXPECT_EQ(it.tries, 0);
  EXPECT_TRUE(it.tenure.locked());
}

TEST(StoreTenure, WithoutTheLockItAsksAgainUntilItHasIt) {
  Leader it(false);
  for (int i = 1; i <= 20; ++i) {
    it.pass(milliseconds(1'050));
    ASSERT_EQ(it.tries, i) << "about once a second";
    it.pass(seconds(3));
    ASSERT_EQ(it.tries, i) << "one question at a time";
    it.tenure.lock_tried(Lock::held, "process 7", it.now);
    EXPECT_EQ(it.tenure.holder(), "process 7");
    EXPECT_FALSE(it.tenure.locked());
  }
  it.pass(seconds(2));
  it.tenure.lock_tried(Lock::taken, "", it.now);
  EXPECT_TRUE(it.tenure.locked());
  EXPECT_EQ(it.tenure.holder(), "");
  it.pass(seconds(10));
  EXPECT_EQ(it.tries, 21) << "it has it";
}

TEST(StoreTenure, TheFenceIsLookedAtEvenlyAndNeverTwiceAtOnce) {
  Leader it(true);
  it.pass(seconds(1));
  EXPECT_EQ(it.looks, 10);
  it.answers = false;
  it.pass(seconds(1));
  EXPECT_EQ(it.looks, 11) << "storage that does not answer is asked once";
}

TEST(StoreTenure, AStoreThatIsAnothersIsLeftOnceAndNothingMoreIsAsked) {
  Leader it(false);
  it.pass(milliseconds(50));
  it.tenure.fence_checked("node n2 has taken the store in epoch 9");
  it.tenure.fence_checked("node n2 has taken the store in epoch 9");
  it.take();
  const int looks = it.looks, tries = it.tries;
  it.pass(seconds(20));
  ASSERT_EQ(it.left.size(), 1U);
  EXPECT_THAT(it.left.front(), HasSubstr("n2 has taken"));
  EXPECT_EQ(it.looks, looks);
  EXPECT_EQ(it.tries, tries);
  EXPECT_EQ(it.removals, 0);
}

TEST(StoreTenure, WhatEarlierLeadersLeftIsRemovedOnceAndNotBeforeItLeads) {
  Leader it(true);
  it.pass(seconds(8), false);
  EXPECT_EQ(it.removals, 0);
  it.pass(seconds(4));
  EXPECT_EQ(it.removals, 0);
  it.pass(seconds(30));
  EXPECT_EQ(it.removals, 1);
}

TEST(StoreTenure, OneThatCannotEnterItsLeadInTheRegisterGivesTheStoreUp) {
  Leader it(true);
  it.pass(milliseconds(9'900), false);
  EXPECT_TRUE(it.left.empty());
  it.pass(milliseconds(300), false);
  ASSERT_EQ(it.left.size(), 1U);
  EXPECT_THAT(it.left.front(), HasSubstr("register"));
  Leader led(true);
  led.pass(seconds(1));
  led.pass(seconds(60), false);
  EXPECT_TRUE(led.left.empty()) << "one that has led stays as long as its fence is whole";
}

}  // namespace
}  // namespace mainstay::group
