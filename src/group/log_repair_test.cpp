#include "group/log_repair.h"

#include <gtest/gtest.h>

#include "coordination/group_test_support.h"

namespace mainstay::group {
namespace {

class Repair : public ::testing::Test {
 protected:
  /// What is asked for within the time, tenth of a second by tenth; stops at the first thing that is.
  LogRepair::Step within(const LogRepair::Facts& facts, Duration time) {
    const Instant until = now + time;
    for (; now < until; now = now + milliseconds(100)) {
      auto step = repair.next(facts, now);
      if (!std::holds_alternative<LogRepair::Nothing>(step)) return step;
    }
    return LogRepair::Nothing{};
  }
  static bool nothing(const LogRepair::Step& step) {
    return std::holds_alternative<LogRepair::Nothing>(step);
  }
  static std::string heir(const LogRepair::Step& step) {
    const auto* to = std::get_if<LogRepair::HandOver>(&step);
    return to == nullptr ? "nobody" : to->to;
  }
  static bool aside(const LogRepair::Step& step) { return std::holds_alternative<LogRepair::SetAside>(step); }
  static LogRepair::Facts leads(std::vector<std::string> heirs) {
    return {Role::leader, false, std::move(heirs), "", false};
  }
  static LogRepair::Facts follows(const std::string& leader) {
    return {Role::follower, false, {}, leader, false};
  }

  LogRepair repair;
  Instant now{5'000'000'000};
};

TEST_F(Repair, ANodeWhoseLogIsWholeIsAskedForNothing) {
  EXPECT_TRUE(nothing(within(leads({"b"}), seconds(60))));
  EXPECT_TRUE(nothing(within(follows("b"), seconds(60))));
  EXPECT_EQ(repair.problem(), "");
}

TEST_F(Repair, ALeaderGivesTheLeadAwayAndAsABackupSetsItsLogAside) {
  EXPECT_TRUE(repair.damaged(Lsn{7}, "LSN 7"));
  EXPECT_FALSE(repair.damaged(Lsn{9}, "LSN 9")) << "one alarm for a log";
  EXPECT_EQ(heir(within(leads({"b"}), seconds(1))), "b");
  LogRepair::Facts moving = leads({"b"});
  moving.moving = true;
  EXPECT_TRUE(nothing(within(moving, seconds(60))));
  EXPECT_TRUE(nothing(within({Role::candidate, false, {}, "", false}, seconds(60))));
  EXPECT_TRUE(nothing(within(follows(""), seconds(60)))) << "nobody is known to have everything";
  const Instant begun = now;
  EXPECT_TRUE(aside(within(follows("b"), seconds(60))));
  EXPECT_GE(now - begun, seconds(1)) << "the new leader has settled";
  repair.was_set_aside(now);
  EXPECT_FALSE(repair.is_damaged());
  EXPECT_TRUE(nothing(within(follows("b"), seconds(3600))));
}

TEST_F(Repair, ALeaderAloneLeadsOnUntilAnotherNodeIsInSync) {
  repair.damaged(Lsn{7}, "LSN 7 is not what was written");
  EXPECT_TRUE(nothing(within(leads({}), seconds(86'400))));
  EXPECT_NE(repair.problem().find("LSN 7 is not what was written"), std::string::npos);
  EXPECT_NE(repair.problem().find("no other node is in sync"), std::string::npos);
  EXPECT_EQ(heir(within(leads({"c"}), seconds(1))), "c");
}

TEST_F(Repair, AMoveThatCameToNothingIsTriedAgainMoreAndMoreSeldom) {
  repair.damaged(Lsn{7}, "LSN 7");
  std::vector<std::int64_t> waits;
  std::vector<std::string> heirs;
  Instant last = now;
  for (int i = 0; i < 12; ++i) {
    heirs.push_back(heir(within(leads({"b", "c"}), seconds(3600))));
    waits.push_back((now - last).ns / 1'000'000'000);
    last = now;
  }
  EXPECT_EQ(heirs, (std::vector<std::string>{"b", "c", "b", "c", "b", "c", "b", "c", "b", "c", "b", "c"}));
  EXPECT_EQ(waits, (std::vector<std::int64_t>{0, 5, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600}));
}

TEST_F(Repair, ALeaderThatChangesIsFollowedForAWhileAnew) {
  repair.damaged(Lsn{7}, "LSN 7");
  for (int i = 0; i < 20; ++i)
    EXPECT_TRUE(nothing(within(follows(i % 2 == 0 ? "b" : "c"), milliseconds(800))));
  EXPECT_TRUE(aside(within(follows("b"), seconds(2))));
}

TEST_F(Repair, DamageRightAfterACopyIsToldAndNotCopiedAway) {
  std::vector<std::int64_t> waits;
  for (int i = 0; i < 8; ++i) {
    repair.damaged(Lsn{7}, "LSN 7");
    const Instant begun = now;
    EXPECT_TRUE(nothing(within(follows("b"), milliseconds(900))));
    EXPECT_TRUE(aside(within(follows("b"), seconds(86'400))));
    waits.push_back((now - begun).ns / 1'000'000'000);
    repair.was_set_aside(now);
    EXPECT_FALSE(repair.may_set_aside(now)) << "nor by a recovery that fails";
  }
  EXPECT_EQ(waits, (std::vector<std::int64_t>{1, 600, 1200, 2400, 4800, 9600, 19'200, 21'600}));
  repair.damaged(Lsn{7}, "LSN 7");
  EXPECT_TRUE(nothing(within(follows("b"), seconds(60))));
  EXPECT_NE(repair.problem().find("Replace its disk"), std::string::npos) << repair.problem();
  EXPECT_EQ(heir(within(leads({"b"}), seconds(1))), "b") << "the lead goes all the same";

  now = now + seconds(2 * 86'400);
  EXPECT_TRUE(aside(within(follows("b"), seconds(2))));
  repair.was_set_aside(now);
  EXPECT_TRUE(repair.may_set_aside(now + seconds(600))) << "after a good day it is the first time again";
}

TEST_F(Repair, ANodeThatHasStoppedDoesSoOnlyForALogThatCannotBeCut) {
  repair.damaged(Lsn{7}, "LSN 7");
  LogRepair::Facts stopped{Role::stopped, false, {}, "", false};
  EXPECT_TRUE(nothing(within(stopped, seconds(86'400)))) << "a person has to look";
  stopped.cannot_cut = true;
  EXPECT_TRUE(aside(within(stopped, seconds(1))));
  repair.could_not_set_aside("nobody else is in sync", now);
  EXPECT_TRUE(nothing(within(stopped, milliseconds(4'900))));
  EXPECT_TRUE(repair.is_damaged());
  EXPECT_TRUE(aside(within(stopped, seconds(1))));
}

TEST_F(Repair, WhatIsNoLongerPartOfTheLogIsForgotten) {
  repair.damaged(Lsn{7}, "LSN 7");
  repair.damaged(Lsn{20}, "LSN 20");
  repair.log_begins_with(Lsn{20});
  EXPECT_TRUE(repair.is_damaged());
  repair.log_begins_with(Lsn{21});
  EXPECT_FALSE(repair.is_damaged());
  repair.damaged(Lsn{30}, "LSN 30");
  repair.log_was_replaced();
  EXPECT_TRUE(nothing(within(follows("b"), seconds(60))));
}

TEST(LogRepairRule, ALogThatMayBecomeTheOnlyOneThatCountsIsNotSetAside) {
  const coordination::Member a{"a", coordination::test_uuid(1)}, b{"b", coordination::test_uuid(2)};
  coordination::GroupRecord record;
  record.leader = a;
  record.isr = {a, b};
  EXPECT_TRUE(others_have_all(record, "b"));
  EXPECT_FALSE(others_have_all(record, "a")) << "its former life may have asked to go on without b";
  record.isr = {a};
  EXPECT_FALSE(others_have_all(record, "a"));
  EXPECT_TRUE(others_have_all(record, "b")) << "outside the set";
}

}  // namespace
}  // namespace mainstay::group
