// Who is one of the group: nodes that are listed, taken out, and taken in again while the others go on; and a
// node that only a full copy brings back. R3, R6, H13.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "group/member_test_support.h"

namespace mainstay::group {
namespace {

using testing::TestGroup;
using Names = std::vector<std::string>;
using Set = std::set<std::string>;

/// Three nodes, the first leads, all in the set; each lists the others.
TestGroup three_in_sync() {
  TestGroup group({"a", "b", "c"});
  group.list("a", {"b", "c"});
  group.list("b", {"a", "c"});
  group.list("c", {"a", "b"});
  group.start("a");
  EXPECT_TRUE(group.pass_until_leader("a"));
  group.start("b");
  group.start("c");
  group.pass(milliseconds(1'500));
  EXPECT_EQ(group.isr(), (Names{"a", "b", "c"}));
  return group;
}

TEST(GroupNodes, ANodeThatIsNotListedIsNotTakenInUntilItIs) {
  TestGroup group({"a", "b"});
  group.list("a", {});
  group.list("b", {"a"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.append("a");
  group.start("b");
  group.pass(seconds(3));
  EXPECT_EQ(group.isr(), (Names{"a"}));
  EXPECT_EQ(group.node("b").journal->durable().lsn, Lsn{}) << "it gets nothing";
  EXPECT_NE(group.member("b").status().last_problem.find("not listed"), std::string::npos)
      << group.member("b").status().last_problem;
  EXPECT_FALSE(group.leads("b"));
  group.list("a", {"b"});
  group.pass(seconds(1));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  const Lsn lsn = group.append("a");
  EXPECT_EQ(group.member("a").committed(), lsn);
}

TEST(GroupNodes, ANodeThatIsNoLongerListedLeavesTheSetAndGetsNothingMore) {
  TestGroup group = three_in_sync();
  const Epoch before = group.in_register().epoch();
  group.list("a", {"b"});
  group.pass(seconds(1));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_GT(group.in_register().epoch(), before);
  const Lsn lsn = group.append("a");
  EXPECT_EQ(group.member("a").committed(), lsn);
  EXPECT_LT(group.node("c").journal->durable().lsn, lsn);
  group.pass(seconds(3));
  EXPECT_EQ(group.isr(), (Names{"a", "b"})) << "not taken in again";
  group.list("a", {"b", "c"});
  group.pass(seconds(1));
  EXPECT_EQ(group.isr(), (Names{"a", "b", "c"}));
  EXPECT_EQ(group.node("c").journal->durable(), group.node("a").journal->durable());
}

TEST(GroupNodes, ACommitStillWaitsForTheRemovedNodeUntilItsRemovalIsKnown) {
  TestGroup group = three_in_sync();
  group.node("c").hold_syncs = true;
  group.answers = TestGroup::Answers::unknown_dropped;
  EXPECT_EQ(group.remove("a", "c"), std::nullopt);
  const Lsn lsn = group.append("a");
  group.pass(milliseconds(300));
  EXPECT_LT(group.member("a").committed(), lsn);
  group.answers = TestGroup::Answers::well;
  group.pass(seconds(1));
  EXPECT_GE(group.member("a").committed(), lsn);
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(group.in_register().record->removed, (Set{"c"}));
}

TEST(GroupNodes, ARemovedNodeStaysOutWhoeverLeadsUntilItIsListedAnew) {
  TestGroup group = three_in_sync();
  EXPECT_EQ(group.remove("a", "c"), std::nullopt);
  group.pass(seconds(2));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(group.member("a").status().removed, (Set{"c"}));
  EXPECT_EQ(group.member("a").status().following, (Set{"b"}));
  group.stop("a");
  ASSERT_TRUE(group.pass_until_leader("b"));
  group.pass(seconds(2));
  EXPECT_EQ(group.isr(), (Names{"b"})) << "b lists c, and knows from the register that it was removed";
  EXPECT_FALSE(group.leads("c"));
  group.stop("c");
  group.start("c");
  group.pass(seconds(2));
  EXPECT_EQ(group.isr(), (Names{"b"}));
  EXPECT_NE(group.member("c").status().last_problem.find("was removed"), std::string::npos)
      << group.member("c").status().last_problem;
  group.list("b", {"a", "c"});
  group.pass(seconds(2));
  EXPECT_EQ(group.isr(), (Names{"b", "c"}));
  EXPECT_EQ(group.in_register().record->removed, (Set{}));
}

TEST(GroupNodes, ANodeThatIsAwayCanBeRemoved) {
  TestGroup group = three_in_sync();
  group.stop("c");
  group.pass(seconds(1));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(group.remove("a", "c"), std::nullopt);
  group.pass(seconds(1));
  EXPECT_EQ(group.in_register().record->removed, (Set{"c"}));
  group.start("c");
  group.pass(seconds(2));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
}

TEST(GroupNodes, OnlyALeaderRemovesAndNotItself) {
  TestGroup group = three_in_sync();
  EXPECT_NE(group.remove("b", "c"), std::nullopt);
  EXPECT_NE(group.remove("a", "a"), std::nullopt);
  group.pass(seconds(1));
  EXPECT_EQ(group.isr(), (Names{"a", "b", "c"}));
}

TEST(GroupNodes, ACopyIsKeptByANewLeaderThatDoesNotListItAndSaysSo) {
  TestGroup group({"a", "b"});
  group.list("a", {"b"});
  group.list("b", {});  // its file forgot "a"
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.start("b");
  group.pass(milliseconds(1'500));
  ASSERT_EQ(group.isr(), (Names{"a", "b"}));
  ASSERT_EQ(group.member("a").hand_over("b", group.now(), {}), std::nullopt);
  group.pass(milliseconds(500));
  ASSERT_TRUE(group.leads("b"));
  group.begin_anew("a");
  group.pass(seconds(3));
  EXPECT_EQ(group.isr(), (Names{"a", "b"})) << "a second copy is not given up for a difference of two files";
  const Lsn lsn = group.append("b");
  EXPECT_EQ(group.member("b").committed(), lsn);
  EXPECT_EQ(group.node("a").journal->durable().lsn, lsn);
  const auto& alarms = group.node("b").alarms;
  EXPECT_EQ(std::count_if(alarms.begin(), alarms.end(),
                          [](const std::string& why) {
                            return why.find("node a is in sync and not listed") != std::string::npos;
                          }),
            1);
  // What an operator says counts: a reload of a file that does not list it.
  group.list("b", {});
  group.pass(seconds(1));
  EXPECT_EQ(group.isr(), (Names{"b"}));
  group.pass(seconds(3));
  EXPECT_EQ(group.isr(), (Names{"b"})) << "and is not taken in again";
}

/// It asks on one line, is refused, asks on the other, is refused there, and asks again: only what it asked
/// last counts, in whatever order the packets of two lines come, and also when one of the two breaks.
TEST(GroupNodes, ANodeOfTwoLinesThatIsListedAgainSoonIsTakenInAgain) {
  constexpr std::uint64_t kSeeds = 100;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    TestGroup group({"a", "b"});
    group.lines = 2;
    group.step = milliseconds(1);
    group.list("a", {"b"});
    group.list("b", {"a"});
    group.start("a");
    ASSERT_TRUE(group.pass_until_leader("a"));
    group.start("b");
    group.pass(milliseconds(1'500));
    ASSERT_EQ(group.isr(), (Names{"a", "b"}));
    std::map<std::pair<PeerId, std::string>, Duration> late;
    group.line_delay = [&](PeerId line, const std::string& from) {
      const auto [found, first] = late.try_emplace({line, from});
      if (first) found->second = microseconds(static_cast<std::int64_t>(random.below(20'000)));
      return found->second;
    };
    group.list("a", {});
    group.pass(milliseconds(static_cast<std::int64_t>(20 + random.below(100))));
    if (random.below(4) == 0) group.break_a_line();
    group.list("a", {"b"});
    group.pass(milliseconds(500));
    ASSERT_EQ(group.isr(), (Names{"a", "b"}));
    EXPECT_EQ(group.node("b").alarms, Names{});
  }
}

TEST(GroupNodes, AMoveToTheLeaderOrToNobodySaysSo) {
  TestGroup group = three_in_sync();
  EXPECT_EQ(group.member("a").hand_over("a", group.now(), {}), "it leads already");
  EXPECT_THAT(group.member("a").hand_over("nobody", group.now(), {}).value_or(""),
              ::testing::HasSubstr("no node of this name is listed"));
}

TEST(GroupNodes, ARemovedNodeThatHearsOfNobodySaysThatItWasRemoved) {
  TestGroup group = three_in_sync();
  EXPECT_EQ(group.remove("a", "c"), std::nullopt);
  group.pass(seconds(1));
  group.stop("c");
  for (const char* other : {"a", "b"}) {
    group.cut("c", other);
    group.cut(other, "c");
  }
  group.start("c");
  group.pass(seconds(5));
  EXPECT_THAT(group.member("c").last_problem(), ::testing::HasSubstr("was removed from the group"));
}

TEST(GroupNodes, ANodeThatWaitsForALeaderItDoesNotListSaysSo) {
  TestGroup group({"a", "b"});
  group.list("a", {});
  group.list("b", {});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.cut("a", "b");
  group.cut("b", "a");
  group.start("b");
  group.pass(seconds(5));
  EXPECT_THAT(group.member("b").last_problem(),
              ::testing::HasSubstr("nothing is heard of leader a, for which it waits: it is not listed"));
}

/// The leader's log loses its beginning, as far as two checkpoints allow.
void give_up_the_beginning(TestGroup& group, const std::string& name) {
  for (int i = 0; i < 3'000; ++i) group.append(name);
  journal::Journal& journal = *group.node(name).journal;
  const Lsn end = journal.durable().lsn;
  ASSERT_TRUE(journal.store_checkpoint(Lsn{end.value - 1}, as_bytes("older")));
  ASSERT_TRUE(journal.store_checkpoint(end, as_bytes("newer")));
  ASSERT_TRUE(journal.remove_before(end));
  ASSERT_GT(journal.extents().front().first, Lsn{10});
}

TEST(GroupNodes, ANodeWhoseLogTheLeadersNoLongerReachesBackToAsksForACopyAndIsNotFollowedUntilThen) {
  for (const bool empty : {false, true}) {
    TestGroup group({"a", "b"});
    group.start("a");
    ASSERT_TRUE(group.pass_until_leader("a"));
    group.start("b");
    group.pass(seconds(1));
    EXPECT_EQ(group.isr(), (Names{"a", "b"}));
    if (empty) {
      group.wipe("b");
    } else {
      group.stop("b");
    }
    group.pass(seconds(1));
    give_up_the_beginning(group, "a");
    group.start("b");
    group.pass(seconds(2));
    EXPECT_TRUE(group.member("b").wants_copy()) << empty;
    EXPECT_GE(std::count(group.node("b").seen.begin(), group.node("b").seen.end(), "need copy"), 1);
    EXPECT_EQ(group.isr(), (Names{"a"}));
    EXPECT_FALSE(group.leads("b"));
    group.stop("a");
    group.pass(seconds(5));
    EXPECT_FALSE(group.leads("b")) << "it waits for its leader";
  }
}

TEST(GroupNodes, ACopyWhoseLineBreaksIsAskedForOnTheOtherOne) {
  TestGroup group({"a", "b"});
  group.lines = 2;
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.pass(seconds(1));
  give_up_the_beginning(group, "a");
  group.start("b");
  group.pass(seconds(2));
  ASSERT_TRUE(group.member("b").wants_copy());
  const auto told = [&] {
    return std::count(group.node("b").seen.begin(), group.node("b").seen.end(), "need copy");
  };
  const auto before = told();
  ASSERT_GE(before, 1);
  group.break_a_line();
  group.pass(seconds(2));
  EXPECT_TRUE(group.member("b").wants_copy());
  EXPECT_GT(told(), before) << "whoever takes the copy has to know where it goes on";
}

TEST(GroupNodes, ANodeThatIsOnlyBehindGetsWhatItLacksFromTheLog) {
  TestGroup group({"a", "b"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.start("b");
  group.pass(seconds(1));
  group.stop("b");
  group.pass(seconds(1));
  for (int i = 0; i < 3'000; ++i) group.append("a");
  group.start("b");
  group.pass(seconds(2));
  EXPECT_FALSE(group.member("b").wants_copy());
  EXPECT_EQ(std::count(group.node("b").seen.begin(), group.node("b").seen.end(), "need copy"), 0);
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
}

}  // namespace
}  // namespace mainstay::group
