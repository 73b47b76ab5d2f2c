#include "plan.h"

#include <gtest/gtest.h>

namespace mainstay::bench {
namespace {

Record record(const char* name, double value, const char* trouble = "") {
  return {name, "", "", {{"x", "", "", {{value}}, {}, {}, ""}}, trouble};
}
const std::vector<Planned> kAll = {{"journal", 10}, {"publish", 20}, {"peers", 70}};

TEST(BenchPlan, WhatIsMissingOrNotWholeIsLeftToMeasure) {
  EXPECT_EQ(left_to_measure(kAll, {}), (std::vector<std::string>{"journal", "publish", "peers"}));
  EXPECT_EQ(left_to_measure(kAll, {record("peers", 1, "NATS: cannot start"), record("journal", 1)}),
            (std::vector<std::string>{"publish", "peers"}));
}

TEST(BenchPlan, ANewRecordTakesThePlaceOfItsBenchmarkAndOthersKeepTheirs) {
  std::vector<Record> records = {record("journal", 1), record("publish", 2, "the broker ended")};
  merge(records, {record("publish", 3), record("peers", 4)});
  ASSERT_EQ(records.size(), 3U);
  EXPECT_EQ(records[0].figures[0].samples.values[0], 1);
  EXPECT_EQ(records[1].figures[0].samples.values[0], 3);
  EXPECT_EQ(records[1].trouble, "");
  EXPECT_EQ(records[2].benchmark, "peers");
}

TEST(BenchPlan, AFailedRepetitionDoesNotTakeTheFiguresThatWereWhole) {
  std::vector<Record> records = {record("publish", 2)};
  merge(records, {record("publish", 0, "the broker ended")});
  EXPECT_EQ(records[0].figures[0].samples.values[0], 2);
  EXPECT_NE(records[0].trouble.find("the broker ended"), std::string::npos);
  EXPECT_EQ(left_to_measure(kAll, records).size(), 3U) << "and it is measured again with the next resume";
}

TEST(BenchPlan, WhatIsLeftIsExpectedToBeAsSlowAsWhatIsDone) {
  Schedule schedule(kAll);
  EXPECT_EQ(schedule.remaining_seconds(), 100);
  schedule.done(20);  // twice as long as expected
  EXPECT_EQ(schedule.remaining_seconds(), 180);
  EXPECT_EQ(schedule.text(), "20 s gone, about 3 min left");
  schedule.done(10);  // 30 of 30 in all
  EXPECT_EQ(schedule.remaining_seconds(), 70);
  schedule.done(70);
  EXPECT_EQ(schedule.remaining_seconds(), 0);
}

TEST(BenchPlan, APartThatFailedAtOnceDoesNotMakeTheOthersQuick) {
  Schedule schedule(kAll);
  schedule.done(0, false);
  EXPECT_EQ(schedule.remaining_seconds(), 90);
  EXPECT_EQ(schedule.text(), "0 s gone, about 2 min left");
}

TEST(BenchPlan, DurationsAreToldInTheUnitThatFits) {
  EXPECT_EQ(duration_text(0.4), "0 s");
  EXPECT_EQ(duration_text(59.4), "59 s");
  EXPECT_EQ(duration_text(720), "12 min");
  EXPECT_EQ(duration_text(5100), "1 h 25 min");
}

}  // namespace
}  // namespace mainstay::bench
