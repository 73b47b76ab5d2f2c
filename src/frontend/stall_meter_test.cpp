#include "frontend/stall_meter.h"

#include <gtest/gtest.h>

namespace mainstay::frontend {
namespace {

std::vector<StallNotice> told(StallMeter& meter, Instant now) {
  std::vector<StallNotice> out;
  meter.notices(now, out);
  return out;
}

TEST(StallMeter, AddsUpTheTimeInWhichAnybodyWaited) {
  StallMeter meter;
  const Instant t{1};
  meter.set(StallReason::memory, 2, t);
  meter.set(StallReason::memory, 1, t + seconds(2));
  EXPECT_EQ(meter.total(StallReason::memory, t + seconds(3)), seconds(3));
  meter.set(StallReason::memory, 0, t + seconds(4));
  meter.set(StallReason::memory, 1, t + seconds(10));
  EXPECT_EQ(meter.total(StallReason::memory, t + seconds(11)), seconds(5));
  EXPECT_EQ(meter.total(StallReason::journal, t + seconds(11)), seconds(0));
}

TEST(StallMeter, AStallThatLastsIsToldOnceAndSoIsItsEnd) {
  StallMeter meter;
  const Instant t{1};
  meter.set(StallReason::journal, 3, t);
  EXPECT_TRUE(told(meter, t + milliseconds(4999)).empty());
  const auto begun = told(meter, t + seconds(5));
  ASSERT_EQ(begun.size(), 1U);
  EXPECT_FALSE(begun[0].ended);
  EXPECT_NE(begun[0].text.find("3 publishing links have waited for 5.0 s (journal)"), std::string::npos)
      << begun[0].text;
  EXPECT_TRUE(told(meter, t + seconds(6)).empty());
  meter.set(StallReason::journal, 0, t + milliseconds(7200));
  const auto ended = told(meter, t + seconds(8));
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_TRUE(ended[0].ended);
  EXPECT_NE(ended[0].text.find("stall of 7.2 s"), std::string::npos) << ended[0].text;
  EXPECT_TRUE(told(meter, t + seconds(9)).empty());
}

TEST(StallMeter, AShortStallIsCountedAndNotTold) {
  StallMeter meter;
  const Instant t{1};
  meter.set(StallReason::journal, 1, t);
  meter.set(StallReason::journal, 0, t + seconds(1));
  EXPECT_TRUE(told(meter, t + seconds(20)).empty());
}

}  // namespace
}  // namespace mainstay::frontend
