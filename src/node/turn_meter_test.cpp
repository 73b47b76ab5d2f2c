#include "node/turn_meter.h"

#include <gtest/gtest.h>

namespace mainstay::node {
namespace {

TEST(TurnMeter, TurnIsSplitIntoWhatItDid) {
  ManualClock clock;
  TurnMeter meter;
  TurnMeter::Laps laps(meter, clock);
  clock.advance(milliseconds(3));
  laps.did(Work::outputs);
  clock.advance(milliseconds(40));
  laps.did(Work::commit);
  clock.advance(milliseconds(1));
  laps.did(Work::outputs);
  EXPECT_EQ(meter.of(Work::outputs).times.count(), 2U);
  EXPECT_EQ(meter.of(Work::outputs).longest, milliseconds(3));
  EXPECT_DOUBLE_EQ(meter.of(Work::outputs).times.sum_seconds(), 0.004);
  EXPECT_EQ(meter.of(Work::commit).longest, milliseconds(40));
  EXPECT_EQ(meter.of(Work::input).times.count(), 0U);
}

TEST(TurnMeter, EveryWorkHasItsName) {
  EXPECT_STREQ(work_name(Work::queued), "queued");
  EXPECT_STREQ(work_name(Work::upkeep), "upkeep");
  EXPECT_STREQ(work_name(static_cast<Work>(kWorks - 1)), "timers");
}

}  // namespace
}  // namespace mainstay::node
