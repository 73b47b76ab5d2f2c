// Sessions: one holder, sequence order, no overtaking from holder to holder (P4, H7).
#include <gtest/gtest.h>

#include "broker/leader_test_support.h"

namespace mainstay::broker {
namespace {

using testing::World;

QueueOptions sessions(std::uint32_t max_delivery_count = 10) {
  QueueOptions options;
  options.requires_session = true;
  options.max_delivery_count = max_delivery_count;
  return options;
}

TEST(BrokerSessions, ReceiversThatDoNotFitTheQueueAreRefused) {
  World w(sessions());
  w.subscribe(1);
  ASSERT_EQ(w.unsubscribed.size(), 1U);
  EXPECT_EQ(w.unsubscribed[0].error.code, ErrorCode::session_required);
  World plain((QueueOptions()));
  plain.accept(1, "a");
  EXPECT_EQ(plain.unsubscribed.at(0).error.code, ErrorCode::session_not_supported);
  EXPECT_EQ(plain.leader->consumers(), 0U);
}

TEST(BrokerSessions, OneHolderGetsTheSessionsMessagesInOrder) {
  World w(sessions());
  for (const char* s : {"a", "b", "a", "b", "a"}) w.publish("", s);
  w.commit();
  w.accept(1, "a");
  ASSERT_EQ(w.subscribed.size(), 1U);
  EXPECT_EQ(w.subscribed[0].session_id, "a");
  EXPECT_EQ(w.subscribed[0].locked_until.ms, w.clock.wall().ms + 60'000);
  w.credit(1, 10);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 3, 5}));
  EXPECT_EQ(w.last().locked_until, w.subscribed[0].locked_until);
  w.publish_many(1, "a");
  EXPECT_EQ(w.last().sequence, SequenceNumber{6});
  w.accept(2, "a");
  EXPECT_EQ(w.unsubscribed.at(0).error.code, ErrorCode::session_locked);
}

TEST(BrokerSessions, NamedFreeAndEmptySucceedsAndGetsWhatComes) {
  World w(sessions());
  w.accept(1, "later");
  w.credit(1, 5);
  w.accept(2, "");
  EXPECT_EQ(w.subscribed.size(), 2U) << "an empty session id is legal";
  w.publish_many(2, "later");
  EXPECT_EQ(w.delivered().size(), 2U);
  w.settle(w.token(1), Settlement::complete);
  w.settle(w.token(2), Settlement::complete);
  EXPECT_EQ(w.leader->stats(w.queue).sessions, 0U);
  w.publish_many(1, "other");
  w.publish_many(1, "later");
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 4})) << "the holder keeps an empty session";
}

TEST(BrokerSessions, NextAvailableIsTheOneWhoseOldestMessageIsOldest) {
  World w(sessions());
  for (const char* s : {"a", "b", "c", "a"}) w.publish("", s);
  w.commit();
  w.accept(1, nullptr);
  w.accept(2, nullptr);
  EXPECT_EQ(w.subscribed.at(0).session_id, "a");
  EXPECT_EQ(w.subscribed.at(1).session_id, "b");
  w.credit(1, 1);
  w.settle(w.token(1), Settlement::complete);
  w.leave(1);
  w.accept(3, nullptr);
  EXPECT_EQ(w.subscribed.at(2).session_id, "c") << "a's oldest is now the youngest";
}

TEST(BrokerSessions, NextAvailableWaitsForACommittedMessageAndThenTimesOut) {
  World w(sessions());
  w.accept(1, nullptr, seconds(10));
  w.accept(2, nullptr, seconds(10));
  EXPECT_TRUE(w.subscribed.empty());
  EXPECT_EQ(w.leader->next_deadline(), w.clock.now() + seconds(10));
  w.publish("", "a");
  EXPECT_TRUE(w.subscribed.empty()) << "not committed yet";
  w.commit();
  ASSERT_EQ(w.subscribed.size(), 1U);
  EXPECT_EQ(w.subscribed[0].consumer, 1U) << "who came first";
  w.advance(seconds(10));
  ASSERT_EQ(w.unsubscribed.size(), 1U);
  EXPECT_EQ(w.unsubscribed[0].consumer, 2U);
  EXPECT_EQ(w.unsubscribed[0].error.code, ErrorCode::session_timeout);
}

TEST(BrokerSessions, RedeliveryComesFirstAndNothingOvertakesItToTheNextHolder) {
  World w(sessions());
  w.publish_many(4, "a");
  w.accept(1, "a");
  w.credit(1, 3);
  w.settle(w.token(1), Settlement::abandon);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 3}));
  w.settle(w.token(2), Settlement::complete);
  w.leave(1);
  w.accept(2, nullptr);
  w.credit(2, 10);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 3, 1, 3, 4}));
  EXPECT_EQ(w.delivered()[3].delivery.delivery_count, 1U) << "abandoned";
  EXPECT_EQ(w.delivered()[4].delivery.delivery_count, 0U) << "returned by leaving, which does not count";
  for (std::size_t i = 4; i < 6; ++i) {
    EXPECT_GE(w.delivered()[i].after, w.delivered()[3].after) << "none is shown before the first is";
  }
}

TEST(BrokerSessions, SameHolderGetsTheAbandonedMessageBeforeLaterOnes) {
  World w(sessions());
  w.publish_many(5, "a");
  w.accept(1, "a");
  w.credit(1, 2);
  w.settle(w.token(2), Settlement::abandon);
  w.settle(w.token(1), Settlement::abandon);
  w.credit(1, 10);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 1, 2, 3, 4, 5}));
}

TEST(BrokerSessions, LostSessionLockCountsAndEndsTheReceiver) {
  World w(sessions(2));
  w.publish_many(3, "a");
  w.accept(1, "a");
  w.credit(1, 2);
  const LockToken token = w.token(1);
  w.advance(seconds(59));
  EXPECT_TRUE(w.leader->renew_session_lock(1, w.clock.now(), w.clock.wall()).has_value());
  w.advance(seconds(59));
  EXPECT_TRUE(w.unsubscribed.empty());
  w.advance(seconds(1));
  ASSERT_EQ(w.unsubscribed.size(), 1U);
  EXPECT_EQ(w.unsubscribed[0].error.code, ErrorCode::session_lock_lost);
  EXPECT_EQ(w.settle(token, Settlement::complete).error->code, ErrorCode::message_lock_lost);
  EXPECT_EQ(w.leader->renew_session_lock(1, w.clock.now(), w.clock.wall()).error().code,
            ErrorCode::session_lock_lost);
  w.accept(2, nullptr);
  w.credit(2, 3);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 1, 2, 3}));
  EXPECT_EQ(w.delivered()[2].delivery.delivery_count, 1U);
  EXPECT_EQ(w.delivered()[4].delivery.delivery_count, 0U) << "it was not out";
  w.advance(seconds(60));
  EXPECT_EQ(w.leader->stats(w.queue).dead_letter, 2U) << "second failure of two";
  EXPECT_EQ(w.leader->stats(w.queue).active, 1U);
}

TEST(BrokerSessions, NamedSessionWithALapsedLockIsFreeEvenBeforeTheTick) {
  World w(sessions());
  w.publish_many(1, "a");
  w.accept(1, "a");
  w.clock.advance(seconds(60));
  w.accept(2, "a");
  EXPECT_EQ(w.unsubscribed.at(0).consumer, 1U);
  EXPECT_EQ(w.subscribed.at(1).consumer, 2U);
}

TEST(BrokerSessions, DeadLetterQueueHasNoSessions) {
  World w(sessions());
  w.publish_many(2, "a");
  w.accept(1, "a");
  w.credit(1, 2);
  w.settle(w.token(2), Settlement::dead_letter, "r", "d");
  w.settle(w.token(1), Settlement::dead_letter, "r", "d");
  w.subscribe(2, SubQueue::dead_letter);
  w.credit(2, 5);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 1, 2})) << "by sequence number";
  EXPECT_EQ(w.leader->stats(w.queue).sessions, 0U);
}

TEST(BrokerSessions, FailoverFreesSessionsAndKeepsOrder) {
  World w(sessions());
  w.publish_many(3, "a");
  w.accept(1, "a");
  w.credit(1, 2);
  w.restart();
  w.accept(2, nullptr);
  w.credit(2, 5);
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 3}));
  EXPECT_TRUE(w.last().maybe_delivered);
}

TEST(BrokerSessions, ReceiveAndDeleteWorksWithinASession) {
  World w(sessions());
  w.publish_many(3, "a");
  w.accept(1, "a", seconds(1), ReceiveMode::receive_and_delete);
  w.credit(1, 2);
  EXPECT_EQ(w.leader->stats(w.queue).active, 1U);
  w.credit(1, 2);
  EXPECT_EQ(w.leader->stats(w.queue).sessions, 0U);
  w.publish_many(1, "a");
  EXPECT_EQ(w.sequences(), (std::vector<std::uint64_t>{1, 2, 3, 4}));
}

// What looking ahead reads may be anywhere, or not be there at all.
TEST(LeaderPrefetch, ChangesNothing) {
  constexpr std::uint32_t kQueues = 100;
  State state(nullptr, StateLimits{std::size_t{64} << 10});
  journal::LogBuilder log{{}, Epoch{1}};
  SeededRandom random{7};
  Leader leader(state, log, random);
  const WallTime wall{1'700'000'000'000};
  std::vector<Output> outputs;
  QueueOptions options;
  for (std::uint32_t q = 0; q < kQueues; ++q) {
    options.requires_session = q % 4 != 0;
    ASSERT_TRUE(leader.declare_queue("q" + std::to_string(q), options, wall));
  }
  std::vector<Leader::Coming> coming = {{QueueId{0}, "A"}, {QueueId{kQueues + 1}, "A"}, {QueueId{}, ""}};
  for (std::uint32_t round = 0; round < 70; ++round) {
    for (std::uint32_t q = 1; q <= kQueues; ++q) {
      Publish p;
      p.queue = QueueId{q};
      p.has_session = (q - 1) % 4 != 0;
      p.session_id = round % 3 == 0 ? "A" : "B";
      p.payload = as_bytes("payload");
      coming.push_back({p.queue, p.session_id});
      const std::uint64_t hash = state.hash();
      const State::MemoryUse use = state.memory_use();
      leader.prefetch(coming);
      const State::MemoryUse after = state.memory_use();
      EXPECT_EQ(state.hash(), hash);
      EXPECT_EQ(after.page_loads, use.page_loads);
      EXPECT_EQ(after.page_stores, use.page_stores);
      if (coming.size() > 70) coming.erase(coming.begin(), coming.begin() + 20);
      leader.publish(p, wall, outputs);
    }
  }
  EXPECT_GT(state.memory_use().page_loads, 0U) << "pages left memory and came back meanwhile";
  leader.check_invariants();
}

}  // namespace
}  // namespace mainstay::broker
