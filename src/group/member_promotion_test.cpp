// Promotion by an operator: where a backup may not decide by itself, and what an operator cannot do either.
// R4.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "group/member_test_support.h"

namespace mainstay::group {
namespace {

using ::testing::HasSubstr;
using testing::TestGroup;
using Names = std::vector<std::string>;

/// Two in sync, a leads; nobody promotes itself.
TestGroup under_an_operator() {
  TestGroup group({"a", "b"});
  group.options.promotes_itself = false;
  group.start("a");
  EXPECT_TRUE(group.pass_until_leader("a")) << "a new group begins by itself";
  group.start("b");
  group.pass(milliseconds(600));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  return group;
}

std::optional<std::string> promote(TestGroup& group, const std::string& name) {
  auto why = group.member(name).promote("alice: fire", seconds(15), group.now(), {});
  group.pass(milliseconds(20));
  return why;
}

TEST(GroupPromotion, ABackupWaitsForTheOperatorAndThenHasEverythingThatWasConfirmed) {
  TestGroup group = under_an_operator();
  const Lsn lsn = group.append("a");
  EXPECT_FALSE(group.member("b").status().waits_for_operator);
  group.stop("a");
  group.pass(seconds(60));
  EXPECT_FALSE(group.leads("b"));
  EXPECT_TRUE(group.member("b").status().waits_for_operator);
  EXPECT_THAT(group.member("b").status().last_problem, HasSubstr("mainstay group promote"));
  EXPECT_EQ(promote(group, "b"), std::nullopt);
  ASSERT_TRUE(group.pass_until_leader("b"));
  EXPECT_GE(group.node("b").journal->durable().lsn, lsn);
  EXPECT_FALSE(group.member("b").status().waits_for_operator);
  EXPECT_FALSE(group.member("b").promoting()) << "done is done";
  group.pass(seconds(1));
  EXPECT_EQ(group.isr(), (Names{"b"}));
  EXPECT_THAT(group.reasons, ::testing::Contains("promoted by alice: fire"));
}

TEST(GroupPromotion, ALeaderThatComesBackNeedsNoOperator) {
  TestGroup group = under_an_operator();
  group.stop("a");
  group.pass(seconds(5));
  group.start("a");
  EXPECT_TRUE(group.pass_until_leader("a"));
  group.pass(milliseconds(600));
  EXPECT_FALSE(group.member("b").status().waits_for_operator);
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
}

TEST(GroupPromotion, APlannedMoveNeedsNoOperatorBeyondIt) {
  TestGroup group = under_an_operator();
  ASSERT_EQ(group.member("a").hand_over("b", group.now(), {}), std::nullopt);
  group.pass(milliseconds(100));
  EXPECT_TRUE(group.leads("b"));
}

TEST(GroupPromotion, ALeaderThatIsHeardIsNotReplaced) {
  TestGroup group = under_an_operator();
  EXPECT_THAT(promote(group, "b").value_or(""), HasSubstr("leader a was heard"));
  EXPECT_THAT(promote(group, "a").value_or(""), HasSubstr("leads already"));
  group.pass(seconds(3));
  EXPECT_TRUE(group.leads("a"));
  EXPECT_FALSE(group.leads("b"));
}

TEST(GroupPromotion, ANodeThatIsNotInSyncIsNotPromoted) {
  TestGroup group = under_an_operator();
  group.stop("b");
  group.pass(seconds(1));
  ASSERT_EQ(group.isr(), (Names{"a"}));
  group.append("a");
  group.stop("a");
  group.start("b");
  group.pass(seconds(3));
  EXPECT_THAT(promote(group, "b").value_or(""), HasSubstr("not in the in-sync set"));
  group.pass(seconds(20));
  EXPECT_FALSE(group.leads("b"));
}

TEST(GroupPromotion, AnOrderThatCouldNotBeCarriedOutInTimeIsForgotten) {
  TestGroup group = under_an_operator();
  group.stop("a");
  group.pass(seconds(3));
  group.answers = TestGroup::Answers::unavailable;
  EXPECT_EQ(promote(group, "b"), std::nullopt);
  group.pass(seconds(14));
  EXPECT_TRUE(group.member("b").promoting());
  group.pass(seconds(2));
  EXPECT_FALSE(group.member("b").promoting());
  group.answers = TestGroup::Answers::well;
  group.pass(seconds(20));
  EXPECT_FALSE(group.leads("b")) << "whoever ordered it was told that it does not lead";
  EXPECT_EQ(promote(group, "b"), std::nullopt);
  EXPECT_TRUE(group.pass_until_leader("b"));
}

TEST(GroupPromotion, AnOrderIsForgottenWhenTheLeaderIsHeardAgain) {
  TestGroup group = under_an_operator();
  group.frozen.insert("a");
  group.pass(seconds(3));
  group.answers = TestGroup::Answers::unavailable;
  EXPECT_EQ(promote(group, "b"), std::nullopt);
  group.frozen.clear();
  group.pass(seconds(1));
  EXPECT_FALSE(group.member("b").promoting());
  group.answers = TestGroup::Answers::well;
  group.pass(seconds(3));
  EXPECT_TRUE(group.leads("a"));
}

}  // namespace
}  // namespace mainstay::group
