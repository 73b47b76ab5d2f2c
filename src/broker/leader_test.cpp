// The leader's promises, one by one: peek-lock, dead-lettering, expiry, duplicates, commit before view
// (D10, D11, H6, H7, P2, P4).
#include "broker/leader.h"

#include <gtest/gtest.h>

#include "broker/leader_test_support.h"

namespace mainstay::broker {
namespace {

using testing::World;

QueueOptions with(std::uint32_t max_delivery_count) {
  QueueOptions options;
  options.max_delivery_count = max_delivery_count;
  return options;
}

QueueOptions detecting() {
  QueueOptions options;
  options.duplicate_detection = true;
  options.duplicate_window_ms = 20'000;
  return options;
}

QueueOptions expiring(bool dead_letter) {
  QueueOptions options;
  options.default_ttl_ms = 5'000;
  options.dead_letter_on_expiry = dead_letter;
  return options;
}

TEST(BrokerPublish, NothingIsHandedOutBeforeItIsCommitted) {
  World w(with(10));
  w.subscribe(1);
  w.credit(1, 10);
  const PublishDone done = w.publish("a");
  EXPECT_EQ(done.after, w.log.end());
  EXPECT_TRUE(w.delivered().empty());
  w.commit();
  ASSERT_EQ(w.delivered().size(), 1U);
  EXPECT_EQ(w.last_deliver().after, done.after);
  EXPECT_EQ(w.last().sequence, done.sequence);
  EXPECT_EQ(w.last().lsn, done.after);
  EXPECT_EQ(w.last().delivery_count, 0U);
  EXPECT_FALSE(w.last().maybe_delivered);
}

TEST(BrokerPublish, RefusalsStoreNothingAndSayWhy) {
  World w(with(10));
  QueueOptions sessions;
  sessions.requires_session = true;
  const QueueId s = w.leader->declare_queue("with-sessions", sessions, w.clock.wall()).value();
  const Lsn end = w.log.end();
  EXPECT_EQ(w.publish("a", nullptr, s).error->code, ErrorCode::session_required);
  EXPECT_EQ(w.publish("a", nullptr, QueueId{9}).error->code, ErrorCode::queue_not_found);
  EXPECT_EQ(w.publish(std::string(129, 'x')).error->code, ErrorCode::id_too_long);
  EXPECT_EQ(w.log.end(), end);
  std::string umlauts;
  for (int i = 0; i < 128; ++i) umlauts += "\xc3\xa4";
  EXPECT_FALSE(w.publish(umlauts).error.has_value()) << "128 characters, 256 bytes";
}

TEST(BrokerPublish, DuplicateIsAcceptedWithTheOriginalsCommitAndDropped) {
  World w(detecting());
  const PublishDone original = w.publish("pay-1");
  const Lsn end = w.log.end();
  const PublishDone again = w.publish("pay-1");
  EXPECT_TRUE(again.duplicate);
  EXPECT_EQ(again.after, original.after);
  EXPECT_EQ(again.sequence, original.sequence);
  EXPECT_EQ(w.log.end(), end);
  EXPECT_EQ(w.leader->stats(w.queue).duplicates_dropped, 1U);
  EXPECT_FALSE(w.publish("").duplicate);
  EXPECT_FALSE(w.publish("").duplicate) << "a message without an id is never a duplicate";
}

TEST(BrokerPublish, SettledAndDeadLetteredOriginalsStillCountWithinTheWindow) {
  World w(detecting());
  w.publish("settled");
  w.publish("dead");
  w.commit();
  w.subscribe(1);
  w.credit(1, 2);
  w.settle(w.token(1), Settlement::complete);
  w.settle(w.token(2), Settlement::dead_letter);
  EXPECT_TRUE(w.publish("settled").duplicate);
  EXPECT_TRUE(w.publish("dead").duplicate);
  w.advance(seconds(20));
  EXPECT_FALSE(w.publish("settled").duplicate) << "the window has passed";
  EXPECT_FALSE(w.publish("dead").duplicate);
}

TEST(BrokerPublish, WindowsSurviveRestartAndAClockThatGoesBack) {
  World w(detecting());
  w.publish("pay-1");
  w.restart();
  w.clock.jump_wall(-3'600'000);
  EXPECT_TRUE(w.publish("pay-1").duplicate);
  w.publish("other");
  EXPECT_GE(w.state->log_time().ms, 1'700'000'000'000) << "log time never goes back";
  w.clock.jump_wall(3'600'000 + 20'000);
  w.tick();
  EXPECT_FALSE(w.publish("pay-1").duplicate);
}

TEST(BrokerQueues, OptionsChangeByRecordAndSessionsNeverDo) {
  World w(with(10));
  const Lsn end = w.log.end();
  EXPECT_EQ(w.leader->declare_queue("Q", with(10), w.clock.wall()).value(), w.queue) << "names ignore case";
  EXPECT_EQ(w.log.end(), end) << "nothing changed, nothing recorded";
  EXPECT_EQ(w.leader->declare_queue("q", with(3), w.clock.wall()).value(), w.queue);
  EXPECT_EQ(w.state->options(w.queue).max_delivery_count, 3U);
  QueueOptions sessions = with(3);
  sessions.requires_session = true;
  EXPECT_EQ(w.leader->declare_queue("q", sessions, w.clock.wall()).error().code,
            ErrorCode::bad_queue_options);
  EXPECT_EQ(w.leader->declare_queue("x", with(0), w.clock.wall()).error().code, ErrorCode::bad_queue_options);
  EXPECT_EQ(w.leader->declare_queue("q/$DeadLetterQueue", with(3), w.clock.wall()).error().code,
            ErrorCode::bad_queue_options);
}

TEST(BrokerPeekLock, AbandonedMessageComesBackInItsPlaceWithCountPlusOne) {
  World w(with(10));
  w.publish_many(4);
  w.subscribe(1);
  w.credit(1, 2);
  w.settle(w.token(2), Settlement::abandon);
  w.credit(1, 3);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 2, 3, 4}));
  EXPECT_EQ(w.delivered()[2].delivery.delivery_count, 1U);
  EXPECT_GT(w.delivered()[2].after, w.delivered()[2].delivery.lsn) << "its failure must be committed first";
  EXPECT_GE(w.delivered()[3].after, w.delivered()[2].after) << "deliveries are shown in order";
}

TEST(BrokerPeekLock, ReleaseDoesNotCount) {
  World w(with(1));
  w.publish_many(1);
  w.subscribe(1);
  for (int i = 0; i < 5; ++i) {
    w.credit(1, 1);
    const SettleDone done = w.settle(w.token(1), Settlement::release);
    EXPECT_FALSE(done.error.has_value());
    EXPECT_EQ(done.after, Lsn{0});
  }
  EXPECT_EQ(w.last().delivery_count, 0U);
}

TEST(BrokerPeekLock, LastFailedDeliveryGoesToTheDeadLetterQueueWithReason) {
  World w(with(2));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 5);
  w.settle(w.token(1), Settlement::abandon);
  EXPECT_EQ(w.last().delivery_count, 1U);
  w.settle(w.token(1), Settlement::abandon);
  EXPECT_EQ(w.leader->stats(w.queue).active, 0U);
  EXPECT_EQ(w.leader->stats(w.queue).dead_letter, 1U);
  w.subscribe(2, SubQueue::dead_letter);
  w.credit(2, 1);
  EXPECT_EQ(w.last().sub, SubQueue::dead_letter);
  EXPECT_EQ(w.last().sequence, SequenceNumber{1});
  EXPECT_EQ(w.last().lsn, Lsn{2}) << "the body stays where it was";
  EXPECT_EQ(w.last().delivery_count, 2U);
  EXPECT_EQ(w.reason, "MaxDeliveryCountExceeded");
  EXPECT_NE(w.description.find(" 2 "), std::string::npos) << w.description;
}

TEST(BrokerPeekLock, CountSurvivesFailoverAndRedeliveryIsMarked) {
  World w(with(10));
  w.publish_many(2);
  w.subscribe(1);
  w.credit(1, 2);
  w.settle(w.token(1), Settlement::abandon);
  w.restart();
  w.publish_many(1);
  w.subscribe(7);
  w.credit(7, 3);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_EQ(w.delivered()[0].delivery.delivery_count, 1U);
  EXPECT_TRUE(w.delivered()[1].delivery.maybe_delivered);
  EXPECT_FALSE(w.delivered()[2].delivery.maybe_delivered);
}

TEST(BrokerPeekLock, ExpiredLockReturnsTheMessageWithCountAndItsTokenIsLost) {
  World w(with(10));
  w.publish_many(2);
  w.subscribe(1);
  w.credit(1, 1);
  const LockToken token = w.token(1);
  EXPECT_EQ(w.leader->next_deadline(), w.clock.now() + seconds(60));
  w.advance(seconds(60));
  EXPECT_EQ(w.settle(token, Settlement::complete).error->code, ErrorCode::message_lock_lost);
  w.credit(1, 2);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 1, 2}));
  EXPECT_EQ(w.delivered()[1].delivery.delivery_count, 1U);
}

TEST(BrokerPeekLock, SettlingAtTheMomentOfExpiryIsTooLateEvenBeforeTheTick) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 1);
  w.clock.advance(seconds(60));
  EXPECT_EQ(w.settle(w.token(1), Settlement::complete).error->code, ErrorCode::message_lock_lost);
  EXPECT_EQ(w.leader->stats(w.queue).active, 1U);
}

TEST(BrokerPeekLock, RenewedLockHolds) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 1);
  w.advance(seconds(40));
  const auto until = w.leader->renew_lock(w.token(1), w.clock.now(), w.clock.wall());
  ASSERT_TRUE(until.has_value());
  EXPECT_EQ(until->ms, w.clock.wall().ms + 60'000);
  w.advance(seconds(40));
  EXPECT_FALSE(w.settle(w.token(1), Settlement::complete).error.has_value());
  EXPECT_EQ(w.leader->renew_lock(w.token(1), w.clock.now(), w.clock.wall()).error().code,
            ErrorCode::message_lock_lost);
}

TEST(BrokerPeekLock, AForwardJumpOfTheWallClockDoesNotExpireLocks) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 1);
  w.clock.jump_wall(86'400'000);
  w.tick();
  EXPECT_FALSE(w.settle(w.token(1), Settlement::complete).error.has_value());
}

TEST(BrokerPeekLock, SettlingTwiceOrWithAnUnknownTokenIsLockLost) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 1);
  const LockToken token = w.token(1);
  EXPECT_FALSE(w.settle(token, Settlement::complete).error.has_value());
  EXPECT_EQ(w.settle(token, Settlement::complete).error->code, ErrorCode::message_lock_lost);
  EXPECT_EQ(w.settle(LockToken{}, Settlement::complete).error->code, ErrorCode::message_lock_lost);
  EXPECT_EQ(w.settle(w.random.uuid(), Settlement::abandon).error->code, ErrorCode::message_lock_lost);
}

TEST(BrokerPeekLock, LocksStayWhenTheirReceiverLeaves) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 1);
  const LockToken token = w.token(1);
  w.leader->unsubscribe(1, w.clock.now(), w.clock.wall(), w.outputs);
  w.subscribe(2);
  w.credit(2, 1);
  EXPECT_EQ(w.delivered().size(), 1U);
  EXPECT_FALSE(w.settle(token, Settlement::complete).error.has_value());
}

TEST(BrokerPeekLock, ConsumersWithCreditTakeTurns) {
  World w(with(10));
  for (ConsumerId id = 1; id <= 3; ++id) w.subscribe(id);
  w.credit(1, 100);
  w.credit(2, 100);
  w.credit(3, 1);
  w.publish_many(7);
  std::vector<ConsumerId> who;
  for (const auto& d : w.delivered()) who.push_back(d.delivery.consumer);
  EXPECT_EQ(who, (std::vector<ConsumerId>{1, 2, 3, 1, 2, 1, 2}));
}

TEST(BrokerPeekLock, CreditBoundsDeliveriesAndDrainEndsIt) {
  World w(with(10));
  w.publish_many(3);
  w.subscribe(1);
  w.credit(1, 2);
  EXPECT_EQ(w.delivered().size(), 2U);
  w.credit(1, 5, true);
  EXPECT_EQ(w.delivered().size(), 3U);
  EXPECT_EQ(w.drained, 1);
  w.publish_many(1);
  EXPECT_EQ(w.delivered().size(), 3U) << "drained: no credit is left";
}

TEST(BrokerReceiveAndDelete, RemovalIsRecordedBeforeTheMessageIsShown) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1, SubQueue::active, ReceiveMode::receive_and_delete);
  w.credit(1, 1);
  EXPECT_TRUE(w.last().token.is_nil());
  EXPECT_EQ(w.last_deliver().after, w.log.end());
  EXPECT_GT(w.last_deliver().after, w.last().lsn);
  EXPECT_EQ(w.leader->stats(w.queue).active, 0U);
}

TEST(BrokerDeadLetter, ReasonIsKeptAndCutAtItsLimit) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 1);
  std::string longest;
  for (int i = 0; i < 5000; ++i) longest += "\xe2\x82\xac";
  w.settle(w.token(1), Settlement::dead_letter, "Bad", longest);
  w.restart();
  w.subscribe(2, SubQueue::dead_letter);
  w.credit(2, 1);
  EXPECT_EQ(w.reason, "Bad");
  EXPECT_EQ(w.description.size(), 4096U * 3);
}

TEST(BrokerDeadLetter, DeliveriesOutOfItDoNotCountAndItCannotBeLeftByDeadLettering) {
  World w(with(2));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 1);
  w.settle(w.token(1), Settlement::dead_letter, "why", "what");
  w.subscribe(2, SubQueue::dead_letter);
  w.credit(2, 10);
  for (int i = 0; i < 4; ++i) w.settle(w.token(1), Settlement::abandon);
  w.advance(seconds(60));
  EXPECT_EQ(w.last().delivery_count, 0U);
  const SettleDone refused = w.settle(w.token(1), Settlement::dead_letter);
  EXPECT_EQ(refused.error->code, ErrorCode::cannot_dead_letter);
  EXPECT_EQ(w.leader->stats(w.queue).locked, 1U) << "it stays where it is, locked";
  EXPECT_FALSE(w.settle(w.token(1), Settlement::complete).error.has_value());
  EXPECT_EQ(w.leader->stats(w.queue).dead_letter, 0U);
}

TEST(BrokerDeadLetter, ModifiedPropertiesMergeOverDeliveriesAndSurvive) {
  World w(with(10));
  w.publish_many(1);
  w.subscribe(1);
  w.credit(1, 10);
  const auto map = [](std::initializer_list<std::pair<std::string_view, char>> entries) {
    Buffer body;
    for (const auto& [key, value] : entries) {
      body.push_back(std::byte{0xa1});
      body.push_back(static_cast<std::byte>(key.size()));
      for (const char c : key) body.push_back(static_cast<std::byte>(c));
      body.push_back(std::byte{0x54});
      body.push_back(static_cast<std::byte>(value));
    }
    Buffer out{std::byte{0xc1}, static_cast<std::byte>(body.size() + 1),
               static_cast<std::byte>(entries.size() * 2)};
    out.insert(out.end(), body.begin(), body.end());
    return out;
  };
  w.settle(w.token(1), Settlement::abandon, {}, {}, map({{"tries", 1}, {"host", 7}}));
  w.settle(w.token(1), Settlement::abandon, {}, {}, as_bytes("no map"));
  w.restart();
  w.subscribe(2);
  w.credit(2, 1);
  w.settle(w.token(1), Settlement::dead_letter, "r", "d", map({{"tries", 2}}));
  w.subscribe(3, SubQueue::dead_letter);
  w.credit(3, 1);
  Buffer expected = map({{"host", 7}, {"tries", 2}});
  ASSERT_GE(w.properties.size(), 9U);
  EXPECT_EQ(w.properties[0], std::byte{0xd1});
  EXPECT_EQ(Buffer(w.properties.begin() + 9, w.properties.end()),
            Buffer(expected.begin() + 3, expected.end()));
}

TEST(BrokerExpiry, ExpiredMessagesAreDroppedOrDeadLetteredAndNeverDelivered) {
  for (const bool dead : {false, true}) {
    World w(expiring(dead));
    w.publish_many(3);
    w.publish("short", nullptr, w.queue, 1'000);
    w.publish("long", nullptr, w.queue, 60'000);
    w.commit();
    w.advance(seconds(1));
    EXPECT_EQ(w.leader->stats(w.queue).active, 4U);
    w.clock.advance(seconds(4));
    w.subscribe(1);
    w.credit(1, 10);
    EXPECT_TRUE(w.delivered().empty()) << "not even before the tick";
    w.tick();
    EXPECT_EQ(w.leader->stats(w.queue).active, 0U) << "the queue's own limit is the longest";
    EXPECT_EQ(w.leader->stats(w.queue).dead_letter, dead ? 5U : 0U);
    if (dead) {
      w.subscribe(2, SubQueue::dead_letter);
      w.credit(2, 1);
      EXPECT_EQ(w.reason, "TTLExpiredException");
    }
  }
}

TEST(BrokerExpiry, ALockedMessageMayBeCompletedPastItsTimeAndExpiresWhenTheLockEnds) {
  World w(expiring(true));
  w.publish_many(2);
  w.subscribe(1);
  w.credit(1, 2);
  const LockToken one = w.token(1), two = w.token(2);
  w.advance(seconds(10));
  EXPECT_EQ(w.leader->stats(w.queue).active, 2U);
  EXPECT_FALSE(w.settle(one, Settlement::complete).error.has_value());
  EXPECT_FALSE(w.settle(two, Settlement::abandon).error.has_value());
  EXPECT_EQ(w.leader->stats(w.queue).dead_letter, 1U);
  EXPECT_EQ(w.leader->stats(w.queue).active, 0U);
}

TEST(BrokerLeader, ReplicasThatApplyTheLogAgreeAndHashRecordsProveIt) {
  World w(with(3));
  w.publish_many(5);
  w.subscribe(1);
  w.credit(1, 3);
  w.settle(w.token(1), Settlement::complete);
  w.settle(w.token(2), Settlement::abandon);
  w.leader->record_state_hash();
  w.leader->record_other(journal::RecordType::sealed, as_bytes("x"));
  const State replica = testing::replay(w.log);
  EXPECT_EQ(replica.hash(), w.state->hash());
  EXPECT_EQ(replica.applied(), w.log.end());
}

}  // namespace
}  // namespace mainstay::broker
