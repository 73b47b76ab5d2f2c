#include "replica/replica.h"

#include "broker/effects.h"
#include "replica/leadership.h"
#include "replica/replica_test_support.h"
#include "replication/packets.h"

namespace mainstay::replica {
namespace {

using testing::Pair;
using testing::TestNode;

/// East lives in term 1 with a queue, west follows.
struct Following : Pair {
  explicit Following(const ReplicaOptions& options = {}) : Pair(options) {
    connect();
    east.promote(1);
    settle();
    queue = east.declare();
    settle();
  }
  broker::QueueId queue;
};

std::size_t publishes_done(const TestNode& node) {
  std::size_t count = 0;
  for (const auto& output : node.shown)
    count += std::holds_alternative<broker::PublishDone>(output) ? 1U : 0U;
  return count;
}

void expect_same(TestNode& a, TestNode& b) {
  EXPECT_EQ(a.log(), b.log());
  EXPECT_EQ(a.replica->state().hash(), b.replica->state().hash());
  EXPECT_EQ(a.replica->state().applied(), b.replica->state().applied());
}

std::vector<journal::Record> records(const Buffer& log) {
  std::vector<journal::Record> all;
  for (BytesView rest(log); !rest.empty();) {
    journal::Record record;
    EXPECT_EQ(journal::decode_record(rest, record), journal::DecodeStatus::ok);
    all.push_back(record);
    rest = rest.subspan(record.raw.size());
  }
  return all;
}

// P2: an answer before the sync would be a promise that a crash breaks.
TEST(Replica, AnswerIsHeldUntilTheRecordIsDurable) {
  Following pair;
  pair.east.publish(pair.queue, "a");
  std::vector<Output> outputs;
  pair.east.replica->outputs(outputs);
  EXPECT_TRUE(outputs.empty());
  Replica::PendingWrite pending;
  ASSERT_TRUE(pair.east.replica->take_batch(pending));
  ASSERT_TRUE(pair.east.journal->write(pending.batch));
  pair.east.replica->outputs(outputs);
  EXPECT_TRUE(outputs.empty()) << "written is not durable";
  ASSERT_TRUE(pair.east.journal->sync());
  pair.east.replica->written(pending, pair.clock.now(), pair.clock.wall());
  pair.settle();
  EXPECT_EQ(publishes_done(pair.east), 1U);
}

TEST(Replica, NextBatchGathersWhileOneIsBeingWritten) {
  Following pair;
  pair.east.publish(pair.queue, "a");
  Replica::PendingWrite first;
  ASSERT_TRUE(pair.east.replica->take_batch(first));
  EXPECT_EQ(first.batch.size(), 1U);
  pair.east.publish(pair.queue, "b");
  pair.east.publish(pair.queue, "c");
  Replica::PendingWrite second;
  EXPECT_FALSE(pair.east.replica->take_batch(second)) << "one batch at a time";
  EXPECT_GT(pair.east.replica->bytes_under_way(), first.batch.bytes.size());
  ASSERT_TRUE(pair.east.journal->write(first.batch) && pair.east.journal->sync());
  pair.east.replica->written(first, pair.clock.now(), pair.clock.wall());
  ASSERT_TRUE(pair.east.replica->take_batch(second));
  EXPECT_EQ(second.batch.size(), 2U);
}

TEST(Replica, RoleIsLiveOnlyWhenItsRecordIsDurable) {
  Pair pair;
  pair.east.promote(1);
  EXPECT_EQ(pair.east.replica->role(), Role::standby);
  pair.settle();
  EXPECT_EQ(pair.east.replica->role(), Role::live);
  const Buffer log = pair.east.log();
  EpochStarted started;
  ASSERT_TRUE(read(records(log).front(), started));
  EXPECT_EQ(started.term, RegionTerm{1});
  EXPECT_EQ(started.by, "operator alice");
  EXPECT_EQ(records(log).front().header.epoch, Epoch{1});
}

TEST(Replica, StandbyHoldsTheSameBytesAndTheSameState) {
  Following pair;
  for (int i = 0; i < 100; ++i) pair.east.publish(pair.queue, std::to_string(i));
  pair.settle();
  expect_same(pair.east, pair.west);
  EXPECT_EQ(publishes_done(pair.east), 100U);
  const auto status = pair.east.replica->status(pair.clock.now());
  EXPECT_TRUE(status.connected);
  EXPECT_EQ(status.lag_records, 0U);
  EXPECT_EQ(status.peer_region, "west");
}

// H13
TEST(Replica, AConfirmOfDurabilityGlobalWaitsForTheStandbysDisk) {
  Following pair;
  pair.east.publish(pair.queue, "here");
  pair.east.publish(pair.queue, "there", broker::Durability::global);
  while (pair.east.write()) {
  }
  pair.act(pair.east, pair.to_west);
  EXPECT_EQ(publishes_done(pair.east), 1U) << "committed here, not yet received there";
  EXPECT_EQ(pair.east.replica->confirms_waiting(), 1U);
  pair.settle();
  EXPECT_EQ(publishes_done(pair.east), 2U);
  EXPECT_EQ(pair.east.replica->confirms_waiting(), 0U);
}

TEST(Replica, AConfirmOfDurabilityGlobalWaitsForAStandbyThatIsAwayAndIsNeverGivenWithoutIt) {
  Following pair;
  pair.disconnect();
  pair.east.publish(pair.queue, "there", broker::Durability::global);
  pair.settle();
  pair.pass(seconds(5));
  EXPECT_EQ(publishes_done(pair.east), 0U);
  pair.connect();
  pair.settle();
  EXPECT_EQ(publishes_done(pair.east), 1U);
  pair.disconnect();
  pair.east.publish(pair.queue, "lost", broker::Durability::global);
  pair.settle();
  pair.east.replica->seal(RegionTerm{9}, "another leads");
  pair.settle();
  EXPECT_EQ(publishes_done(pair.east), 1U) << "its outcome is unknown, as it is";
}

TEST(Replica, ALiveWithoutAStandbyEverHeardOfConfirmsNothingGlobally) {
  Pair pair;
  pair.east.promote(1);
  pair.settle();
  const broker::QueueId queue = pair.east.declare();
  pair.east.publish(queue, "there", broker::Durability::global);
  pair.settle();
  EXPECT_EQ(pair.east.replica->status(pair.clock.now()).lag_records, pair.east.replica->committed().value);
  EXPECT_EQ(publishes_done(pair.east), 0U);
}

// P1: the RPO meter, and catching up from the last common record.
TEST(Replica, LagIsKnownWhileTheStandbyIsAwayAndGoneAfterItsReturn) {
  Following pair;
  pair.disconnect();
  for (int i = 0; i < 10; ++i) pair.east.publish(pair.queue, std::to_string(i));
  pair.settle();
  pair.clock.advance(seconds(3));
  auto status = pair.east.replica->status(pair.clock.now());
  EXPECT_FALSE(status.connected);
  EXPECT_EQ(status.lag_records, 10U);
  EXPECT_GT(status.lag_bytes, 10U * journal::kRecordHeaderBytes);
  EXPECT_DOUBLE_EQ(status.lag_seconds, 3.0);
  pair.connect();
  pair.settle();
  status = pair.east.replica->status(pair.clock.now());
  EXPECT_EQ(status.lag_records, 0U);
  EXPECT_DOUBLE_EQ(status.lag_seconds, 0.0);
  expect_same(pair.east, pair.west);
}

// P1: a live that has just started takes the standby to have everything, until that one says what it has.
TEST(Replica, LagOfAStandbyThatReturnsFarBehindANewLeaderIsNeverToldTooSmall) {
  Following pair;
  pair.disconnect();
  const Lsn west_has = pair.west.replica->committed();
  std::uint64_t before = pair.east.journal->record_bytes_total();
  // More than is read to count it one by one, in several segments.
  for (int i = 0; i < 12'000; ++i) pair.east.publish(pair.queue, "payment-" + std::to_string(i));
  pair.settle();
  const std::uint64_t lacking = pair.east.journal->record_bytes_total() - before;
  ASSERT_GT(lacking, std::uint64_t{1} << 20);
  ASSERT_GT(pair.east.journal->extents().size(), 4U);
  pair.east.crash();
  pair.east.promote(2);
  while (pair.east.write()) {
  }
  before = pair.east.journal->record_bytes_total() - before;
  pair.connect();
  while (!pair.east.replica->status(pair.clock.now()).known && pair.step()) {
  }
  const auto status = pair.east.replica->status(pair.clock.now());
  ASSERT_TRUE(status.known);
  EXPECT_EQ(status.peer_durable, west_has);
  EXPECT_EQ(status.lag_records, pair.east.replica->committed().value - west_has.value);
  EXPECT_GE(status.lag_bytes, lacking);
  EXPECT_LE(status.lag_bytes, before + 2 * pair.east.segment_bytes);
  pair.settle();
  EXPECT_EQ(pair.east.replica->status(pair.clock.now()).lag_bytes, 0U);
  expect_same(pair.east, pair.west);
}

TEST(Replica, HardLagLimitRefusesPublishesUntilTheStandbyCaughtUp) {
  ReplicaOptions options;
  options.rpo_records_soft = 5;
  options.rpo_records_hard = 10;
  Following pair(options);
  EXPECT_FALSE(pair.east.replica->publish_refusal());
  pair.disconnect();
  for (int i = 0; i < 10; ++i) pair.east.publish(pair.queue, std::to_string(i));
  pair.settle();
  EXPECT_GT(pair.east.replica->publish_held_back(), 0);
  EXPECT_TRUE(pair.east.replica->publish_refusal());
  pair.connect();
  pair.settle();
  EXPECT_FALSE(pair.east.replica->publish_refusal());
}

TEST(Replica, CrashedStandbyGoesOnFromWhatItHad) {
  Following pair;
  for (int i = 0; i < 10; ++i) pair.east.publish(pair.queue, std::to_string(i));
  pair.settle();
  pair.disconnect();
  pair.west.crash();
  for (int i = 10; i < 20; ++i) pair.east.publish(pair.queue, std::to_string(i));
  pair.settle();
  pair.connect();
  pair.settle();
  expect_same(pair.east, pair.west);
}

TEST(Replica, RestartedLiveLeadsInANewTermAndKeepsWhatItAcknowledged) {
  Following pair;
  pair.east.publish(pair.queue, "a");
  pair.settle();
  pair.disconnect();
  pair.east.crash();
  EXPECT_EQ(pair.east.replica->role(), Role::standby);
  EXPECT_EQ(pair.east.replica->term(), RegionTerm{1});
  EXPECT_FALSE(
      pair.east.replica->promote(RegionTerm{1}, false, "x", "y", pair.clock.now(), pair.clock.wall()))
      << "a term is led in once";
  pair.east.promote(2);
  pair.connect();
  pair.settle();
  const std::string id = "a";
  EXPECT_EQ(pair.east.replica->state().look_up_ids(pair.queue, std::span(&id, 1))[0].candidates.size(), 1U);
  expect_same(pair.east, pair.west);
}

// Planned switch: zero loss by construction, both ways.
TEST(Replica, PlannedSwitchHandsOverEverythingAndTheOldLiveFollows) {
  Following pair;
  for (int i = 0; i < 10; ++i) pair.east.publish(pair.queue, std::to_string(i));
  pair.east.replica->begin_switch(pair.clock.now(), pair.clock.wall());
  pair.settle();
  ASSERT_TRUE(pair.east.switch_ready);
  EXPECT_EQ(*pair.east.switch_ready, pair.west.journal->durable());
  pair.east.replica->seal(RegionTerm{2}, "switched to west");
  pair.west.promote(2);
  pair.settle();
  EXPECT_EQ(pair.west.replica->role(), Role::live);
  EXPECT_EQ(pair.east.replica->role(), Role::standby);
  pair.west.publish(pair.queue, "from west");
  pair.settle();
  expect_same(pair.east, pair.west);

  pair.west.replica->begin_switch(pair.clock.now(), pair.clock.wall());
  pair.settle();
  ASSERT_TRUE(pair.west.switch_ready);
  pair.west.replica->seal(RegionTerm{3}, "switched back");
  pair.east.promote(3);
  pair.settle();
  pair.east.publish(pair.queue, "from east again");
  pair.settle();
  EXPECT_EQ(pair.east.replica->role(), Role::live);
  expect_same(pair.east, pair.west);
  EXPECT_TRUE(pair.east.alarms.empty() && pair.west.alarms.empty());
}

TEST(Replica, SwitchIsNotReadyWhileTheStandbyLacksARecord) {
  Following pair;
  pair.disconnect();
  pair.east.publish(pair.queue, "a");
  pair.east.replica->begin_switch(pair.clock.now(), pair.clock.wall());
  pair.settle();
  EXPECT_FALSE(pair.east.switch_ready);
  pair.connect();
  pair.settle();
  EXPECT_TRUE(pair.east.switch_ready);
}

TEST(Replica, SwitchCalledOffLeadsOnInTheSameTermUnderANewEpoch) {
  Following pair;
  pair.east.replica->begin_switch(pair.clock.now(), pair.clock.wall());
  pair.settle();
  pair.east.replica->abort_switch(pair.clock.now(), pair.clock.wall());
  pair.east.publish(pair.queue, "after");
  pair.settle();
  EXPECT_EQ(publishes_done(pair.east), 1U);
  expect_same(pair.east, pair.west);
  const Buffer log = pair.east.log();
  const auto all = records(log);
  EpochStarted again;
  ASSERT_TRUE(read(all[all.size() - 2], again));
  EXPECT_EQ(again.term, RegionTerm{1});
  EXPECT_EQ(all.back().header.epoch, Epoch{2});
  pair.disconnect();
  pair.west.crash();
  EXPECT_EQ(pair.west.replica->role(), Role::standby) << "the seal is not the last word";
}

TEST(Replica, LogThatEndsWithASealRestartsSealedAndFollowsTheNewLive) {
  Following pair;
  pair.east.replica->begin_switch(pair.clock.now(), pair.clock.wall());
  pair.settle();
  pair.disconnect();
  pair.east.crash();
  EXPECT_EQ(pair.east.replica->role(), Role::sealed);
  pair.west.promote(2);
  pair.connect();
  pair.settle();
  EXPECT_EQ(pair.east.replica->role(), Role::standby);
  expect_same(pair.east, pair.west);
}

TEST(Replica, ForcedPromotionForksTheLogAndTheLostTailIsRefusedAsDiverged) {
  Following pair;
  pair.east.publish(pair.queue, "shipped");
  pair.settle();
  const Lsn fork = pair.west.journal->durable().lsn;
  pair.disconnect();
  pair.east.publish(pair.queue, "not shipped");
  pair.settle();
  pair.east.crash();
  pair.west.promote(2, true);
  pair.settle();
  const Buffer log = pair.west.log();
  Forked forked;
  ASSERT_TRUE(read(records(log).back(), forked));
  EXPECT_EQ(records(log).back().header.lsn, fork.next());
  EXPECT_EQ(forked.primary_committed, fork);
  EXPECT_EQ(forked.term, RegionTerm{2});
  pair.west.publish(pair.queue, "west goes on");
  pair.settle();
  const Buffer before = pair.east.log();
  pair.connect();
  pair.settle();
  EXPECT_EQ(pair.east.replica->role(), Role::sealed);
  ASSERT_FALSE(pair.east.roles.empty());
  EXPECT_NE(pair.east.roles.back().why.find("diverged"), std::string::npos) << pair.east.roles.back().why;
  EXPECT_EQ(pair.east.log(), before) << "nothing is cut or overwritten";
  EXPECT_FALSE(pair.west.alarms.empty());
  EXPECT_FALSE(pair.east.replica->promote(RegionTerm{9}, true, "x", "y", pair.clock.now(), pair.clock.wall()))
      << "a diverged log must not lead";
  EXPECT_EQ(pair.west.replica->role(), Role::live) << "the new live is not disturbed";
}

TEST(Replica, OldLiveWhoseLogIsAPrefixFollowsAfterAForcedPromotion) {
  Following pair;
  pair.east.publish(pair.queue, "shipped");
  pair.settle();
  pair.disconnect();
  pair.east.crash();
  pair.west.promote(2, true);
  pair.settle();
  pair.connect();
  pair.settle();
  EXPECT_EQ(pair.east.replica->role(), Role::standby);
  expect_same(pair.east, pair.west);
}

// D: an isolated live that comes back must stop at the first packet of the higher term.
TEST(Replica, LiveThatSeesAHigherTermSealsAndDropsWaitingAnswers) {
  Following pair;
  pair.disconnect();
  pair.west.promote(2, true);
  pair.settle();
  pair.east.publish(pair.queue, "too late");
  pair.connect();
  // West's introduction reaches east before east's batch is written.
  pair.act(pair.west, pair.to_east);
  ASSERT_FALSE(pair.to_east.empty());
  pair.east.replica->packet(2, pair.to_east.front(), pair.clock.now(), pair.clock.wall());
  pair.to_east.clear();
  pair.settle();
  EXPECT_EQ(pair.east.replica->role(), Role::sealed);
  EXPECT_EQ(publishes_done(pair.east), 0U) << "its outcome stays unknown";
  ASSERT_FALSE(pair.east.roles.empty());
  EXPECT_TRUE(pair.east.roles.back().restart_to_follow);
  pair.disconnect();
  pair.east.crash();
  EXPECT_EQ(pair.east.replica->term(), RegionTerm{2}) << "the higher term was stored";
  pair.connect();
  pair.settle();
  EXPECT_EQ(pair.east.replica->role(), Role::standby);
  expect_same(pair.east, pair.west);
}

TEST(Replica, TwoLivesInOneTermRefuseEachOtherAndAlarm) {
  Pair pair;
  pair.east.promote(1);
  pair.west.promote(1);
  pair.settle();
  pair.connect();
  pair.settle();
  EXPECT_FALSE(pair.east.alarms.empty());
  EXPECT_FALSE(pair.west.alarms.empty());
  EXPECT_FALSE(pair.up());
}

TEST(Replica, NodeOfAnotherClusterIsRefused) {
  Pair pair;
  pair.connect();
  Buffer hello;
  replication::Sender stranger;
  stranger.cluster.bytes[3] = 9;
  stranger.region = "mars";
  stranger.term = RegionTerm{99};
  replication::encode(stranger, replication::Hello{}, hello);
  pair.east.replica->packet(1, hello, pair.clock.now(), pair.clock.wall());
  pair.settle();
  EXPECT_EQ(pair.east.replica->term(), RegionTerm{}) << "a stranger's term means nothing";
  ASSERT_FALSE(pair.east.closed.empty());
  EXPECT_NE(pair.east.closed.front().find("cluster"), std::string::npos);
}

TEST(Replica, GarbageClosesTheConnectionAndNothingElse) {
  Following pair;
  pair.east.replica->packet(1, as_bytes("GET / HTTP/1.1\r\n\r\n"), pair.clock.now(), pair.clock.wall());
  pair.settle();
  EXPECT_FALSE(pair.up());
  EXPECT_EQ(pair.east.replica->role(), Role::live);
  pair.connect();
  pair.east.publish(pair.queue, "a");
  pair.settle();
  expect_same(pair.east, pair.west);
}

TEST(Replica, SilentPeerIsDisconnectedAndATalkingOneIsKept) {
  Following pair;
  pair.pass(seconds(10));
  EXPECT_TRUE(pair.up()) << "heartbeats keep an idle connection";
  // One way cut: east hears nothing more.
  for (int i = 0; i < 60; ++i) {
    pair.clock.advance(milliseconds(50));
    pair.east.replica->tick(pair.clock.now(), pair.clock.wall());
  }
  pair.settle();
  EXPECT_FALSE(pair.up());
}

TEST(Replica, StateHashRecordsAreWrittenAndComparedAtTheStandby) {
  ReplicaOptions options;
  options.state_hash_every = 10;
  Following pair(options);
  for (int i = 0; i < 40; ++i) {
    pair.east.publish(pair.queue, std::to_string(i));
    pair.settle();
  }
  const Buffer log = pair.west.log();
  std::size_t hashes = 0;
  for (const auto& record : records(log))
    hashes += record.header.type == journal::RecordType::state_hash ? 1U : 0U;
  EXPECT_GE(hashes, 3U);
  EXPECT_FALSE(pair.west.fatal);
}

// The old live tells its seal's term to the new one before the new one takes it.
TEST(Replica, TermHeardOfFromASealedRegionCanStillBeLedInOnce) {
  Following pair;
  pair.east.replica->seal(RegionTerm{2}, "switched to west");
  pair.settle();
  EXPECT_EQ(pair.west.replica->term(), RegionTerm{2});
  EXPECT_TRUE(pair.west.replica->may_lead_in(RegionTerm{2}));
  pair.west.promote(2);
  pair.settle();
  EXPECT_EQ(pair.west.replica->role(), Role::live);
  EXPECT_FALSE(pair.east.replica->may_lead_in(RegionTerm{2})) << "a live region has claimed it";
  EXPECT_TRUE(pair.east.replica->may_lead_in(RegionTerm{3}));
  pair.disconnect();
  pair.west.crash();
  EXPECT_FALSE(pair.west.replica->may_lead_in(RegionTerm{2})) << "not again after a restart";
}

// Found by the simulator: a restarted live removed records that its standby, away at the time, still lacked.
TEST(Replica, RecordsThatTheOtherRegionMayLackAreKept) {
  Following pair;
  for (int i = 0; i < 10; ++i) pair.east.publish(pair.queue, std::to_string(i));
  pair.settle();
  const Lsn checkpoint = pair.east.journal->durable().lsn;
  const Lsn oldest = pair.east.replica->state().oldest_needed();
  EXPECT_EQ(pair.east.replica->removable_before(checkpoint), oldest) << "the standby has everything";
  EXPECT_EQ(pair.west.replica->removable_before(checkpoint), oldest) << "the live it follows has everything";
  pair.disconnect();
  EXPECT_EQ(pair.west.replica->removable_before(checkpoint), Lsn{}) << "it may be the one to lead";
  pair.east.crash();
  EXPECT_EQ(pair.east.replica->removable_before(checkpoint), Lsn{}) << "the standby's position is not known";
  pair.east.promote(2);
  pair.settle();
  EXPECT_EQ(pair.east.replica->removable_before(checkpoint), Lsn{}) << "nor is it now";
  pair.connect();
  pair.settle();
  EXPECT_EQ(pair.east.replica->removable_before(checkpoint), oldest);
}

// Found by the simulator: rolling to the next segment makes the first part of a batch durable while it is
// written.
TEST(Replica, OnlyWhatWasReportedAsWrittenIsAcknowledged) {
  Following pair;
  for (int i = 0; i < 10; ++i) pair.east.publish(pair.queue, std::to_string(i));
  ASSERT_TRUE(pair.east.write());
  pair.act(pair.east, pair.to_west);
  while (!pair.to_west.empty()) {
    pair.west.replica->packet(1, pair.to_west.front(), pair.clock.now(), pair.clock.wall());
    pair.to_west.pop_front();
  }
  const Lsn applied = pair.west.replica->state().applied();
  Replica::PendingWrite pending;
  ASSERT_TRUE(pair.west.replica->take_batch(pending));
  ASSERT_TRUE(pair.west.journal->write_raw(pending.batch.bytes));
  ASSERT_TRUE(pair.west.journal->sync());
  pair.clock.advance(seconds(1));
  pair.west.replica->tick(pair.clock.now(), pair.clock.wall());
  std::vector<Output> outputs;
  pair.west.replica->outputs(outputs);
  std::size_t acks = 0;
  for (const Output& output : outputs) {
    const auto* send = std::get_if<SendPacket>(&output);
    if (send == nullptr) continue;
    const auto packet = replication::decode(send->packet);
    ASSERT_TRUE(packet);
    const auto* ack = std::get_if<replication::Ack>(&packet->message);
    if (ack == nullptr) continue;
    ++acks;
    EXPECT_EQ(ack->durable.lsn, applied);
    EXPECT_EQ(ack->applied, applied);
  }
  EXPECT_EQ(acks, 1U);
}

TEST(Replica, PromotionRefusesATermThatWasSeenAndASecondOne) {
  Following pair;
  const auto refused = [&](TestNode& node, std::uint64_t term) {
    return !node.replica->promote(RegionTerm{term}, false, "x", "y", pair.clock.now(), pair.clock.wall());
  };
  EXPECT_TRUE(refused(pair.east, 5)) << "it leads already";
  EXPECT_TRUE(refused(pair.west, 1));
  EXPECT_EQ(pair.west.replica->role(), Role::standby);
}

// One message that nobody completes must not keep the log.
TEST(ReplicaCleaning, AMessageThatStaysMovesAndTheLogBehindItGoes) {
  constexpr std::uint64_t kSegment = 64 << 10;
  Pair pair;
  for (TestNode* node : {&pair.east, &pair.west}) {
    node->segment_bytes = kSegment;
    node->crash();
  }
  pair.connect();
  pair.east.promote(1);
  pair.settle();
  const broker::QueueId queue = pair.east.declare();
  pair.east.publish(queue, "stays");
  pair.settle();
  const auto bodies = [](TestNode& node) {
    std::vector<std::string> ids;
    for (const auto& place : node.replica->state().collect_older_than(node.replica->committed().next(), 10)) {
      Buffer raw;
      const auto read = node.journal->read(place.lsn, place.lsn, 0, raw);
      EXPECT_TRUE(read) << read.error().what;
      journal::Record record;
      broker::StoredMessage stored;
      if (!read || journal::decode_record(raw, record) != journal::DecodeStatus::ok ||
          !broker::read_stored_message(record, stored)) {
        ids.emplace_back("unreadable");
        continue;
      }
      EXPECT_EQ(as_text(stored.payload), "MT103");
      ids.emplace_back(stored.message_id);
    }
    return ids;
  };
  broker::Subscribe subscribe;
  subscribe.consumer = broker::ConsumerId{1};
  subscribe.queue = queue;
  const auto leader = [&]() -> broker::Leader& { return pair.east.replica->leader(); };
  leader().subscribe(subscribe, pair.clock.now(), pair.clock.wall(), pair.east.replica->leader_outputs());
  leader().set_credit(subscribe.consumer, 1, false, pair.clock.now(), pair.clock.wall(),
                      pair.east.replica->leader_outputs());  // locks the one that stays
  pair.settle();
  std::uint64_t most = 0, moves = 0, begun = 0, ended = 0, appended = 0;
  for (int round = 0; round < 150; ++round) {
    for (int i = 0; i < 40; ++i) pair.east.publish(queue, std::to_string(round) + "/" + std::to_string(i));
    leader().set_credit(subscribe.consumer, 40, false, pair.clock.now(), pair.clock.wall(),
                        pair.east.replica->leader_outputs());
    pair.settle();
    for (const auto& output : std::exchange(pair.east.shown, {})) {
      const auto* deliver = std::get_if<broker::Deliver>(&output);
      if (deliver == nullptr || deliver->delivery.sequence.value == 1) continue;
      broker::Leader::Settle settle;
      settle.token = deliver->delivery.token;
      settle.how = broker::Settlement::complete;
      leader().settle(settle, pair.clock.now(), pair.clock.wall(), pair.east.replica->leader_outputs());
    }
    pair.clock.advance(milliseconds(5));
    const auto cleaned = pair.east.replica->clean({.segment_bytes = kSegment, .reserve_bytes = 4 << 10},
                                                  pair.clock.now(), pair.clock.wall());
    EXPECT_EQ(cleaned.problem, "");
    moves += cleaned.messages;
    begun += cleaned.began ? 1U : 0U;
    ended += cleaned.ended ? 1U : 0U;
    pair.settle();
    appended = pair.east.replica->appended_bytes();
    for (TestNode* node : {&pair.east, &pair.west}) {
      ASSERT_TRUE(node->journal->prepare_spare());
      if (round % 2 == 0) {
        const Lsn needed = node->replica->state().oldest_needed();
        const Lsn checkpoint = node->store_checkpoint();
        ASSERT_TRUE(
            node->journal->remove_before(std::min(node->replica->removable_before(checkpoint), needed)));
      }
      most = std::max(most, node->journal->record_bytes_total());
    }
  }
  EXPECT_GT(appended, 10 * kSegment) << "the test must fill many segments";
  EXPECT_LE(most, 6 * kSegment);
  EXPECT_GE(moves, 3U);
  EXPECT_EQ(begun, ended);
  EXPECT_EQ(pair.east.replica->state().hash(), pair.west.replica->state().hash());
  for (TestNode* node : {&pair.east, &pair.west}) {
    EXPECT_EQ(bodies(*node), std::vector<std::string>{"stays"});
  }
  // What both have is the same, byte for byte.
  const Lsn end = pair.east.replica->committed();
  ASSERT_EQ(pair.west.replica->committed(), end);
  const Lsn from = pair.east.replica->state().oldest_needed();
  Buffer east, west;
  for (Lsn next = from; next <= end;) next = pair.east.journal->read(next, end, 1 << 20, east).value();
  for (Lsn next = from; next <= end;) next = pair.west.journal->read(next, end, 1 << 20, west).value();
  EXPECT_EQ(east, west);
  pair.disconnect();
  for (TestNode* node : {&pair.east, &pair.west}) {
    node->crash();
    EXPECT_EQ(bodies(*node), std::vector<std::string>{"stays"}) << "after a restart";
  }
}

}  // namespace
}  // namespace mainstay::replica
