#include "group/member.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "group/member_test_support.h"

namespace mainstay::group {
namespace {

using testing::TestGroup;
using Names = std::vector<std::string>;

/// Two nodes, the first leads, both in the set.
TestGroup pair_in_sync() {
  TestGroup group({"a", "b"});
  group.start("a");
  EXPECT_TRUE(group.pass_until_leader("a"));
  group.start("b");
  group.pass(milliseconds(600));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  return group;
}

TEST(GroupMember, ANewGroupBeginsWithTheNodeThatIsThere) {
  TestGroup group({"a", "b"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  EXPECT_EQ(group.in_register().epoch(), Epoch{1});
  const Lsn lsn = group.append("a");
  EXPECT_EQ(group.member("a").committed(), lsn);
}

TEST(GroupMember, CommitWaitsForEveryNodeOfTheSet) {
  TestGroup group = pair_in_sync();
  group.node("b").hold_syncs = true;
  const Lsn lsn = group.append("a");
  EXPECT_LT(group.member("a").committed(), lsn);
  group.finish_sync("b");
  EXPECT_EQ(group.member("a").committed(), lsn);
  EXPECT_EQ(group.node("b").journal->durable(), group.node("a").journal->durable());
}

TEST(GroupMember, CommitWaitsForTheLeadersOwnDisk) {
  TestGroup group = pair_in_sync();
  group.node("a").hold_syncs = true;
  const Lsn lsn = group.append("a");
  EXPECT_EQ(group.node("b").journal->durable().lsn, lsn);  // it was shipped meanwhile
  EXPECT_LT(group.member("a").committed(), lsn);
  group.finish_sync("a");
  EXPECT_EQ(group.member("a").committed(), lsn);
}

TEST(GroupMember, NothingIsAcknowledgedAloneUntilTheShrinkIsKnown) {
  TestGroup group = pair_in_sync();
  group.stop("b");
  group.answers = TestGroup::Answers::unknown_dropped;
  const Lsn lsn = group.append("a");
  group.pass(milliseconds(3'000));
  EXPECT_LT(group.member("a").committed(), lsn);
  group.answers = TestGroup::Answers::unavailable;
  group.pass(milliseconds(1'000));
  EXPECT_LT(group.member("a").committed(), lsn);
  group.answers = TestGroup::Answers::well;
  group.pass(milliseconds(1'000));
  EXPECT_GE(group.member("a").committed(), lsn);
  EXPECT_EQ(group.isr(), (Names{"a"}));
}

TEST(GroupMember, AShrinkThatWasStoredThoughTheAnswerWasLostIsFoundOut) {
  TestGroup group = pair_in_sync();
  group.stop("b");
  group.answers = TestGroup::Answers::unknown_stored;
  const Lsn lsn = group.append("a");
  group.pass(milliseconds(700));
  group.answers = TestGroup::Answers::well;
  group.pass(milliseconds(400));
  EXPECT_GE(group.member("a").committed(), lsn);
  EXPECT_TRUE(group.leads("a"));
}

TEST(GroupMember, ABackupLeadsWhenItsLeaderIsSilentAndKeepsItsWholeLog) {
  TestGroup group = pair_in_sync();
  const Lsn lsn = group.append("a");
  group.stop("a");
  ASSERT_TRUE(group.pass_until_leader("b"));
  group.pass(milliseconds(200));
  EXPECT_GE(group.member("b").committed(), lsn);
  EXPECT_EQ(group.isr(), (Names{"b"}));
}

TEST(GroupMember, APromiseIsStoredBeforeTheRegisterIsAsked) {
  TestGroup group = pair_in_sync();
  const std::uint64_t next = group.in_register().epoch().value + 1;
  group.stop("a");
  group.node("b").seen.clear();
  group.node("b").hold_blocks = true;
  group.pass(milliseconds(3'000));
  EXPECT_FALSE(group.leads("b"));
  EXPECT_EQ(
      std::count(group.node("b").seen.begin(), group.node("b").seen.end(), "change " + std::to_string(next)),
      0);
  group.store_held_blocks("b");
  ASSERT_TRUE(group.pass_until_leader("b"));
}

TEST(GroupMember, AFollowerThatHasPromisedMoreAcknowledgesNothing) {
  TestGroup group = pair_in_sync();
  // b stops hearing a, promises the next epoch, and the register does not answer.
  group.cut("a", "b");
  group.answers = TestGroup::Answers::well;
  group.pass(milliseconds(300));
  group.answers = TestGroup::Answers::unavailable;
  group.pass(milliseconds(3'000));
  const Lsn before = group.member("a").committed();
  group.heal();
  const Lsn lsn = group.append("a");
  group.pass(milliseconds(200));
  EXPECT_GE(group.member("a").committed(), before);
  // Whether b had promised by then or not, the group goes on when the register is back, and nothing is lost.
  group.answers = TestGroup::Answers::well;
  group.pass(milliseconds(4'000));
  const std::string leader = group.leads("a") ? "a" : "b";
  ASSERT_TRUE(group.leads(leader));
  EXPECT_GE(group.member(leader).committed(), lsn);
}

/// After a repair that passed over epochs the register was put back, and only b has seen the repair.
void remember_a_repair(TestGroup& group, const std::string& name) {
  auto loaded = load_superblock(*group.node(name).disk, "");
  MS_ASSERT(loaded && loaded->block, "it was there");
  loaded->block->promised = loaded->block->seen = Epoch{std::uint64_t{1} << 33};
  ++loaded->block->generation;
  MS_ASSERT(store_superblock(*group.node(name).disk, "", *loaded->block), "the disk is well");
}

TEST(GroupMember, ALeaderDoesNotClimbToAnEpochFarAboveAndSaysSo) {
  TestGroup group = pair_in_sync();
  group.stop("b");
  remember_a_repair(group, "b");
  group.start("b");
  const Lsn lsn = group.append("a");
  group.pass(milliseconds(5'000));
  EXPECT_GE(group.member("a").committed(), lsn);
  EXPECT_LT(group.in_register().epoch(), Epoch{10}) << "b is dropped, and that is all";
  EXPECT_TRUE(group.leads("a"));
  EXPECT_EQ(group.isr(), Names{"a"});
  EXPECT_THAT(group.node("a").alarms,
              ::testing::ElementsAre(::testing::HasSubstr("far above the register's")));
  EXPECT_THAT(group.node("b").alarms, ::testing::Contains(::testing::HasSubstr("was put back")));
}

TEST(GroupMember, TheGroupGoesOnAfterARepairThatPassedOverEpochs) {
  TestGroup group = pair_in_sync();
  group.stop("a");
  remember_a_repair(group, "a");
  group.stop("b");
  ++group.in_register().revision;
  group.in_register().record->epoch = Epoch{(std::uint64_t{1} << 33) + 1};
  group.start("a");
  group.start("b");
  group.pass(milliseconds(5'000));
  const std::string leader = group.leads("a") ? "a" : "b";
  ASSERT_TRUE(group.leads(leader));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  const Lsn lsn = group.append(leader);
  group.pass(milliseconds(200));
  EXPECT_GE(group.member(leader).committed(), lsn);
  EXPECT_THAT(group.node("a").alarms, ::testing::IsEmpty());
  EXPECT_THAT(group.node("b").alarms, ::testing::IsEmpty());
}

TEST(GroupMember, ARestartedLeaderTakesANewEpoch) {
  TestGroup group = pair_in_sync();
  const Epoch before = group.in_register().epoch();
  group.stop("a");
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  EXPECT_GT(group.member("a").epoch(), before);
}

TEST(GroupMember, ANodeWithAnotherDiskMayNotLeadAndIsAddedAnew) {
  TestGroup group = pair_in_sync();
  const Lsn lsn = group.append("a");
  group.wipe("b");
  group.stop("a");
  group.start("b");
  group.pass(milliseconds(4'000));
  EXPECT_FALSE(group.leads("b"));
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.pass(milliseconds(2'000));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_GE(group.node("b").journal->durable().lsn, lsn);
  EXPECT_TRUE(group.in_register().record->isr.contains({"b", group.node("b").journal->incarnation()}));
}

TEST(GroupMember, ANodeIsAddedOnlyWhenItHasAllThatAnEarlierLeadershipMayHaveAcknowledged) {
  TestGroup group = pair_in_sync();
  for (int i = 0; i < 50; ++i) (void)group.append("a");
  group.wipe("b");
  // The restarted leader does not remember how far it had committed.
  group.stop("a");
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.node("b").hold_syncs = true;
  group.start("b");
  group.pass(milliseconds(2'000));
  EXPECT_FALSE(group.in_register().record->isr.contains({"b", group.node("b").journal->incarnation()}));
  group.finish_sync("b");
  group.pass(milliseconds(1'000));
  EXPECT_TRUE(group.in_register().record->isr.contains({"b", group.node("b").journal->incarnation()}));
}

TEST(GroupMember, ALeaderKnowsThatItFeedsANodeThatIsFarBehindUntilItIsNot) {
  TestGroup group = pair_in_sync();
  group.options.far_behind = 100;
  group.options.ship_ahead_bytes_max = 2048;
  group.options.ship_bytes_max = 1024;
  group.stop("a");
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.pass(milliseconds(600));
  ASSERT_EQ(group.isr(), (Names{"a", "b"}));
  group.node("b").hold_syncs = true;
  for (int i = 0; i < 200; ++i) (void)group.append("a");
  EXPECT_FALSE(group.member("a").feeds_far_behind()) << "it is in sync: every commit waits for it";
  EXPECT_EQ(group.member("a").second_copy_lag(), std::nullopt) << "there is one";
  group.stop("b");
  group.pass(milliseconds(2'000));
  ASSERT_EQ(group.isr(), (Names{"a"}));
  EXPECT_FALSE(group.member("a").feeds_far_behind()) << "it is away";
  EXPECT_EQ(group.member("a").second_copy_lag(), std::nullopt) << "nobody is about to become one";

  group.start("b");
  group.pass(milliseconds(200));
  EXPECT_TRUE(group.member("a").feeds_far_behind());
  EXPECT_FALSE(group.member("b").feeds_far_behind());
  const auto lag = group.member("a").second_copy_lag();
  ASSERT_TRUE(lag);
  EXPECT_GT(*lag, 100U);
  EXPECT_LE(*lag, 201U) << "what it was sent is on its way";
  EXPECT_EQ(group.member("b").second_copy_lag(), std::nullopt);
  group.node("b").hold_syncs = false;
  group.finish_sync("b");
  group.pass(milliseconds(2'000));
  EXPECT_FALSE(group.member("a").feeds_far_behind());
  EXPECT_EQ(group.member("a").second_copy_lag(), std::nullopt);
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
}

TEST(GroupMember, WhatTheNewLeaderLacksIsCutIntoQuarantine) {
  TestGroup group = pair_in_sync();
  const Lsn shared = group.append("a");
  // a writes what b never gets; nobody is told that it is safe.
  group.cut("a", "b");
  group.cut("b", "a");
  const Lsn lost = group.append("a");
  EXPECT_LT(group.member("a").committed(), lost);
  group.stop("a", false);
  ASSERT_TRUE(group.pass_until_leader("b"));
  group.heal();
  group.start("a");
  group.pass(milliseconds(300));
  ASSERT_TRUE(group.node("a").restart);
  ASSERT_TRUE(group.node("a").restart->cut);
  EXPECT_GE(group.node("a").restart->cut->lsn, shared);
  EXPECT_LT(group.node("a").restart->cut->lsn, lost);
  // What it will cut it does not have: its leader keeps from there on.
  EXPECT_EQ(group.member("b").known_ends().at("a"), group.node("a").restart->cut->lsn);
  group.begin_anew("a");
  group.pass(milliseconds(1'500));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(group.node("a").journal->durable(), group.node("b").journal->durable());
  const auto paths = group.node("a").disk->paths();
  EXPECT_TRUE(std::any_of(paths.begin(), paths.end(),
                          [](const std::string& path) { return path.rfind("quarantine/cut-", 0) == 0; }));
}

TEST(GroupMember, AFollowerCountsOnlyWhatIsCommittedAsItsLeaders) {
  TestGroup group = pair_in_sync();
  const Lsn shared = group.append("a");
  group.pass(milliseconds(200));
  EXPECT_EQ(group.member("b").known_ends().at("a"), shared);
  group.node("a").hold_syncs = true;  // shipped, and not on the leader's disk
  (void)group.append("a");
  group.pass(milliseconds(200));
  EXPECT_EQ(group.member("b").known_ends().at("a"), shared);
  group.finish_sync("a");
  group.pass(milliseconds(200));
  EXPECT_GT(group.member("b").known_ends().at("a"), shared);
}

TEST(GroupMember, ThePairServesOnWithoutTheRegister) {
  TestGroup group = pair_in_sync();
  group.answers = TestGroup::Answers::unavailable;
  group.pass(milliseconds(30'000));
  const Lsn lsn = group.append("a");
  EXPECT_EQ(group.member("a").committed(), lsn);
  EXPECT_EQ(group.member("a").delivery_refusal(group.now()), std::nullopt);
  EXPECT_EQ(group.member("a").accept_refusal(group.now()), std::nullopt);
}

TEST(GroupMember, ALeaderThatIsAloneAndHasNoRegisterStopsAcceptingAndDelivering) {
  TestGroup group({"a"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.member("a").accept_refusal(group.now()), std::nullopt);
  group.answers = TestGroup::Answers::unavailable;
  group.pass(milliseconds(8'000));
  EXPECT_EQ(group.member("a").delivery_refusal(group.now()), std::nullopt) << "nobody else may lead";
  EXPECT_EQ(group.member("a").accept_refusal(group.now()), std::nullopt);
  group.pass(milliseconds(4'000));
  EXPECT_NE(group.member("a").delivery_refusal(group.now()), std::nullopt);
  EXPECT_NE(group.member("a").accept_refusal(group.now()), std::nullopt);
  group.answers = TestGroup::Answers::well;
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.member("a").accept_refusal(group.now()), std::nullopt);
}

TEST(GroupMember, AnIsolatedLeaderStopsDeliveringBeforeItsBackupLeads) {
  TestGroup group = pair_in_sync();
  group.cut("a", "b");
  group.cut("b", "a");
  group.answers = TestGroup::Answers::unavailable;
  for (int i = 0; i < 100 && !group.member("a").delivery_refusal(group.now()); ++i)
    group.pass(milliseconds(20));
  EXPECT_TRUE(group.member("a").delivery_refusal(group.now()));
  EXPECT_NE(group.member("b").role(), Role::candidate);
}

TEST(GroupMember, ARegisterThatWasPutBackDecidesNothing) {
  TestGroup group({"a", "b"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  const coordination::GroupState older = group.in_register();
  group.start("b");
  group.pass(milliseconds(600));
  ASSERT_EQ(group.isr(), (Names{"a", "b"}));
  group.in_register() = older;  // a alone
  group.pass(milliseconds(2'100));
  EXPECT_FALSE(group.node("a").alarms.empty());
  EXPECT_FALSE(group.node("b").alarms.empty()) << "the backup looks, too, while all is well";
  const Lsn lsn = group.append("a");  // the pair is healthy: it serves
  EXPECT_EQ(group.member("a").committed(), lsn);
  group.stop("a");
  group.pass(milliseconds(5'000));
  EXPECT_FALSE(group.leads("b"));
  EXPECT_FALSE(group.node("b").alarms.empty());
}

TEST(GroupMember, APlannedMoveLosesNothingAndTakesNoSilence) {
  TestGroup group = pair_in_sync();
  const Lsn lsn = group.append("a");
  ASSERT_EQ(group.member("a").hand_over("b", group.now(), {}), std::nullopt);
  EXPECT_NE(group.member("a").accept_refusal(group.now()), std::nullopt);
  group.pass(milliseconds(100));
  EXPECT_TRUE(group.leads("b"));
  ASSERT_TRUE(group.node("a").restart);
  group.begin_anew("a");
  group.pass(milliseconds(100));
  EXPECT_GE(group.member("b").committed(), lsn);
}

TEST(GroupMember, AMoveToANodeThatIsNotInSyncIsRefused) {
  TestGroup group = pair_in_sync();
  EXPECT_NE(group.member("a").hand_over("c", group.now(), {}), std::nullopt);
  EXPECT_NE(group.member("b").hand_over("a", group.now(), {}), std::nullopt);
}

TEST(GroupMember, AStalledDiskGivesUpTheLead) {
  TestGroup group = pair_in_sync();
  group.member("a").disk_stalled(true, group.now(), {});
  EXPECT_TRUE(group.member("a").over());
  group.stop("a");
  EXPECT_TRUE(group.pass_until_leader("b"));
}

TEST(GroupMember, ALogThatLostCommittedRecordsIsNotTrusted) {
  TestGroup group({"a"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.stop("a");
  auto block = read_superblock(*group.node("a").disk, "");
  ASSERT_TRUE(block && block->block);
  block->block->committed = Lsn{1'000};
  ++block->block->generation;
  ASSERT_TRUE(store_superblock(*group.node("a").disk, "", *block->block));
  group.start("a");
  EXPECT_EQ(group.member("a").role(), Role::stopped);
  EXPECT_FALSE(group.node("a").alarms.empty());
}

TEST(GroupMember, WhatComesLateOnAnOldConnectionIsNotBelieved) {
  TestGroup group = pair_in_sync();
  Buffer old_hello;
  encode(Sender{group.node("a").journal->cluster(),
                {"a", group.node("a").journal->incarnation()},
                group.member("a").epoch(),
                true},
         Hello{group.node("a").journal->durable(), {}, {}}, old_hello);
  constexpr PeerId kOld = 77;
  group.member("b").connected(kOld, "", group.now(), {});
  group.heal();  // they connect again
  for (int i = 0; i < 3; ++i) (void)group.append("a");
  group.pass(milliseconds(100));
  ASSERT_EQ(group.node("b").journal->durable(), group.node("a").journal->durable());
  group.member("b").packet(kOld, old_hello, group.now(), {});
  std::vector<Output> outputs;
  group.member("b").outputs(outputs);
  EXPECT_TRUE(std::any_of(outputs.begin(), outputs.end(), [](const Output& each) {
    const auto* closing = std::get_if<ClosePeer>(&each);
    return closing != nullptr && closing->peer == kOld;
  }));
  group.heal();
  group.pass(milliseconds(300));
  EXPECT_EQ(group.member("b").role(), Role::follower);
  EXPECT_FALSE(group.node("b").restart);
  EXPECT_TRUE(group.node("b").alarms.empty());
}

TEST(GroupMember, ADiskInSyncThatWasPutBackIsNoticedDroppedAndAddedAgain) {
  TestGroup group = pair_in_sync();
  auto older = std::make_unique<MemoryDisk>("b");
  for (const std::string& path : group.node("b").disk->paths())
    if (const auto content = group.node("b").disk->durable_contents(path)) older->put(path, *content);
  for (int i = 0; i < 3; ++i) (void)group.append("a");
  group.pass(milliseconds(100));
  group.stop("b");
  group.node("b").disk = std::move(older);
  group.start("b");
  const auto& alarms = group.node("a").alarms;
  ASSERT_EQ(alarms.size(), 1U);
  EXPECT_NE(alarms.front().find("put back to an older copy of itself"), std::string::npos) << alarms.front();
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.isr(), (Names{"a"}));
  group.heal();
  group.pass(milliseconds(1'000));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(group.node("b").journal->durable(), group.node("a").journal->durable());
}

TEST(GroupMember, APeerOfAnotherClusterIsRefused) {
  TestGroup group({"a"});
  group.start("a");
  Buffer packet;
  encode(Sender{Uuid{{9}}, {"x", Uuid{{8}}}, Epoch{99}, true}, Hello{}, packet);
  group.member("a").connected(77, "", group.now(), {});
  group.member("a").packet(77, packet, group.now(), {});
  std::vector<Output> outputs;
  group.member("a").outputs(outputs);
  EXPECT_TRUE(std::any_of(outputs.begin(), outputs.end(),
                          [](const Output& each) { return std::holds_alternative<ClosePeer>(each); }));
  EXPECT_LT(group.member("a").status().seen, Epoch{99});
}

}  // namespace
}  // namespace mainstay::group
