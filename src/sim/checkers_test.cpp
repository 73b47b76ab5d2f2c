// Each checker must be able to fail.
#include <gtest/gtest.h>

#include "sim/world.h"

namespace mainstay::sim {
namespace {

struct Checkers : testing::Test {
  World world{Options{}};
  [[nodiscard]] bool violated(const std::string& kind) const {
    return world.report.violations.size() == 1 && world.report.violations.front().starts_with(kind);
  }
};

Buffer record(journal::LogPosition& at, const std::string& body) {
  Buffer raw;
  const BytesView view = as_bytes(body);
  const Lsn lsn = at.lsn.next();
  at = {lsn, journal::encode_record(raw, lsn, Epoch{1}, at.hash, journal::RecordType::message_stored,
                                    std::span(&view, 1))};
  return raw;
}

TEST_F(Checkers, AcknowledgedMessageThatNeverLeavesIsLost) {
  world.publishes.acknowledged("a", Lsn{5}, RegionTerm{1});
  world.publishes.acknowledged("b", Lsn{6}, RegionTerm{1});
  world.publishes.settled("b");
  world.publishes.finish();
  EXPECT_TRUE(violated("lost: a"));
}

TEST_F(Checkers, OnlyWhatIsBeyondTheForkMayBeLostAndItIsListed) {
  world.publishes.forked(RegionTerm{2}, Lsn{5});
  world.publishes.acknowledged("before", Lsn{5}, RegionTerm{1});
  world.publishes.acknowledged("beyond", Lsn{6}, RegionTerm{1});
  world.publishes.acknowledged("after", Lsn{7}, RegionTerm{2});
  world.publishes.finish();
  EXPECT_EQ(world.report.violations.size(), 2U);
  EXPECT_EQ(world.report.lost_in_forced_promotion, (std::vector<std::string>{"beyond"}));
}

TEST_F(Checkers, SecondLastingSettlementIsNoticed) {
  world.publishes.forked(RegionTerm{2}, Lsn{5});
  world.settlements.removed("undone by the fork", Lsn{6}, RegionTerm{1});
  world.settlements.removed("undone by the fork", Lsn{8}, RegionTerm{2});
  world.settlements.finish();
  EXPECT_TRUE(world.report.violations.empty());
  world.settlements.removed("twice", Lsn{3}, RegionTerm{1});
  world.settlements.removed("twice", Lsn{9}, RegionTerm{2});
  world.settlements.finish();
  EXPECT_TRUE(violated("settled twice: twice"));
}

TEST_F(Checkers, FirstDeliveryOutOfOrderIsNoticedAndARedeliveryIsNot) {
  world.order.delivered("s", 1);
  world.order.delivered("s", 3);
  world.order.delivered("s", 1);
  EXPECT_TRUE(world.report.violations.empty());
  world.order.delivered("s", 2);
  EXPECT_TRUE(violated("order"));
}

TEST_F(Checkers, ShorterOrOtherLogAfterARestartIsNoticed) {
  journal::LogPosition at;
  const Buffer first = record(at, "a");
  const journal::LogPosition one = at;
  const Buffer second = record(at, "b");
  world.logs.durable("east", first);
  world.logs.durable("east", second);
  world.logs.recovered("east", at);
  EXPECT_TRUE(world.report.violations.empty());
  world.logs.recovered("east", one);
  EXPECT_TRUE(violated("durability"));
}

TEST_F(Checkers, AcknowledgementOrAnswerAheadOfTheDiskIsNoticed) {
  journal::LogPosition at;
  world.logs.durable("east", record(at, "a"));
  world.logs.shown("east", Lsn{1});
  world.logs.acknowledged("east", at);
  EXPECT_TRUE(world.report.violations.empty());
  world.logs.shown("east", Lsn{2});
  EXPECT_TRUE(violated("commit"));
  world.logs.acknowledged("east", {Lsn{2}, 0});
  EXPECT_EQ(world.report.violations.size(), 2U);
}

TEST_F(Checkers, LogsThatDifferAndStatesThatDifferAreNoticed) {
  journal::LogPosition a, b;
  world.logs.durable("east", record(a, "a"));
  world.logs.durable("west", record(b, "b"));
  world.logs.same_history("east", "west");
  EXPECT_TRUE(violated("prefix"));
  world.logs.state("east", a, 1);
  world.logs.state("west", b, 2);
  EXPECT_EQ(world.report.violations.size(), 1U) << "other logs may have other states";
  world.logs.state("west", a, 2);
  EXPECT_EQ(world.report.violations.size(), 2U);
}

TEST_F(Checkers, TermLedInTwiceOrGoneBackIsNoticed) {
  world.leadership.leads("east", 1, RegionTerm{4});
  world.leadership.leads("east", 1, RegionTerm{4});
  EXPECT_TRUE(world.report.violations.empty()) << "a switch called off leads on";
  world.leadership.leads("west", 1, RegionTerm{4});
  EXPECT_EQ(world.report.violations.size(), 1U);
  world.leadership.leads("east", 2, RegionTerm{4});
  EXPECT_EQ(world.report.violations.size(), 2U) << "a restarted node is another leader";
  world.leadership.believes("east", RegionTerm{4});
  world.leadership.believes("east", RegionTerm{3});
  EXPECT_EQ(world.report.violations.size(), 3U);
}

}  // namespace
}  // namespace mainstay::sim
