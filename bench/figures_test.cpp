#include "figures.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace mainstay::bench {
namespace {

Figure figure(std::vector<double> samples) {
  Figure out;
  out.id = "publish.rate";
  out.what = "publish with confirm";
  out.unit = "messages/s";
  out.samples.values = std::move(samples);
  return out;
}

TEST(BenchSamples, MedianIsTheMiddleWhateverTheOrderAndTheMeanOfTwoWhenEven) {
  EXPECT_EQ((Samples{{9, 1, 5}}.median()), 5);
  EXPECT_EQ((Samples{{9, 1, 5, 7}}.median()), 6);
  EXPECT_EQ((Samples{{9, 1, 5}}.low()), 1);
  EXPECT_EQ((Samples{{9, 1, 5}}.high()), 9);
  EXPECT_EQ(Samples{}.median(), 0);
}

TEST(BenchVerdict, TheMedianDecidesAndTheTargetItselfIsReached) {
  Figure f = figure({10, 20, 900});
  EXPECT_EQ(f.verdict(), Verdict::only_shown);
  f.at_least = 20;
  EXPECT_EQ(f.verdict(), Verdict::reached);
  f.at_least = 20.5;
  EXPECT_EQ(f.verdict(), Verdict::missed);
  f.at_least.reset();
  f.at_most = 20;
  EXPECT_EQ(f.verdict(), Verdict::reached);
  f.at_most = 19.9;
  EXPECT_EQ(f.verdict(), Verdict::missed);
}

TEST(BenchVerdict, WhatCouldNotBeMeasuredMissesItsTarget) {
  Figure f = figure({});
  f.at_most = 50;
  EXPECT_EQ(f.verdict(), Verdict::missed);
  f.samples.values = {std::numeric_limits<double>::quiet_NaN()};
  EXPECT_EQ(f.verdict(), Verdict::missed);
}

TEST(BenchVerdict, OneMissedFigureInAnyRecordGivesExitStatusOne) {
  Figure good = figure({10}), bad = figure({10});
  good.at_least = 9;
  bad.at_least = 11;
  EXPECT_EQ(exit_status({{"a", "", "", {good, figure({1})}}, {"b", "", "", {good}}}), 0);
  EXPECT_EQ(exit_status({{"a", "", "", {good}}, {"b", "", "", {good, bad}}}), 1);
}

TEST(BenchJson, RecordsComeBackAsTheyWere) {
  Figure f = figure({1.5, 2.25, 1e9});
  f.at_least = 0.85;
  f.note = "with \"quotes\" and µ";
  const std::vector<Record> records = {{"publish", "./dev bench publish", "# cpu", {f, figure({})}},
                                       {"e2e", "", "", {}}};
  const auto back = from_json(to_json(records));
  ASSERT_TRUE(back);
  ASSERT_EQ(back->size(), 2U);
  const Record& first = back->front();
  EXPECT_EQ(first.benchmark, "publish");
  EXPECT_EQ(first.command, "./dev bench publish");
  EXPECT_EQ(first.environment, "# cpu");
  ASSERT_EQ(first.figures.size(), 2U);
  EXPECT_EQ(first.figures[0].samples.values, f.samples.values);
  EXPECT_EQ(first.figures[0].at_least, f.at_least);
  EXPECT_FALSE(first.figures[0].at_most);
  EXPECT_EQ(first.figures[0].note, f.note);
  EXPECT_EQ(to_json(*back), to_json(records));
}

TEST(BenchVerdict, ARecordThatIsNotWholeGivesExitStatusTwoAndItsReasonWhateverTheFiguresSay) {
  Figure good = figure({10}), bad = figure({10});
  good.at_least = 9;
  bad.at_least = 11;
  const std::vector<Record> records = {{"a", "", "", {bad}},
                                       {"peers", "", "", {good}, "NATS: not installed"}};
  EXPECT_EQ(exit_status(records), 2);
  EXPECT_NE(table(records).find("peers is not whole: NATS: not installed"), std::string::npos);
  const auto back = from_json(to_json(records));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->at(1).trouble, "NATS: not installed");
  EXPECT_EQ(back->at(0).trouble, "");
}

TEST(BenchJson, AnythingElseIsRefused) {
  for (
      const char* text :
      {"", "[]", "{}", "not json", R"({"format":"mainstay-bench-1"})", R"({"format":"other","records":[]})",
       R"({"format":"mainstay-bench-1","records":[{"figures":[]}]})",
       R"({"format":"mainstay-bench-1","records":[{"benchmark":"a","figures":[{"id":"x"}]}]})",
       R"({"format":"mainstay-bench-1","records":[{"benchmark":"a","figures":[{"id":"x","samples":["1"]}]}]})"}) {
    EXPECT_FALSE(from_json(text)) << text;
  }
  EXPECT_TRUE(from_json(R"({"format":"mainstay-bench-1","records":[]})"));
}

TEST(BenchTable, NumbersAreGroupedAndKeepThreeDigits) {
  EXPECT_EQ(readable(1234567.4), "1,234,567");
  EXPECT_EQ(readable(-1234), "-1,234");
  EXPECT_EQ(readable(999), "999");
  EXPECT_EQ(readable(87.34), "87.3");
  EXPECT_EQ(readable(1), "1");
  EXPECT_EQ(readable(0.85), "0.85");
  EXPECT_EQ(readable(0.012345), "0.0123");
  EXPECT_EQ(readable(0), "0");
}

TEST(BenchTable, ColumnsStandUnderTheirHeadingsAlsoWithSignsOfManyBytes) {
  Figure slow = figure({120, 100, 110});
  slow.what = "one in flight";
  slow.unit = "µs";
  slow.at_most = 90;
  slow.note = "the machine was busy";
  const std::string text = table({{"latency", "", "", {slow}}, {"publish", "", "", {figure({150000})}}});
  EXPECT_EQ(text,
            "figure                 median  unit        spread     target  verdict\n"
            "one in flight [1]         110  µs          100 … 120  ≤ 90    MISSED\n"
            "publish with confirm  150,000  messages/s\n"
            "[1] the machine was busy\n");
}

TEST(BenchFigures, AreFoundByTheirId) {
  const std::vector<Record> records = {{"publish", "", "", {figure({3})}}};
  ASSERT_NE(find_figure(records, "publish.rate"), nullptr);
  EXPECT_EQ(find_figure(records, "publish.rate")->samples.median(), 3);
  EXPECT_EQ(find_figure(records, "nothing"), nullptr);
}

}  // namespace
}  // namespace mainstay::bench
