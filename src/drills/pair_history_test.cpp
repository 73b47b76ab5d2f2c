// H3, N4: the audit of a group's drill finds two leaders, by logs and by what clients saw, and every kind of
// damage to messages; and nothing where there is nothing.
#include "drills/pair_history.h"

#include <gmock/gmock.h>

namespace mainstay::drills {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::int64_t noon_us = 1'795'262'400'000'000;  // 2026-11-21T12:00:00Z
constexpr std::int64_t second_us = 1'000'000;

std::string line(const std::string& at, const std::string& text) {
  return "2026-11-21T" + at + "Z info    node-1 " + text + "\n";
}

Service service(const std::string& node, std::uint64_t epoch, std::int64_t begin_s, std::int64_t end_s) {
  return {.node = node,
          .epoch = epoch,
          .begin_us = noon_us + begin_s * second_us,
          .end_us = noon_us + end_s * second_us,
          .begins_leadership = true,
          .after_sleep = false,
          .end_why = "fenced"};
}

TEST(PairServices, AreReadFromANodesOwnLog) {
  const std::string log = line("12:00:01.250", "live in region term 1, epoch 7: first start") +
                          line("12:00:03.000", "this node serves nobody now: it has heard nobody") +
                          line("12:00:04.000", "this node serves again") +
                          line("12:00:05.000", "group: beginning anew from the log: another leads") +
                          line("12:00:06.000", "this node serves again");
  const auto found = services_of("node-1", log, {}, noon_us + 60 * second_us);
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].epoch, 7U);
  EXPECT_EQ(found[0].begin_us, noon_us + 1'250'000);
  EXPECT_EQ(found[0].end_us, noon_us + 3 * second_us);
  EXPECT_TRUE(found[0].begins_leadership);
  EXPECT_EQ(found[1].begin_us, noon_us + 4 * second_us);
  EXPECT_EQ(found[1].end_us, noon_us + 5 * second_us);
  EXPECT_FALSE(found[1].begins_leadership);
}

TEST(PairServices, EndWhereAStoreIsLeftAndBeginAnewUnderAnotherEpoch) {
  const std::string log =
      line("12:00:01.000", "live in region term 1, epoch 7: the group begins") +
      line("12:00:03.000", "this node does not lead any more: node node-2 has taken the store in epoch 8") +
      line("12:00:03.100", "this node goes on as a standby") +
      line("12:00:05.000", "recovered /store/epoch-9: log ends at LSN 5") +
      line("12:00:06.000", "live in region term 1, epoch 10: the store's lock was free");
  const auto found = services_of("node-1", log, {}, noon_us + 60 * second_us);
  ASSERT_THAT(found, SizeIs(2));
  EXPECT_EQ(found[0].end_us, noon_us + 3 * second_us);
  EXPECT_EQ(found[0].end_why, "left the store");
  EXPECT_EQ(found[1].begin_us, noon_us + 6 * second_us);
  EXPECT_EQ(found[1].epoch, 10U);
}

TEST(PairServices, EndWithTheProcessThatWasKilled) {
  const std::string log = line("12:00:01.000", "live in region term 1, epoch 7: first start") +
                          line("12:00:09.000", "recovered /data: log ends at LSN 5");
  const auto found = services_of("node-1", log,
                                 {{.node = "node-1",
                                   .from_us = noon_us + 3 * second_us,
                                   .until_us = noon_us + 8 * second_us,
                                   .killed = true}},
                                 noon_us + 60 * second_us);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].end_us, noon_us + 3 * second_us);
}

TEST(PairLeaders, OneAfterTheOtherIsNoContradiction) {
  EXPECT_THAT(leaders_at_once({service("node-1", 7, 0, 3), service("node-2", 8, 4, 9)}, {}, 0), IsEmpty());
}

TEST(PairLeaders, TwoAtOneTimeAreFound) {
  EXPECT_THAT(leaders_at_once({service("node-1", 7, 0, 5), service("node-2", 8, 4, 9)}, {}, 0),
              ElementsAre(HasSubstr("two nodes served at one time, for 1000 ms")));
}

TEST(PairLeaders, OneEpochTwiceAndALowerOneAfterAHigherAreFound) {
  EXPECT_THAT(leaders_at_once({service("node-1", 7, 0, 3), service("node-2", 7, 4, 9)}, {}, 0),
              ElementsAre(HasSubstr("one epoch was led twice")));
  EXPECT_THAT(leaders_at_once({service("node-1", 8, 0, 3), service("node-2", 7, 4, 9)}, {}, 0),
              ElementsAre(HasSubstr("a lower epoch began after a higher one")));
}

TEST(PairLeaders, AStoppedOneServesNobodyAndHasAMomentToNotice) {
  const std::vector<Service> both{service("node-1", 7, 0, 10), service("node-2", 8, 4, 20)};
  const std::vector<Absence> slept{{.node = "node-1",
                                    .from_us = noon_us + 2 * second_us,
                                    .until_us = noon_us + 9'800'000,
                                    .killed = false}};
  EXPECT_THAT(leaders_at_once(both, slept, 500'000), IsEmpty());
  EXPECT_THAT(leaders_at_once(both, slept, 0), SizeIs(1));
}

class SeenByClients : public ::testing::Test {
 protected:
  void confirmed(const std::string& node, std::int64_t asked_s, std::int64_t answered_s) {
    clients[0].operations.push_back({.id = "m" + std::to_string(clients[0].operations.size()),
                                     .node = node,
                                     .settlement = false,
                                     .asked_us = noon_us + asked_s * second_us,
                                     .answered_us = noon_us + answered_s * second_us});
  }
  std::vector<PairClientHistory> clients{1};
};

TEST_F(SeenByClients, WhatTheLeaderConfirmedIsFine) {
  confirmed("node-1", 0, 1);
  confirmed("node-1", 2, 6);  // on its way for long
  confirmed("node-2", 5, 6);
  EXPECT_THAT(confirmed_by_others(clients, {service("node-1", 7, 0, 3), service("node-2", 8, 4, 9)}),
              IsEmpty());
}

TEST_F(SeenByClients, AConfirmOfANodeThatDidNotServeIsFound) {
  confirmed("node-1", 5, 6);
  EXPECT_THAT(confirmed_by_others(clients, {service("node-1", 7, 0, 3), service("node-2", 8, 4, 9)}),
              ElementsAre(HasSubstr("did not serve then")));
}

TEST_F(SeenByClients, AConfirmOfTheOldLeaderAfterOneOfTheNewIsFound) {
  confirmed("node-2", 5, 6);
  confirmed("node-1", 7, 8);
  EXPECT_THAT(confirmed_by_others(clients, {service("node-1", 7, 0, 10), service("node-2", 8, 4, 10)}),
              ElementsAre(HasSubstr("under epoch 7 at most, after node-2")));
}

class AuditedPair : public ::testing::Test {
 protected:
  AuditedPair() {
    for (std::uint64_t i = 1; i <= 4; ++i) {
      const std::string id = "m" + std::to_string(i);
      client().published.push_back(
          {.id = id, .session = "s", .order = i, .outcome = PairPublish::Outcome::confirmed, .note = {}});
      deliver(id, i, static_cast<std::int64_t>(10 * i));
      client().operations.push_back({.id = id,
                                     .node = "node-1",
                                     .settlement = true,
                                     .asked_us = static_cast<std::int64_t>(10 * i + 1),
                                     .answered_us = static_cast<std::int64_t>(10 * i + 2)});
    }
  }
  void deliver(const std::string& id, std::uint64_t sequence, std::int64_t at) {
    client().deliveries.push_back({.id = id, .session = "s", .sequence = sequence, .at_us = at});
  }
  PairClientHistory& client() { return clients[0]; }
  [[nodiscard]] AuditReport report() const { return audit_pair(clients); }
  std::vector<PairClientHistory> clients{1};
};

TEST_F(AuditedPair, NothingIsFoundWhereNothingIsWrong) {
  EXPECT_TRUE(report().clean());
  EXPECT_EQ(report().in, 4U);
  EXPECT_EQ(report().delivered, 4U);
}

TEST_F(AuditedPair, AConfirmedMessageThatNeverCameOutIsLost) {
  client().deliveries.pop_back();
  EXPECT_THAT(report().lost, SizeIs(1));
}

TEST_F(AuditedPair, OneWhoseConfirmGotLostMayBeMissing) {
  client().deliveries.pop_back();
  client().published.back().outcome = PairPublish::Outcome::unknown;
  EXPECT_TRUE(report().clean());
}

TEST_F(AuditedPair, OneThatComesAgainAfterItsCompletionIsRepeated) {
  deliver("m2", 2, 100);
  EXPECT_THAT(report().repeated, SizeIs(1));
}

TEST_F(AuditedPair, OneStoredTwiceIsRepeated) {
  deliver("m4", 9, 41);
  EXPECT_THAT(report().repeated, SizeIs(1));
}

TEST_F(AuditedPair, FirstDeliveriesAreInOrderWhereTheQueueHasSessions) {
  std::swap(client().deliveries[1].at_us, client().deliveries[2].at_us);
  EXPECT_THAT(report().reordered, SizeIs(1));
  for (PairPublish& published : client().published) published.in_session_queue = false;
  EXPECT_THAT(report().reordered, IsEmpty());
}

TEST_F(AuditedPair, DisorderStrangersAndDamageAreFound) {
  std::swap(client().deliveries[1].sequence, client().deliveries[2].sequence);
  EXPECT_THAT(report().reordered, SizeIs(1));
  deliver("stranger", 12, 50);
  EXPECT_THAT(report().unexpected, SizeIs(1));
  client().deliveries[0].intact = false;
  EXPECT_THAT(report().corrupted, SizeIs(1));
}

}  // namespace
}  // namespace mainstay::drills
