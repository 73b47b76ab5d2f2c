#include "node/catch_up_pace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>

namespace mainstay::node {
namespace {

/// A leader with clients that send what they have to, as fast as they are let, and a node that is fed.
struct World {
  explicit World(CatchUpPaceOptions options = {}) : pace(options) {}

  /// @param wanted  messages a second that the clients have
  /// @param takes  records a second that the node takes in, when it is there; what publishers leave of
  /// `shared` is its own as well
  void run(Duration time, double wanted, std::optional<double> takes, double shared = 0) {
    for (const Instant end = now + time; now < end; now = now + kTurn) {
      const double turn = kTurn.seconds();
      pace.review(now, takes ? std::optional(static_cast<std::uint64_t>(lag)) : std::nullopt);
      waiting += wanted * turn;
      double sent = std::min(waiting, kFastest * turn);
      if (const auto room = pace.room()) {
        paced_for = paced_for + kTurn;
        sent = std::min(sent, static_cast<double>(room->bytes) / kBytes);
        most_room = std::max(most_room, room->bytes);
        least_pace = std::min(least_pace, *pace.pace());
      }
      const auto whole = static_cast<std::uint64_t>(sent + carried);
      carried += sent - static_cast<double>(whole);
      for (std::uint64_t i = 0; i < whole; ++i) pace.admitted(kBytes);
      waiting -= static_cast<double>(whole);
      published += static_cast<double>(whole);
      lag += static_cast<double>(whole);
      if (takes) {
        lag = std::max(0.0, lag - (*takes + std::max(0.0, shared - sent / turn)) * turn);
        if (lag == 0 && !there_at) there_at = now;
      }
    }
  }
  static constexpr Duration kTurn = milliseconds(2);
  static constexpr double kFastest = 400'000;  // whatever publishers want
  static constexpr std::uint64_t kBytes = 1000;
  CatchUpPace pace;
  Instant now{1'000'000'000};
  double waiting = 0, lag = 0, published = 0, carried = 0, least_pace = 1e18;
  std::uint64_t most_room = 0;
  Duration paced_for{};
  std::optional<Instant> there_at;
};

TEST(CatchUpPace, NobodyIsSlowedWhileNobodyCatchesUp) {
  World world;
  world.run(seconds(60), 50'000, std::nullopt);
  EXPECT_EQ(world.paced_for, Duration{});
  EXPECT_EQ(world.published, 3'000'000);
  EXPECT_NEAR(world.pace.rate_before(), 50'000, 50);
}

TEST(CatchUpPace, NoTimerIsAskedForWhileNobodyCatchesUp) {
  World world;
  EXPECT_GT((world.pace.next_deadline() - world.now).seconds(), 3'600) << "before the first review, too";
  world.run(seconds(60), 80'000, std::nullopt);
  EXPECT_GT((world.pace.next_deadline() - world.now).seconds(), 3'600);
  world.run(seconds(5), 80'000, 160'000);
  EXPECT_LT((world.pace.next_deadline() - world.now).seconds(), 1.1);
  world.run(World::kTurn, 80'000, std::nullopt);
  EXPECT_GT((world.pace.next_deadline() - world.now).seconds(), 3'600);
}

TEST(CatchUpPace, ACatchUpThatEndsSoonSlowsNobody) {
  World world;
  world.run(seconds(20), 50'000, std::nullopt);
  world.run(seconds(20), 50'000, 150'000);  // 1,000,000 records, 100,000 nearer each second
  EXPECT_TRUE(world.there_at);
  EXPECT_EQ(world.paced_for, Duration{});
}

TEST(CatchUpPace, PublishersKeepTheirPartOfTheRateBeforeWhenItWouldTakeLong) {
  World world;
  world.run(seconds(60), 80'000, std::nullopt);
  const double before = world.published;
  world.run(seconds(15), 80'000, 160'000);  // 4,800,000 records: 60 s at this rate
  const double kept = (world.published - before) / 15 / 80'000;
  EXPECT_GT(kept, 0.7);
  EXPECT_LT(kept, 0.78) << "the first second is not slowed, and the pace grows slowly";
  EXPECT_NEAR(world.least_pace, 56'000, 100);
}

TEST(CatchUpPace, WhatPublishersLeaveBringsTheEndNearer) {
  const auto takes = [](unsigned percent) {
    CatchUpPaceOptions options;
    options.publish_percent = percent;
    World world(options);
    world.run(seconds(60), 80'000, std::nullopt);
    const Instant begin = world.now;
    world.run(seconds(120), 80'000, 120'000, 160'000);
    return world.there_at ? (*world.there_at - begin).seconds() : 1e9;
  };
  EXPECT_LT(takes(70), 0.8 * takes(100));
}

TEST(CatchUpPace, ASaturatedLoadThatOutrunsTheNodeIsSlowedUntilItIsThere) {
  World world;
  world.run(seconds(20), 190'000, std::nullopt);
  world.run(seconds(600), 190'000, 120'000, 190'000);  // falls behind, but for a pace of 155,000 a second
  EXPECT_TRUE(world.there_at);
  EXPECT_GT(world.least_pace, 132'900);
}

TEST(CatchUpPace, ANodeThatTakesNothingIsNotWaitedFor) {
  World world;
  world.run(seconds(30), 50'000, std::nullopt);
  world.run(seconds(200), 50'000, 0);
  EXPECT_TRUE(world.pace.gave_up());
  EXPECT_FALSE(world.pace.pace());
  EXPECT_LT(world.paced_for, seconds(12));
}

TEST(CatchUpPace, AHundredPercentNeverSlows) {
  CatchUpPaceOptions options;
  options.publish_percent = 100;
  World world(options);
  world.run(seconds(60), 80'000, std::nullopt);
  world.run(seconds(60), 80'000, 90'000);
  EXPECT_EQ(world.paced_for, Duration{});
}

TEST(CatchUpPace, TheEndIsTheEndOfIt) {
  World world;
  world.run(seconds(60), 80'000, std::nullopt);
  world.run(seconds(5), 80'000, 160'000);
  EXPECT_TRUE(world.pace.pace());
  world.run(World::kTurn, 80'000, std::nullopt);
  EXPECT_FALSE(world.pace.pace());
  EXPECT_FALSE(world.pace.room());
}

TEST(CatchUpPace, ALoadThatIsInNobodysWayIsNotSlowedAndALittleOneThatGrowsIsLetGrow) {
  World world;
  world.run(seconds(60), 1'000, std::nullopt);
  world.lag = 40'000'000;
  world.run(seconds(60), 1'000, 300'000);
  EXPECT_EQ(world.paced_for, Duration{}) << "without it the end would be as far away";
  const double before = world.published;
  world.run(seconds(30), 30'000, 300'000);
  EXPECT_NEAR(world.published - before, 900'000, 1'000);
}

TEST(CatchUpPace, AtOnceNoMoreThanABurstAndWhatWasOverdrawnIsMadeUpFor) {
  World world;
  world.run(seconds(60), 80'000, std::nullopt);
  world.run(seconds(5), 80'000, 160'000);
  ASSERT_TRUE(world.pace.pace());
  EXPECT_LE(world.most_room, static_cast<std::uint64_t>(58'000 * 0.2 * World::kBytes));
  for (int i = 0; i < 60'000; ++i) world.pace.admitted(World::kBytes);  // sent with credit from before
  const auto lag = static_cast<std::uint64_t>(world.lag);
  world.pace.review(world.now + milliseconds(700), lag);
  EXPECT_EQ(world.pace.room()->bytes, 0U);
  world.pace.review(world.now + milliseconds(1'200), lag);
  EXPECT_GT(world.pace.room()->bytes, 0U);
}

TEST(CatchUpPace, TheSizeOfMessagesIsLearnt) {
  World world;
  world.run(seconds(60), 80'000, std::nullopt);
  world.run(seconds(3), 80'000, 160'000);
  ASSERT_TRUE(world.pace.room());
  EXPECT_NEAR(static_cast<double>(world.pace.room()->capacity), 56'000 * 0.2 * World::kBytes, 200'000);
}

}  // namespace
}  // namespace mainstay::node
