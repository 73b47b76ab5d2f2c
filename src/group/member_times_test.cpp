// Who waits how long for whom: leases, grace and the measured round trip, in virtual time.
#include <gtest/gtest.h>

#include "group/member_test_support.h"

namespace mainstay::group {
namespace {

using testing::TestGroup;
using Names = std::vector<std::string>;

MemberOptions fast() {
  MemberOptions options;
  options.beacon_every = milliseconds(25);
  options.drop_after = milliseconds(150);
  options.lease = milliseconds(250);
  options.suspect_after = milliseconds(400);
  options.suspect_after_max = milliseconds(3'000);
  options.register_every = milliseconds(150);
  options.register_retry = milliseconds(50);
  options.rejoin_after = milliseconds(100);
  return options;
}

/// Counts what should not happen on a link that is slow and well.
class Watch {
 public:
  explicit Watch(TestGroup& group) : group_(group) { look(); }
  void look() {
    const auto& record = group_.in_register().record;
    if (!record || record->epoch == epoch_) return;
    epoch_ = record->epoch;
    if (!leader_.empty() && record->leader.node != leader_) ++takeovers;
    if (record->isr.size() < in_sync_) ++drops;
    leader_ = record->leader.node;
    in_sync_ = record->isr.size();
    for (const char* name : {"a", "b"})
      if (group_.node(name).restart) restarts_due.insert(name);
  }
  int takeovers = 0, drops = 0;
  std::set<std::string> restarts_due;

 private:
  TestGroup& group_;
  Epoch epoch_{};
  std::string leader_;
  std::size_t in_sync_ = 0;
};

/// "a" leads, both in sync, on lines that take no time.
void begin(TestGroup& group) {
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.start("b");
  group.pass(milliseconds(1'000));
  ASSERT_EQ(group.isr(), (Names{"a", "b"}));
}

TEST(GroupTimesInForce, AreTheFloorOnAQuickLink) {
  TestGroup group({"a", "b"});
  group.options.suspect_after_max = milliseconds(6'000);
  group.delay = [](const auto&, const auto&) { return microseconds(500); };
  begin(group);
  group.pass(seconds(5));
  const MemberStatus a = group.member("a").status(), b = group.member("b").status();
  EXPECT_EQ(a.times, (Times{milliseconds(500), milliseconds(800), milliseconds(1'200)}));
  EXPECT_EQ(b.times, a.times);
  EXPECT_EQ(b.grace, milliseconds(1'200));
  EXPECT_GT(a.round_trip, Duration{});
}

TEST(GroupTimesInForce, AtARoundTripOf100MsFastSettingsTakeNothingOver) {
  TestGroup group({"a", "b"});
  group.options = fast();
  group.step = milliseconds(5);
  group.delay = [](const auto&, const auto&) { return milliseconds(50); };
  begin(group);
  Watch watch(group);
  group.each_step = [&] {
    watch.look();
    EXPECT_EQ(group.member("a").delivery_refusal(group.now()), std::nullopt);
  };
  for (int i = 0; i < 300; ++i) {
    (void)group.append("a");
    group.pass(milliseconds(100));
  }
  EXPECT_EQ(watch.takeovers, 0);
  EXPECT_EQ(watch.drops, 0);
  const MemberStatus a = group.member("a").status();
  EXPECT_GE(a.round_trip, milliseconds(100));
  EXPECT_LE(a.round_trip, milliseconds(130));
  EXPECT_GE(a.times.drop_after, milliseconds(325)) << "a beacon and three round trips";
  EXPECT_GE(group.member("b").status().grace, a.times.lease);
}

TEST(GroupTimesInForce, FollowALinkThatGetsLongerAndShorter) {
  TestGroup group({"a", "b"});
  group.options.suspect_after_max = milliseconds(6'000);
  Duration one_way = milliseconds(1);
  group.delay = [&](const auto&, const auto&) { return one_way; };
  begin(group);
  group.pass(seconds(5));
  Watch watch(group);
  group.each_step = [&] { watch.look(); };
  // Over a minute to 600 ms there and back: a route that goes around the world.
  for (int i = 0; i < 60; ++i) {
    one_way = one_way + milliseconds(5);
    group.pass(seconds(1));
  }
  EXPECT_GE(group.member("a").status().times.drop_after, milliseconds(1'700));
  EXPECT_GE(group.member("b").status().grace, milliseconds(4'000));
  one_way = milliseconds(1);
  group.pass(seconds(10));
  EXPECT_GE(group.member("a").status().times.drop_after, milliseconds(1'000)) << "it shrinks slowly";
  group.pass(seconds(120));
  EXPECT_EQ(group.member("a").status().times.drop_after, milliseconds(500));
  EXPECT_EQ(group.member("b").status().grace, milliseconds(1'200));
  EXPECT_EQ(watch.takeovers, 0);
  EXPECT_EQ(watch.drops, 0);
}

TEST(GroupTimesInForce, BothNodesMeasureTheSameOnALinkThatIsSlowOneWay) {
  TestGroup group({"a", "b"});
  group.options.suspect_after_max = milliseconds(6'000);
  group.delay = [](const std::string& from, const auto&) { return milliseconds(from == "a" ? 300 : 2); };
  begin(group);
  Watch watch(group);
  group.each_step = [&] { watch.look(); };
  group.pass(seconds(30));
  for (const char* name : {"a", "b"}) {
    EXPECT_GE(group.member(name).status().round_trip, milliseconds(302)) << name;
    EXPECT_LE(group.member(name).status().round_trip, milliseconds(400)) << name;
  }
  EXPECT_EQ(watch.takeovers, 0);
  EXPECT_EQ(watch.drops, 0);
}

TEST(GroupTimesInForce, ABackupWaitsAsLongAsItsLeaderAsksFor) {
  TestGroup group({"a", "b"});
  group.options = fast();
  group.options.lease = milliseconds(1'000);
  group.options.suspect_after = milliseconds(1'500);
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.options = fast();  // b would ask to lead after 400 ms
  group.start("b");
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.member("b").status().times.suspect_after, milliseconds(400));
  EXPECT_EQ(group.member("b").status().grace, milliseconds(1'600)) << "1000 ms, as 400 are to 250";
}

TEST(GroupTimesInForce, ALeaseNobodyCanGrantIsGrantedInPart) {
  TestGroup group({"a", "b"});
  group.options = fast();
  group.options.lease = seconds(30);
  group.options.suspect_after = group.options.suspect_after_max = seconds(40);
  group.start("a");
  group.pass(seconds(51));
  ASSERT_TRUE(group.leads("a"));
  group.options = fast();
  group.start("b");
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.member("b").status().grace, milliseconds(3'000)) << "its ceiling";
  group.answers = TestGroup::Answers::unavailable;
  group.pass(seconds(31));  // what the register said is older than a's lease
  group.cut("a", "b");
  group.cut("b", "a");
  group.pass(milliseconds(1'900));
  EXPECT_NE(group.member("a").delivery_refusal(group.now()), std::nullopt);
}

TEST(GroupTimesInForce, WhatArrivedWhileTheLeaderStoodStillIsNoNews) {
  TestGroup group({"a", "b"});
  begin(group);
  group.answers = TestGroup::Answers::unavailable;
  group.pass(seconds(2));
  ASSERT_EQ(group.member("a").delivery_refusal(group.now()), std::nullopt) << "its backup is there";
  group.frozen = {"a"};
  group.pass(milliseconds(1'000));  // b's beacons of this second wait
  group.cut("b", "a");
  group.pass(milliseconds(2'000));
  group.frozen = {};
  group.pass(milliseconds(20));
  EXPECT_NE(group.member("a").delivery_refusal(group.now()), std::nullopt);
}

TEST(GroupTimesInForce, NobodyIsDroppedForASyncThatTheLeadersOwnDiskHasNotFinishedEither) {
  TestGroup group({"a", "b"});
  group.options = fast();
  begin(group);
  group.node("a").hold_syncs = group.node("b").hold_syncs = true;
  const Lsn lsn = group.append("a");
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.isr(), (Names{"a", "b"})) << "the disk that both are on stands still";
  group.finish_sync("a");
  group.pass(milliseconds(100));
  EXPECT_EQ(group.isr(), (Names{"a", "b"})) << "as much time as any sync has, from now on, but for a beacon";
  group.finish_sync("b");
  EXPECT_GE(group.member("a").committed(), lsn);
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
}

TEST(GroupTimesInForce, NobodyIsDroppedForASyncThatAStallCaughtWhileTheLeadersEscaped) {
  TestGroup group({"a", "b"});
  group.options = fast();
  begin(group);
  group.node("b").hold_syncs = true;
  const Lsn escaped = group.append("a");
  group.node("a").hold_syncs = true;
  const Lsn caught = group.append("a");
  ASSERT_LT(group.member("a").committed(), escaped);
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.isr(), (Names{"a", "b"})) << "the disk that both are on stands still";
  group.finish_sync("a");
  group.pass(milliseconds(50));
  group.finish_sync("b");
  EXPECT_GE(group.member("a").committed(), caught);
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
}

TEST(GroupTimesInForce, WhoIsSilentWhileTheLeadersDiskStandsStillHasItsTimeAfterwards) {
  for (const bool comes_back : {true, false}) {
    SCOPED_TRACE(comes_back);
    TestGroup group({"a", "b"});
    group.options = fast();
    begin(group);
    group.node("a").hold_syncs = true;
    group.append("a");
    group.frozen = {"b"};  // as a node that syncs on its loop, on the same disk
    group.pass(milliseconds(1'000));
    EXPECT_EQ(group.isr(), (Names{"a", "b"}));
    if (comes_back) group.frozen.clear();
    group.finish_sync("a");
    group.pass(milliseconds(50));
    EXPECT_EQ(group.isr(), (Names{"a", "b"}));
    group.pass(milliseconds(150));
    EXPECT_EQ(group.isr(), comes_back ? (Names{"a", "b"}) : Names{"a"});
  }
}

TEST(GroupTimesInForce, ABackupIsDroppedForItsOwnDisk) {
  TestGroup group({"a", "b"});
  group.options = fast();
  begin(group);
  group.node("b").hold_syncs = true;
  group.append("a");
  group.pass(milliseconds(300));
  EXPECT_EQ(group.isr(), (Names{"a"}));
  EXPECT_NE(group.reasons.back().find("without b: no acknowledgement for 1"), std::string::npos)
      << group.reasons.back();
}

TEST(GroupTimesInForce, ASilentBackupIsDroppedByALeaderWhoseSyncsAllTakeLong) {
  TestGroup group({"a", "b"});
  group.options = fast();
  begin(group);
  group.append("a");
  group.frozen = {"b"};
  int syncs = 0;
  for (; syncs < 20 && group.isr().size() == 2; ++syncs) {
    group.node("a").hold_syncs = true;
    group.append("a");
    group.pass(milliseconds(140));
    group.finish_sync("a");
  }
  EXPECT_EQ(group.isr(), (Names{"a"}));
  EXPECT_EQ(syncs, 5) << "a quarter of 150 ms of each is counted";
}

TEST(GroupTimesInForce, AnAnswerOfTheRegisterCountsFromItsQuestion) {
  TestGroup group({"a"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.hold_reads = true;
  group.pass(milliseconds(600));  // it has asked
  group.frozen = {"a"};
  group.pass(seconds(11));
  group.frozen = {};
  group.answer_reads();
  EXPECT_NE(group.member("a").accept_refusal(group.now()), std::nullopt) << "it was true 11 seconds ago";
}

TEST(GroupLines, BeaconsOvertakeALogThatIsStuck) {
  TestGroup group({"a", "b"});
  group.lines = 2;
  begin(group);
  Watch watch(group);
  group.answers = TestGroup::Answers::unavailable;  // who goes without is not decided here
  group.pass(seconds(2));
  // The first line is the log's: what "a" sends on it takes five seconds now.
  group.line_delay = [](PeerId line, const std::string& from) {
    return line == 1 && from == "a" ? seconds(5) : Duration{};
  };
  const Lsn lsn = group.append("a");
  group.each_step = [&] {
    ASSERT_EQ(group.member("a").delivery_refusal(group.now()), std::nullopt);
    ASSERT_GT(group.member("b").status().grace_until, group.now());
  };
  group.pass(seconds(4));
  EXPECT_LT(group.member("a").committed(), lsn);
  group.pass(seconds(2));
  EXPECT_EQ(group.member("a").committed(), lsn);
  EXPECT_EQ(group.member("a").status().times.drop_after, milliseconds(500)) << "the quicker line counts";
}

TEST(GroupLines, APlannedMoveIsNotForgottenOverABeacon) {
  TestGroup group({"a", "b"});
  group.lines = 2;
  begin(group);
  group.hold_reads = true;  // the register takes its time, and "a" goes on telling that it is there
  ASSERT_EQ(group.member("a").hand_over("b", group.now(), {}), std::nullopt);
  group.pass(milliseconds(300));
  group.hold_reads = false;
  group.answer_reads();
  group.pass(milliseconds(100));
  EXPECT_TRUE(group.leads("b"));
}

TEST(GroupLines, AQuestionThatWasOvertakenIsAskedAgainWhenTheOtherLineBreaks) {
  TestGroup group({"a", "b"});
  group.lines = 3;
  group.step = milliseconds(1);
  begin(group);
  group.line_delay = [](PeerId line, const std::string& from) {
    return line == 3 && from == "b" ? milliseconds(10) : Duration{};
  };
  group.break_a_line();  // it asks on the second and on the third one, and follows on the second
  group.pass(milliseconds(100));
  const Lsn first = group.append("a");
  group.pass(milliseconds(100));
  EXPECT_EQ(group.node("b").journal->durable().lsn, first);
  group.break_a_line();
  group.pass(milliseconds(100));
  const Lsn second = group.append("a");
  group.pass(milliseconds(100));
  EXPECT_EQ(group.node("b").journal->durable().lsn, second);
}

TEST(GroupLines, InAnyOrderEndInOneLog) {
  for (std::uint64_t seed = 1; seed <= 25 && !::testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    TestGroup group({"a", "b"});
    group.lines = 2;
    begin(group);
    std::map<PeerId, Duration> slow;
    group.line_delay = [&](PeerId line, const std::string&) { return slow[line]; };
    PeerId newest = 2;
    for (int turn = 0; turn < 60; ++turn) {
      for (PeerId line = newest > 4 ? newest - 4 : 1; line <= newest + 4; ++line)
        if (random.below(4) == 0) slow[line] = milliseconds(static_cast<std::int64_t>(random.below(1'500)));
      for (const char* name : {"a", "b"}) {
        if (group.node(name).restart) {
          group.begin_anew(name);
          newest += 2;
        } else if (random.below(25) == 0) {
          group.stop(name);
          group.pass(milliseconds(static_cast<std::int64_t>(random.below(1'000))));
          group.start(name);
          newest += 2;
        }
        if (group.leads(name)) (void)group.append(name);
      }
      group.pass(milliseconds(static_cast<std::int64_t>(random.below(400))));
    }
    slow.clear();
    group.line_delay = nullptr;
    for (int i = 0; i < 60; ++i) {
      group.pass(milliseconds(500));
      for (const char* name : {"a", "b"})
        if (group.node(name).restart) group.begin_anew(name);
    }
    EXPECT_EQ(group.isr(), (Names{"a", "b"}));
    EXPECT_EQ(group.node("a").journal->durable(), group.node("b").journal->durable());
    for (const char* name : {"a", "b"})
      for (const std::string& alarm : group.node(name).alarms) ADD_FAILURE() << name << ": " << alarm;
  }
}

TEST(GroupLines, ANodeThatIsDroppedAgainAndAgainMustKeepUpForLonger) {
  TestGroup group({"a", "b"});
  begin(group);
  Watch watch(group);
  group.each_step = [&] { watch.look(); };
  // For a minute: nothing for 700 ms, well for 700 ms.
  for (int i = 0; i < 43; ++i) {
    group.cut("b", "a");
    group.pass(milliseconds(700));
    group.heal();
    group.pass(milliseconds(700));
  }
  EXPECT_LE(watch.drops, 4);
  group.pass(seconds(12));
  EXPECT_EQ(group.isr(), (Names{"a", "b"})) << "it comes back when it is well";
}

/// Nodes of different settings, lines of any and changing length, lost packets and standing still: whatever
/// the two have measured, a backup that may ask to lead has a leader that delivers nothing.
TEST(GroupTimesInForce, TheOrderHoldsAcrossNodes) {
  int asked = 0, grown = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    TestGroup group({"a", "b"});
    group.step = milliseconds(10);
    const auto settings = [&] {
      MemberOptions options = random.below(2) == 0 ? fast() : MemberOptions{};
      options.lease = options.drop_after + milliseconds(static_cast<std::int64_t>(random.below(300)) + 1);
      options.suspect_after = options.lease + milliseconds(static_cast<std::int64_t>(random.below(300)) + 1);
      options.suspect_after_max =
          options.suspect_after + milliseconds(static_cast<std::int64_t>(random.below(5'000)));
      return options;
    };
    group.options = settings();
    group.start("a");
    ASSERT_TRUE(group.pass_until_leader("a"));
    group.options = settings();
    group.start("b");
    group.pass(seconds(2));
    if (!group.leads("a") || group.isr() != Names{"a", "b"}) continue;
    group.answers = TestGroup::Answers::unavailable;  // neither the register nor a takeover ends the scene
    Duration one_way[2] = {};
    group.delay = [&](const std::string& from, const auto&) {
      const Duration most = one_way[from == "a" ? 0 : 1];
      return Duration{most.ns -
                      static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(most.ns / 4 + 1)))};
    };
    group.each_step = [&] {
      if (group.now() <= group.member("b").status().grace_until) return;
      ++asked;
      ASSERT_NE(group.member("a").delivery_refusal(group.now()), std::nullopt)
          << "b waits no longer at " << group.now().ns;
    };
    group.pass(seconds(31));  // nothing that the register said counts any more
    for (int scene = 0; scene < 40 && !HasFatalFailure(); ++scene) {
      for (Duration& each : one_way)
        if (random.below(3) == 0) each = milliseconds(static_cast<std::int64_t>(random.below(700)));
      switch (random.below(6)) {
        case 0:
          group.cut("a", "b");
          break;
        case 1:
          group.cut("b", "a");
          break;
        case 2:
          group.frozen = {random.below(2) == 0 ? "a" : "b"};
          break;
        default:
          break;
      }
      group.pass(milliseconds(static_cast<std::int64_t>(random.below(4'000))));
      if (group.member("a").status().times != group.member("b").status().times) ++grown;
      group.frozen = {};
      if (random.below(2) == 0) group.mend_cuts();
    }
  }
  EXPECT_GT(asked, 100) << "else nothing was tested";
  EXPECT_GT(grown, 100);
}

}  // namespace
}  // namespace mainstay::group
