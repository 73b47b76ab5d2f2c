#include "group/round_trip.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/random.h"

namespace mainstay::group {
namespace {

constexpr Duration kBeacon = milliseconds(100);
const Times kFloor{milliseconds(500), milliseconds(800), milliseconds(1'200)};
const Times kFast{milliseconds(150), milliseconds(250), milliseconds(400)};

class RoundTripOf : public testing::Test {
 protected:
  /// `count` samples, one per beacon.
  void samples(int count, Duration each) {
    for (int i = 0; i < count; ++i) {
      now_ = now_ + kBeacon;
      trip_.sample(each, now_);
    }
  }
  RoundTrip trip_{kBeacon};
  Instant now_{1};
};

TEST_F(RoundTripOf, IsNotKnownBeforeThereAreEnoughSamples) {
  samples(RoundTrip::kEnough - 1, milliseconds(5));
  EXPECT_EQ(trip_.used(), Duration{});
  samples(1, milliseconds(5));
  EXPECT_EQ(trip_.used(), milliseconds(5));
}

TEST_F(RoundTripOf, OneSlowSampleChangesNothingAndFourOf64Do) {
  samples(64, milliseconds(5));
  samples(3, milliseconds(900));
  EXPECT_EQ(trip_.used(), milliseconds(5));
  samples(1, milliseconds(900));
  EXPECT_EQ(trip_.used(), milliseconds(900));
}

TEST_F(RoundTripOf, ThreeSlowSamplesOfTheFirstOnesChangeNothingEither) {
  samples(RoundTrip::kEnough - 3, milliseconds(5));
  samples(3, milliseconds(900));
  EXPECT_EQ(trip_.used(), milliseconds(5));
  samples(1, milliseconds(900));
  EXPECT_EQ(trip_.used(), milliseconds(900));
}

TEST_F(RoundTripOf, GrowsAtOnceAndShrinksByAQuarterAtATime) {
  samples(64, milliseconds(100));
  samples(64, milliseconds(200));
  EXPECT_EQ(trip_.used(), milliseconds(200));
  samples(64, milliseconds(10));
  EXPECT_EQ(trip_.used(), milliseconds(200)) << "a quick moment says little";
  samples(50, milliseconds(10));
  EXPECT_EQ(trip_.used(), milliseconds(150));
  samples(1'000, milliseconds(10));
  EXPECT_LE(trip_.used(), milliseconds(13));
  EXPECT_GE(trip_.used(), milliseconds(10));
}

TEST_F(RoundTripOf, SmallChangesAreLeftAlone) {
  samples(64, milliseconds(100));
  for (int i = 0; i < 300; ++i) samples(1, milliseconds(i % 2 == 0 ? 85 : 120));
  EXPECT_EQ(trip_.used(), milliseconds(100));
}

TEST_F(RoundTripOf, ManySamplesWithinOneBeaconAreOne) {
  samples(64, milliseconds(5));
  for (int i = 0; i < 1'000; ++i) trip_.sample(milliseconds(900), now_ + microseconds(i));
  EXPECT_EQ(trip_.used(), milliseconds(5));
}

TEST(GroupTimes, GrowFromTheFloorToTheCeiling) {
  const Duration most = milliseconds(6'000);
  EXPECT_EQ(times_for(kFloor, most, kBeacon, {}), kFloor);
  EXPECT_EQ(times_for(kFloor, most, kBeacon, milliseconds(5)), kFloor)
      << "a short link leaves what was configured";
  EXPECT_EQ(times_for(kFloor, most, kBeacon, milliseconds(300)),
            (Times{milliseconds(1'000), milliseconds(1'600), milliseconds(2'400)}))
      << "a beacon and three round trips";
  EXPECT_EQ(times_for(kFloor, most, kBeacon, seconds(100)).suspect_after, most);
  EXPECT_EQ(times_for(kFloor, kFloor.suspect_after, kBeacon, seconds(100)), kFloor) << "no room to grow";
}

TEST(GroupTimes, KeepTheirOrderWhateverTheRoundTrip) {
  SeededRandom random(7);
  for (const Times& floor : {kFloor, kFast}) {
    Times before = floor;
    std::int64_t round_trip_us = 0;
    for (int i = 0; i < 2'000; ++i) {
      round_trip_us += static_cast<std::int64_t>(random.below(3'000));
      const Times t = times_for(floor, milliseconds(6'000), milliseconds(25), microseconds(round_trip_us));
      ASSERT_LT(t.drop_after, t.lease) << round_trip_us;
      ASSERT_LT(t.lease, t.suspect_after) << round_trip_us;
      ASSERT_GE(t.suspect_after, before.suspect_after) << "they never shrink as the link gets longer";
      before = t;
    }
    EXPECT_EQ(before.suspect_after, milliseconds(6'000));
  }
}

}  // namespace
}  // namespace mainstay::group
