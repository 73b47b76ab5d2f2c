#include "peers/best_rows.h"

#include <gtest/gtest.h>

namespace mainstay::bench {
namespace {

using Values = std::vector<double>;

Figure row(const std::string& id, Values values, const std::string& note = "") {
  return {"peers." + id, id, "messages/s", {std::move(values)}, {}, {}, note};
}
const Figure& figure(const Record& record, const std::string& id) {
  for (const Figure& one : record.figures) {
    if (one.id == "peers." + id) return one;
  }
  throw std::runtime_error("no figure " + id);
}
/// Ours chose a shape that is worse than one connection, redis one that is better.
Record record() {
  Record out;
  out.benchmark = "peers";
  out.figures = {row("mainstay.publish", {300, 320, 310}, "4 connections, 4000 in flight; AMQP; synced: yes"),
                 row("mainstay.publish_one", {500, 510, 300}, "1 connection, 1000 in flight"),
                 row("redis.publish", {100, 200, 100}, "16 connections, 1000 in flight; hiredis"),
                 row("redis.publish_one", {10, 20, 10}, "1 connection, 1000 in flight"),
                 row("publish.over_redis", {3, 1.6, 3.1})};
  return out;
}

TEST(PeerBestRows, TheShapeWithTheHigherMedianOverAllRoundsCounts) {
  Record some = record();
  prefer_better_rows(some);
  EXPECT_EQ(figure(some, "mainstay.publish").samples.values, (Values{500, 510, 300}));
  EXPECT_EQ(figure(some, "mainstay.publish").note,
            "1 connection, 1000 in flight; AMQP; synced: yes; the tries before the first round had chosen 4 "
            "connections, 4000 in flight, which gave 310 in the same rounds");
  EXPECT_EQ(figure(some, "redis.publish").samples.values, (Values{100, 200, 100}));
  EXPECT_EQ(figure(some, "redis.publish").note, "16 connections, 1000 in flight; hiredis");
}

TEST(PeerBestRows, RatiosAreMadeOfTheRowsThatCount) {
  Record some = record();
  prefer_better_rows(some);
  EXPECT_EQ(figure(some, "publish.over_redis").samples.values, (Values{5, 2.55, 3}));
}

TEST(PeerBestRows, APeersBetterRowCountsAsOursDoes) {
  Record some = record();
  some.figures[3].samples.values = {1000, 1000, 1000};
  prefer_better_rows(some);
  EXPECT_EQ(figure(some, "redis.publish").samples.values, (Values{1000, 1000, 1000}));
  EXPECT_EQ(figure(some, "publish.over_redis").samples.values, (Values{0.5, 0.51, 0.3}));
}

TEST(PeerBestRows, TheMedianDecidesAndNotTheBestRound) {
  Record some = record();
  some.figures[1].samples.values = {309, 900, 100};
  prefer_better_rows(some);
  EXPECT_EQ(figure(some, "mainstay.publish").samples.values, (Values{300, 320, 310}));
  EXPECT_EQ(figure(some, "publish.over_redis").samples.values, (Values{3, 1.6, 3.1}));
}

TEST(PeerBestRows, TwiceIsAsOnce) {
  Record once = record();
  prefer_better_rows(once);
  Record twice = once;
  prefer_better_rows(twice);
  EXPECT_EQ(to_json({twice}), to_json({once}));
}

TEST(PeerBestRows, RowsOfASystemThatFailedOnTheWayStayAsTheyWereMeasured) {
  Record some = record();
  some.figures[2].samples.values = {100, 200};
  some.figures[4].samples.values = {3, 1.6};
  const std::string before = to_json({some});
  prefer_better_rows(some);
  EXPECT_EQ(to_json({some}), before);
}

TEST(PeerBestRows, OtherRecordsStay) {
  Record some = record();
  some.benchmark = "publish";
  const std::string before = to_json({some});
  prefer_better_rows(some);
  EXPECT_EQ(to_json({some}), before);
}

}  // namespace
}  // namespace mainstay::bench
