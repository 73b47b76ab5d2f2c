// Deferral, receiving by sequence number, scheduling and looking into a queue, one promise at a time.
#include <gtest/gtest.h>

#include "broker/leader_test_support.h"

namespace mainstay::broker {
namespace {

using testing::World;

Fetched fetched(World& world, std::vector<SequenceNumber> sequences,
                ReceiveMode mode = ReceiveMode::peek_lock, ConsumerId holder = 0) {
  Leader::ReceiveDeferred receive;
  receive.tag = 9;
  receive.queue = world.queue;
  receive.mode = mode;
  receive.sequences = sequences;
  receive.holder = holder;
  std::vector<Output> out;
  world.leader->receive_deferred(receive, world.clock.now(), world.clock.wall(), out);
  world.check();
  return std::get<Fetched>(out.at(0));
}

TEST(BrokerDeferral, DeferredMessageIsHadByItsNumberOnly) {
  World world({});
  world.publish_many(2);
  world.subscribe(1);
  world.credit(1, 1);
  ASSERT_EQ(world.sequences(), (std::vector<std::uint64_t>{1}));
  EXPECT_FALSE(world.settle(world.last().token, Settlement::defer).error);
  world.commit();
  world.credit(1, 10);
  EXPECT_EQ(world.sequences(), (std::vector<std::uint64_t>{1, 2})) << "it is not handed out again";
  EXPECT_EQ(world.leader->stats(world.queue).deferred, 1U);
  EXPECT_EQ(world.leader->stats(world.queue).active, 1U);
  const Fetched got = fetched(world, {{1}});
  ASSERT_FALSE(got.error);
  ASSERT_EQ(got.messages.size(), 1U);
  EXPECT_EQ(got.messages[0].delivery_count, 1U);
  EXPECT_EQ(got.messages[0].state, MessageState::deferred);
  EXPECT_EQ(fetched(world, {{1}}).error->code, ErrorCode::message_not_found) << "locked";
  EXPECT_FALSE(world.settle(got.messages[0].token, Settlement::complete).error);
  EXPECT_EQ(world.leader->stats(world.queue).deferred, 0U);
}

TEST(BrokerDeferral, AllOrNoneAreReceived) {
  World world({});
  world.publish_many(3);
  world.subscribe(1);
  world.credit(1, 2);
  world.settle(world.token(1), Settlement::defer);
  world.settle(world.token(2), Settlement::defer);
  const Fetched refused = fetched(world, {{1}, {2}, {3}}, ReceiveMode::receive_and_delete);
  EXPECT_EQ(refused.error->code, ErrorCode::message_not_found);
  EXPECT_EQ(world.leader->stats(world.queue).deferred, 2U);
  const Fetched got = fetched(world, {{2}, {1}}, ReceiveMode::receive_and_delete);
  ASSERT_EQ(got.messages.size(), 2U);
  EXPECT_EQ(got.messages[0].sequence.value, 2U) << "as they were asked for";
  EXPECT_EQ(got.after, world.log.end());
  EXPECT_EQ(world.leader->stats(world.queue).deferred, 0U);
}

TEST(BrokerDeferral, ItWaitsForItsRecordAndOutlivesTimeAndRestart) {
  QueueOptions options;
  options.max_delivery_count = 2;
  World world(options);
  world.publish("a", nullptr, {}, 5000);
  world.commit();
  world.subscribe(1);
  world.credit(1, 1);
  const SettleDone done = world.settle(world.last().token, Settlement::defer);
  Fetched got = fetched(world, {{1}});
  EXPECT_EQ(got.after, done.after) << "that it is deferred is not committed yet";
  world.commit();
  world.advance(seconds(61));  // its lock and its time to live run out
  EXPECT_EQ(world.leader->stats(world.queue).deferred, 1U);
  EXPECT_EQ(world.leader->stats(world.queue).dead_letter, 0U) << "not at any count, either";
  world.restart();
  got = fetched(world, {{1}});
  ASSERT_FALSE(got.error);
  EXPECT_EQ(got.messages[0].delivery_count, 2U);
  EXPECT_FALSE(world.settle(got.messages[0].token, Settlement::dead_letter, "why").error);
  EXPECT_EQ(world.leader->stats(world.queue).dead_letter, 1U);
  world.commit();
}

TEST(BrokerDeferral, SessionsDeferredMessagesAreItsHolders) {
  QueueOptions options;
  options.requires_session = true;
  World world(options);
  world.publish("a", "s");
  world.commit();
  world.accept(1, "s");
  world.credit(1, 5);
  world.settle(world.last().token, Settlement::defer);
  EXPECT_EQ(world.leader->stats(world.queue).sessions, 1U) << "it has a message";
  world.accept(2, "t");
  EXPECT_EQ(fetched(world, {{1}}).error->code, ErrorCode::session_lock_lost);
  EXPECT_EQ(fetched(world, {{1}}, ReceiveMode::peek_lock, 2).error->code, ErrorCode::message_not_found);
  EXPECT_EQ(world.leader->session_holder(world.queue, "s", world.clock.now()), ConsumerId{1});
  const Fetched got = fetched(world, {{1}}, ReceiveMode::peek_lock, 1);
  ASSERT_FALSE(got.error);
  world.leave(1);
  EXPECT_EQ(world.settle(got.messages[0].token, Settlement::complete).error->code,
            ErrorCode::message_lock_lost)
      << "its lock ended with the session's";
  world.accept(3, nullptr, seconds(1));
  EXPECT_EQ(world.subscribed.size(), 2U) << "a session without available messages is not the next available";
  world.commit();
}

TEST(BrokerSchedule, MessageIsThereAtItsTimeUnderAnotherNumber) {
  World world({});
  Publish p;
  p.queue = world.queue;
  p.payload = as_bytes("later");
  p.ttl_ms = 10'000;
  p.scheduled_enqueue = WallTime{world.clock.wall().ms + 30'000};
  world.leader->publish(p, world.clock.wall(), world.outputs);
  EXPECT_EQ(std::get<PublishDone>(world.outputs.back()).sequence.value, 1U);
  world.publish("now");
  world.commit();
  world.subscribe(1);
  world.credit(1, 10);
  EXPECT_EQ(world.sequences(), (std::vector<std::uint64_t>{2}));
  EXPECT_EQ(world.leader->stats(world.queue).scheduled, 1U);
  ASSERT_TRUE(world.leader->next_deadline().has_value());
  EXPECT_LE(*world.leader->next_deadline(), world.clock.now() + seconds(30));
  std::vector<Output> out;
  world.leader->peek({1, world.queue, SubQueue::active, {1}, 10, std::nullopt}, out);
  const auto& seen = std::get<Fetched>(out.at(0));
  ASSERT_EQ(seen.messages.size(), 2U);
  EXPECT_EQ(seen.messages[0].state, MessageState::scheduled);
  EXPECT_TRUE(seen.messages[1].token.is_nil());
  world.restart();
  world.subscribe(2);
  world.credit(2, 10);
  world.advance(seconds(30));
  EXPECT_EQ(world.last().sequence.value, 3U);
  EXPECT_EQ(world.last().scheduled_as.value, 1U);
  EXPECT_EQ(world.last_deliver().after, world.log.end()) << "that it is there is not committed yet";
  EXPECT_EQ(world.last().enqueued, world.clock.wall());
  world.settle(world.last().token, Settlement::release);
  world.commit();
  world.leave(2);
  world.advance(seconds(9));
  EXPECT_EQ(world.leader->stats(world.queue).active, 2U) << "its time to live began when it was there";
}

TEST(BrokerSchedule, CancelledMessageNeverComesAndKeepsItsId) {
  QueueOptions options;
  options.duplicate_detection = true;
  World world(options);
  Publish p;
  p.queue = world.queue;
  p.message_id = "a";
  p.payload = as_bytes("later");
  p.scheduled_enqueue = WallTime{world.clock.wall().ms + 1000};
  world.leader->publish(p, world.clock.wall(), world.outputs);
  world.commit();
  const std::vector<SequenceNumber> both{{1}, {7}}, one{{1}};
  std::vector<Output> out;
  world.leader->cancel_scheduled({1, world.queue, both}, world.clock.now(), world.clock.wall(), out);
  EXPECT_EQ(std::get<SettleDone>(out.at(0)).error->code, ErrorCode::message_not_found);
  world.leader->cancel_scheduled({1, world.queue, one}, world.clock.now(), world.clock.wall(), out);
  EXPECT_EQ(std::get<SettleDone>(out.at(1)).after, world.log.end());
  EXPECT_EQ(world.leader->stats(world.queue).scheduled, 0U);
  EXPECT_TRUE(world.publish("a").duplicate);
  world.advance(seconds(5));
  EXPECT_EQ(world.leader->stats(world.queue).active, 0U);
}

}  // namespace
}  // namespace mainstay::broker
