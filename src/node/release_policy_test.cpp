#include "node/release_policy.h"

#include <gtest/gtest.h>

namespace mainstay::node {
namespace {

using Space = ReleasePolicy::Space;
using Step = ReleasePolicy::Step;
constexpr std::uint64_t kMiB = 1U << 20, kGiB = 1U << 30;
constexpr Space kSegments{.segments = 100 * kMiB, .removed = 0, .free = 10 * kGiB, .full = false};

Instant at_ms(std::int64_t ms) {
  return Instant{} + seconds(1000) + milliseconds(ms);
}

TEST(ReleasePolicy, NothingThatWaitsNeedsNoStep) {
  ReleasePolicy policy;
  EXPECT_EQ(policy.due({.full = true}, at_ms(0)), Step::none);
}

TEST(ReleasePolicy, AStepWaitsUntilNobodySyncs) {
  ReleasePolicy policy;
  policy.committed(at_ms(0));
  EXPECT_EQ(policy.due(kSegments, at_ms(0)), Step::none);
  EXPECT_EQ(policy.due(kSegments, at_ms(199)), Step::none);
  EXPECT_EQ(policy.ask_at(), at_ms(200));
  EXPECT_EQ(policy.due(kSegments, at_ms(200)), Step::segment);
}

TEST(ReleasePolicy, FilesThatCannotBeUsedAgainGoBeforeSegments) {
  ReleasePolicy policy;
  Space space = kSegments;
  space.removed = kMiB;
  EXPECT_EQ(policy.due(space, at_ms(0)), Step::removed);
  space.segments = 0;
  EXPECT_EQ(policy.due(space, at_ms(0)), Step::removed);
}

TEST(ReleasePolicy, WhileItIsQuietStepsFollowEachOtherWithPauses) {
  ReleasePolicy policy;
  policy.committed(at_ms(0));
  ASSERT_EQ(policy.due(kSegments, at_ms(300)), Step::segment);
  policy.stepped(milliseconds(1), at_ms(301));
  EXPECT_EQ(policy.due(kSegments, at_ms(320)), Step::none);
  EXPECT_EQ(policy.ask_at(), at_ms(321));
  EXPECT_EQ(policy.due(kSegments, at_ms(321)), Step::segment);
}

TEST(ReleasePolicy, ASlowDiskRestsTwiceAsLongAsItTook) {
  ReleasePolicy policy;
  policy.committed(at_ms(0));
  ASSERT_EQ(policy.due(kSegments, at_ms(300)), Step::segment);
  policy.stepped(milliseconds(400), at_ms(700));
  EXPECT_EQ(policy.due(kSegments, at_ms(1499)), Step::none);
  EXPECT_EQ(policy.due(kSegments, at_ms(1500)), Step::segment);
}

TEST(ReleasePolicy, WhileABacklogIsDrainedItsFilesWait) {
  ReleasePolicy policy;
  Space space{.segments = 0, .removed = 0, .free = 100 * kGiB, .full = false};
  for (std::int64_t ms = 0; ms < 300'000; ms += 50) {  // a segment and some pages each second
    if (ms % 1000 == 0) {
      space.segments += 64 * kMiB;
      space.removed += 3 * kMiB;
    }
    policy.committed(at_ms(ms));
    ASSERT_EQ(policy.due(space, at_ms(ms)), Step::none) << ms;
  }
}

TEST(ReleasePolicy, SegmentsThatNobodyTookForAWhileTrickleUnderLoad) {
  ReleasePolicy policy;
  Space space = kSegments;
  int steps = 0;
  for (std::int64_t ms = 0; ms < 90'000; ms += 10) {
    policy.committed(at_ms(ms));
    space.removed += 100;  // checkpoints go on
    const Step step = policy.due(space, at_ms(ms));
    if (step == Step::none) continue;
    ASSERT_EQ(step, Step::segment);
    ASSERT_GE(ms, 60'000);
    space.segments -= kMiB;
    policy.stepped(milliseconds(1), at_ms(ms));
    ++steps;
  }
  EXPECT_EQ(steps, 30);
}

TEST(ReleasePolicy, NoMoreWaitsThanIsFreeForOthers) {
  ReleasePolicy policy;
  policy.committed(at_ms(0));
  Space space{.segments = kGiB - kMiB, .removed = kMiB, .free = kGiB, .full = false};
  EXPECT_EQ(policy.due(space, at_ms(0)), Step::none);
  --space.free;
  EXPECT_EQ(policy.due(space, at_ms(0)), Step::removed);
  policy.stepped(milliseconds(1), at_ms(1));
  EXPECT_EQ(policy.due(space, at_ms(20)), Step::none);
  space.removed = 0;
  space.segments = kGiB;
  EXPECT_EQ(policy.due(space, at_ms(21)), Step::segment);
}

TEST(ReleasePolicy, PagesThatComeAndGoUnderLoadDoNotPileUp) {
  ReleasePolicy policy;
  policy.committed(at_ms(0));
  Space space = kSegments;
  space.removed = kGiB;
  EXPECT_EQ(policy.due(space, at_ms(0)), Step::none);
  ++space.removed;
  EXPECT_EQ(policy.due(space, at_ms(0)), Step::removed);
}

TEST(ReleasePolicy, AFullDiskIsNotMadeToWait) {
  ReleasePolicy policy;
  policy.committed(at_ms(0));
  const Space full{.segments = 0, .removed = kMiB, .free = kGiB, .full = true};
  ASSERT_EQ(policy.due(full, at_ms(0)), Step::many);
  policy.stepped(milliseconds(400), at_ms(400));
  EXPECT_EQ(policy.due(full, at_ms(400)), Step::many);
}

}  // namespace
}  // namespace mainstay::node
