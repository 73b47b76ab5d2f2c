#include "node/commit_policy.h"

#include <gtest/gtest.h>

namespace mainstay::node {
namespace {

constexpr std::size_t kOne = 1, kSmall = 1024;

CommitPolicy after_quick_syncs() {
  CommitPolicy policy;
  for (int i = 0; i < 50; ++i) policy.written(kOne, kSmall, microseconds(60), {});
  return policy;
}

TEST(CommitPolicy, NothingIsWrittenOnTheLoopBeforeADisksSpeedIsKnown) {
  EXPECT_FALSE(CommitPolicy().on_loop(kOne, kSmall));
}

TEST(CommitPolicy, ASmallBatchIsWrittenOnTheLoopWhenSyncsAreQuick) {
  EXPECT_TRUE(after_quick_syncs().on_loop(kOne, kSmall));
  EXPECT_TRUE(after_quick_syncs().on_loop(16, 64U << 10));
}

TEST(CommitPolicy, ManyRecordsOrBytesGoToTheJournalsThread) {
  EXPECT_FALSE(after_quick_syncs().on_loop(17, kSmall));
  EXPECT_FALSE(after_quick_syncs().on_loop(kOne, (64U << 10) + 1));
}

TEST(CommitPolicy, ASlowDiskIsNeverWaitedForOnTheLoop) {
  CommitPolicy policy;
  for (int i = 0; i < 50; ++i) {
    policy.written(kOne, kSmall, milliseconds(1), {});
    EXPECT_FALSE(policy.on_loop(kOne, kSmall));
  }
}

TEST(CommitPolicy, OneStallIsTheLastOneOnTheLoopUntilSyncsAreQuickAgain) {
  CommitPolicy policy = after_quick_syncs();
  policy.written(kOne, kSmall, seconds(3), {});
  EXPECT_FALSE(policy.on_loop(kOne, kSmall));
  int quick = 0;
  for (; !policy.on_loop(kOne, kSmall); ++quick) policy.written(kOne, kSmall, microseconds(60), {});
  EXPECT_LE(quick, 10);
}

TEST(CommitPolicy, LargeBatchesTeachNothingAboutSmallOnes) {
  CommitPolicy policy = after_quick_syncs();
  for (int i = 0; i < 50; ++i) policy.written(1000, 1U << 20, milliseconds(5), {});
  EXPECT_TRUE(policy.on_loop(kOne, kSmall));
  CommitPolicy other;
  other.written(1000, 1U << 20, microseconds(10), {});
  EXPECT_EQ(other.average(), std::nullopt);
}

TEST(CommitPolicy, ASyncALittleOverTheLimitNowAndThenChangesNothing) {
  CommitPolicy policy = after_quick_syncs();
  for (int i = 0; i < 50; ++i) {
    policy.written(kOne, kSmall, i % 5 == 0 ? microseconds(900) : microseconds(60), {});
    EXPECT_TRUE(policy.on_loop(kOne, kSmall));
  }
}

TEST(CommitPolicy, AStallOfAnySizeOfBatchIsRememberedForAWhile) {
  CommitPolicy policy = after_quick_syncs();
  const Instant begin{seconds(100).ns};
  EXPECT_TRUE(policy.steady(begin));
  policy.written(1000, 1U << 20, milliseconds(21), begin);
  EXPECT_FALSE(policy.steady(begin));
  EXPECT_FALSE(policy.steady(begin + seconds(10)));
  EXPECT_TRUE(policy.steady(begin + seconds(10) + milliseconds(1)));
  policy.written(kOne, kSmall, milliseconds(20), begin + seconds(11));
  EXPECT_TRUE(policy.steady(begin + seconds(11))) << "not longer than the limit";
}

}  // namespace
}  // namespace mainstay::node
