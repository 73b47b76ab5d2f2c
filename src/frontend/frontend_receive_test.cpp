// Client receivers: what they are given, what they may settle, and what becomes of what they do not take.
#include "amqp/value_writer.h"
#include "frontend/frontend_test_support.h"

namespace mainstay::frontend {
namespace {

using testing::Client;
using testing::condition_of;
using testing::ended;
using testing::fill;
using testing::TestNode;
using Ids = std::vector<std::string>;

Ids ids(int from, int to) {
  Ids out;
  for (int i = from; i < to; ++i) out.push_back("m" + std::to_string(i));
  return out;
}

// ---- settlement

TEST(FrontendReceive, OutcomesAreMirroredWithANullError) {
  TestNode node;
  Client client(node);
  fill(client, "q", 4);
  pn_link_t* receiver = client.from("q", 4);
  std::vector<pn_delivery_t*> got;
  for (int i = 0; i < 4; ++i) got.push_back(client.take(receiver));
  node.commits = false;
  pn_delivery_update(got[0], PN_ACCEPTED);
  pn_condition_t* why = pn_disposition_condition(pn_delivery_local(got[1]));
  pn_condition_set_name(why, "app:invalid");
  pn_condition_set_description(why, "no such account");
  pn_delivery_update(got[1], PN_REJECTED);
  pn_disposition_set_failed(pn_delivery_local(got[2]), true);
  pn_delivery_update(got[2], PN_MODIFIED);
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(got[0]), 0U) << "a settlement is answered once it is committed";
  EXPECT_EQ(pn_delivery_remote_state(got[1]), 0U);
  node.commit();
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(got[0]), PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(got[1]), PN_REJECTED);
  EXPECT_EQ(condition_of(got[1]), "") << "an error would read as a failed settlement";
  EXPECT_EQ(pn_delivery_remote_state(got[2]), PN_MODIFIED);
  client.settle(got[3], PN_RELEASED);
  EXPECT_EQ(pn_delivery_remote_state(got[3]), PN_RELEASED);
  for (pn_delivery_t* delivery : got) EXPECT_TRUE(pn_delivery_settled(delivery));
  EXPECT_EQ(node.stats().active, 2U);
  EXPECT_EQ(node.stats().dead_letter, 1U);
  node.commits = true;
  pn_link_t* dead = client.from("q/$DeadLetterQueue", 1);
  ASSERT_NE(client.take(dead), nullptr);
  EXPECT_EQ(client.id_taken(), "m1");
  EXPECT_NE(client.taken.find("app:invalid"), std::string::npos);
  EXPECT_NE(client.taken.find("no such account"), std::string::npos);
}

TEST(FrontendReceive, SettlingAfterTheLockIsLostIsTold) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  pn_delivery_t* got = client.take(client.from("q", 1));
  ASSERT_NE(got, nullptr);
  node.clock.advance(seconds(61));
  node.tick();
  client.settle(got, PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(got), PN_REJECTED);
  EXPECT_EQ(condition_of(got), "com.microsoft:message-lock-lost");
  EXPECT_EQ(node.stats().active, 1U);
  EXPECT_EQ(node.frontend.counters().settle_refused, 1U);
}

TEST(FrontendReceive, DeferredMessageStaysAndIsNotHandedOutAgain) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  pn_link_t* receiver = client.from("q", 2);
  pn_delivery_t* got = client.take(receiver);
  pn_disposition_set_undeliverable(pn_delivery_local(got), true);
  client.settle(got, PN_MODIFIED);
  EXPECT_EQ(pn_delivery_remote_state(got), PN_MODIFIED);
  EXPECT_EQ(node.stats().active, 0U);
  EXPECT_EQ(node.stats().deferred, 1U);
  node.clock.advance(seconds(61));
  node.tick();
  client.run();
  EXPECT_TRUE(client.take_ids(receiver).empty());
}

TEST(FrontendReceive, SettledWithoutAnOutcomeIsReleased) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  pn_link_t* receiver = client.from("q", 2);
  pn_delivery_settle(client.take(receiver));
  client.run();
  ASSERT_EQ(client.take_ids(receiver), ids(0, 1));
  EXPECT_EQ(node.stats().active, 1U);
}

// ---- credit

TEST(FrontendReceive, NobodyGetsMoreThanItsCredit) {
  TestNode node;
  Client client(node);
  fill(client, "q", 20);
  pn_link_t* receiver = client.from("q", 3);
  EXPECT_EQ(client.take_ids(receiver), ids(0, 3));
  EXPECT_EQ(node.stats().locked, 3U);
  pn_link_flow(receiver, 5);
  client.run();
  EXPECT_EQ(client.take_ids(receiver), ids(3, 8));
  EXPECT_EQ(node.stats().locked, 8U);
}

TEST(FrontendReceive, ASlowReaderLosesNothingAndHoldsNoMoreThanItsCredit) {
  FrontendOptions options;
  options.engine.limits.output_bytes_max = 4096;
  TestNode node(options);
  Client publisher(node);
  fill(publisher, "q", 40, {.padding = 1000});
  Client client(node);
  pn_link_t* receiver = client.from("q", 0);
  client.reads = false;
  pn_link_flow(receiver, 20);
  client.run();
  EXPECT_GT(node.frontend.counters().credit_stalls, 0U);
  EXPECT_EQ(node.stats().locked, 20U);
  // Its flows are heard all the same: what waits counts against its credit.
  pn_link_flow(receiver, 5);
  client.run();
  EXPECT_EQ(node.stats().locked, 25U);
  pn_link_flow(receiver, 1);
  client.run();
  EXPECT_EQ(node.stats().locked, 26U);
  client.reads = true;
  client.run();
  EXPECT_EQ(client.take_ids(receiver), ids(0, 26));
  EXPECT_EQ(node.stats().locked, 26U);
  EXPECT_EQ(pn_link_credit(receiver), 0);
  EXPECT_EQ(client.transport_error, "");
}

TEST(FrontendReceive, HugeCreditWithoutReadingLocksNoMoreThanTheWindow) {
  FrontendOptions options;
  options.engine.limits.output_bytes_max = 4096;
  options.delivery_window = 10;
  TestNode node(options);
  Client publisher(node);
  fill(publisher, "q", 60, {.padding = 1000});
  Client client(node);
  pn_link_t* receiver = client.from("q", 0);
  client.reads = false;
  pn_link_flow(receiver, 1'000'000);
  client.run();
  EXPECT_LE(node.stats().locked, 25U) << "the window and what the engine took";
  client.reads = true;
  Ids got;
  for (int round = 0; round < 100 && got.size() < 60; ++round) {
    for (const std::string& id : client.take_ids(receiver)) got.push_back(id);
    client.run();
  }
  EXPECT_EQ(got, ids(0, 60)) << "all of it comes, in order, once it reads";
  node.check();
}

TEST(FrontendReceive, AClosedWindowHoldsAndOpensWithoutHandingOutMore) {
  TestNode node;
  Client publisher(node);
  fill(publisher, "q", 60, {.padding = 900});
  Client client(node);
  pn_session_t* narrow = pn_session(client.connection());
  pn_session_set_incoming_capacity(narrow, std::size_t{8} * 65536);  // eight frames of its max-frame-size
  pn_session_open(narrow);
  client.on = narrow;
  pn_link_t* receiver = client.from("q", 30);
  EXPECT_EQ(node.stats().locked, 30U);
  EXPECT_GT(node.frontend.counters().credit_stalls, 0U);
  Ids got;
  for (int round = 0; round < 100 && got.size() < 30; ++round) {
    for (const std::string& id : client.take_ids(receiver)) got.push_back(id);
    client.run();
    EXPECT_EQ(node.stats().locked, 30U) << "the window's opening is no new credit";
  }
  EXPECT_EQ(got, ids(0, 30));
  EXPECT_EQ(pn_link_credit(receiver), 0);
}

TEST(FrontendReceive, ADrainIsAnsweredAfterTheLastHeldDelivery) {
  FrontendOptions options;
  options.engine.limits.output_bytes_max = 2048;
  TestNode node(options);
  Client publisher(node);
  fill(publisher, "q", 10, {.padding = 1000});
  Client client(node);
  pn_link_t* receiver = client.from("q", 0);
  client.reads = false;
  pn_link_drain(receiver, 50);
  client.run();
  EXPECT_GT(node.frontend.counters().credit_stalls, 0U);
  EXPECT_EQ(node.stats().locked, 10U);
  client.reads = true;
  client.run();
  EXPECT_FALSE(pn_link_draining(receiver));
  EXPECT_EQ(client.take_ids(receiver), ids(0, 10)) << "none was overtaken by the answer";
  EXPECT_EQ(pn_link_credit(receiver), 0) << "the rest is used up";
  fill(publisher, "q", 1);
  client.run();
  EXPECT_EQ(client.take_ids(receiver), Ids{}) << "no credit is left at the broker either";
}

TEST(FrontendReceive, ADrainOfAnEmptyQueueIsAnsweredAtOnceEvenBeforeTheAttachIs) {
  TestNode node;
  Client client(node);
  pn_link_t* receiver = pn_receiver(client.on, "drainer");
  pn_terminus_set_address(pn_link_source(receiver), "q");
  pn_link_open(receiver);
  pn_link_drain(receiver, 7);
  client.run();
  EXPECT_FALSE(pn_link_draining(receiver));
  EXPECT_EQ(pn_link_credit(receiver), 0);
}

TEST(FrontendReceive, WhoDetachesGivesBackAtOnceWhatItNeverSaw) {
  FrontendOptions options;
  options.engine.limits.output_bytes_max = 2048;
  TestNode node(options);
  Client publisher(node);
  fill(publisher, "q", 10, {.padding = 1000});
  Client slow(node), quick(node);
  pn_link_t* stuck = slow.from("q", 0);
  slow.reads = false;
  pn_link_flow(stuck, 50);
  slow.run();
  ASSERT_EQ(node.stats().locked, 10U);
  pn_link_t* receiver = quick.from("q", 20);
  EXPECT_EQ(quick.take_ids(receiver), Ids{});
  const std::uint64_t seen = node.frontend.counters().delivered;
  pn_link_close(stuck);
  slow.run();
  quick.run();
  EXPECT_EQ(quick.take_ids(receiver), ids(static_cast<int>(seen), 10)) << "in order, and none twice";
  EXPECT_EQ(node.frontend.counters().settle_refused, 0U);
  EXPECT_EQ(node.consumers(), 1U);
  node.check();
}

TEST(FrontendReceive, WhatWasOnItsWayToALinkThatWentIsGivenBack) {
  TestNode node;
  Client gone(node), other(node);
  fill(gone, "q", 1);
  pn_link_t* first = gone.from("q", 5);
  pn_delivery_t* got = gone.take(first);
  node.commits = false;
  pn_disposition_set_failed(pn_delivery_local(got), true);
  gone.settle(got, PN_MODIFIED);  // handed out again, to be shown when the failure is committed
  ASSERT_EQ(node.stats().locked, 1U);
  pn_link_close(first);
  gone.run();
  pn_link_t* second = other.from("q", 5);
  EXPECT_EQ(other.take_ids(second), Ids{});
  node.commits = true;
  node.commit();
  other.run();
  EXPECT_EQ(other.take_ids(second), ids(0, 1)) << "not only when the lock has run out";
  node.check();
}

TEST(FrontendReceive, HeldDeliveriesAreNotOvertakenByNewOnes) {
  FrontendOptions options;
  options.engine.limits.unsettled_max = 2;
  TestNode node(options);
  Client publisher(node), client(node);
  fill(publisher, "q", 4);
  pn_link_t* receiver = client.from("q", 10);
  pn_delivery_t* first = client.take(receiver);
  ASSERT_NE(client.take(receiver), nullptr);
  ASSERT_EQ(client.take(receiver), nullptr) << "two are unsettled, the others wait";
  node.commits = false;
  client.settle(first, PN_ACCEPTED);
  publisher.publish(publisher.to("q"), "m4");
  publisher.run();
  node.commits = true;
  node.commit();  // the answer to the settlement makes room just as the new message is dispatched
  client.run();
  ASSERT_NE(client.take(receiver), nullptr);
  EXPECT_EQ(client.id_taken(), "m2");
}

TEST(FrontendReceive, ReceiveAndDeleteIsDeliveredOnlyAfterItsRemovalIsCommitted) {
  TestNode node;
  Client client(node);
  fill(client, "q", 2);
  node.commits = false;
  pn_link_t* receiver = client.from("q", 5, true);
  EXPECT_EQ(node.stats().active, 0U) << "the removals are ordered";
  EXPECT_EQ(client.take(receiver), nullptr) << "and not committed";
  node.commit();
  client.run();
  pn_delivery_t* got = client.take(receiver);
  ASSERT_NE(got, nullptr);
  EXPECT_TRUE(pn_delivery_settled(got));
  EXPECT_EQ(client.id_taken(), "m0");
  EXPECT_EQ(client.take_ids(receiver), ids(1, 2));
}

TEST(FrontendReceive, ADeliveryThatWaitedFindsItsMessageWhereItWasMoved) {
  FrontendOptions options;
  options.engine.limits.output_bytes_max = 4096;
  TestNode node(options);
  Client publisher(node);
  fill(publisher, "q", 40, {.padding = 1000});
  Client client(node);
  pn_link_t* receiver = client.from("q", 0);
  EXPECT_EQ(node.frontend.oldest_held(), std::nullopt);
  client.reads = false;
  pn_link_flow(receiver, 20);
  client.run();
  const auto held = node.frontend.oldest_held();
  ASSERT_TRUE(held);
  EXPECT_GT(*held, Lsn{2}) << "the first ones were taken";
  EXPECT_LE(*held, Lsn{21});
  node.move_all();
  EXPECT_GT(node.log_begins, Lsn{40});
  client.reads = true;
  client.run();
  EXPECT_EQ(client.take_ids(receiver), ids(0, 20));
  EXPECT_EQ(client.transport_error, "");
  EXPECT_EQ(node.frontend.oldest_held(), std::nullopt);
}

TEST(FrontendReceive, DeliveriesWaitForTheirBodiesAndKeepTheirOrder) {
  TestNode node;
  Client publisher(node), client(node);
  pn_link_t* sender = publisher.to("q");
  const auto publish = [&](const std::string& id) {
    publisher.publish(sender, id);
    publisher.run();
  };
  publish("m0");
  publish("m1");
  node.reading = true;
  pn_link_t* receiver = client.from("q", 10);
  EXPECT_EQ(client.take_ids(receiver), Ids{});
  EXPECT_EQ(node.stats().locked, 2U);
  EXPECT_TRUE(node.frontend.awaits_payloads());
  EXPECT_EQ(node.frontend.counters().credit_stalls, 0U) << "the reader is not slow";
  EXPECT_TRUE(node.frontend.oldest_held()) << "the log is kept for them";
  publish("m2");
  node.frontend.payloads_came(node.clock.now(), node.clock.wall());  // others' bodies, not these
  client.run();
  EXPECT_EQ(client.take_ids(receiver), Ids{});
  EXPECT_TRUE(node.frontend.awaits_payloads());
  node.reading = false;
  publish("m3");  // would be here at once, and does not overtake
  node.frontend.payloads_came(node.clock.now(), node.clock.wall());
  client.run();
  EXPECT_EQ(client.take_ids(receiver), ids(0, 4));
  EXPECT_FALSE(node.frontend.awaits_payloads());
  EXPECT_EQ(node.frontend.oldest_held(), std::nullopt);
  node.check();
}

TEST(FrontendReceive, WhoGoesWhileABodyIsBeingReadGivesItsMessagesBack) {
  TestNode node;
  Client publisher(node), gone(node), other(node);
  fill(publisher, "q", 3);
  node.reading = true;
  pn_link_t* first = gone.from("q", 10);
  EXPECT_EQ(gone.take_ids(first), Ids{});
  gone.lose();
  node.reading = false;
  node.frontend.payloads_came(node.clock.now(), node.clock.wall());
  pn_link_t* second = other.from("q", 10);
  EXPECT_EQ(other.take_ids(second), ids(0, 3));
  EXPECT_EQ(node.consumers(), 1U);
  node.check();
}

TEST(FrontendReceive, ReceiveAndDeleteWaitsForBodiesToo) {
  TestNode node;
  Client client(node);
  fill(client, "q", 3);
  node.reading = true;
  pn_link_t* receiver = client.from("q", 10, true);
  EXPECT_EQ(client.take_ids(receiver), Ids{});
  EXPECT_EQ(node.frontend.oldest_held(), Lsn{2}) << "nowhere but in the log";
  node.reading = false;
  node.frontend.payloads_came(node.clock.now(), node.clock.wall());
  client.run();
  EXPECT_EQ(client.take_ids(receiver), ids(0, 3));
}

TEST(FrontendReceive, AMessageThatIsMovedWhileItsBodyIsBeingReadIsFoundAgain) {
  TestNode node;
  Client publisher(node), client(node);
  fill(publisher, "q", 3);
  node.reading = true;
  pn_link_t* receiver = client.from("q", 10);
  node.move_all();
  node.reading = false;
  node.frontend.payloads_came(node.clock.now(), node.clock.wall());
  client.run();
  EXPECT_EQ(client.take_ids(receiver), ids(0, 3));
  EXPECT_EQ(client.transport_error, "");
}

/// Twenty of forty messages received and deleted by a client that does not read: most wait for it, and are
/// only in the log any more.
struct DeletedUnread {
  DeletedUnread() : node(small_output()), publisher(node), client(node) {
    fill(publisher, "q", 40, {.padding = 1000});
    receiver = client.from("q", 0, true);
    client.reads = false;
    pn_link_flow(receiver, 20);
    client.run();
  }
  static FrontendOptions small_output() {
    FrontendOptions options;
    options.engine.limits.output_bytes_max = 4096;
    return options;
  }
  TestNode node;
  Client publisher, client;
  pn_link_t* receiver = nullptr;
};

TEST(FrontendReceive, WhatWasDeletedAndWaitsForItsReaderComesWholeWhenTheLogBeforeItIsRemoved) {
  DeletedUnread all;
  EXPECT_EQ(all.node.stats().active, 20U) << "deleted, whether read or not";
  const auto held = all.node.frontend.oldest_held();
  ASSERT_TRUE(held);
  EXPECT_LT(*held, Lsn{21}) << "of those that were deleted";
  all.node.move_all();
  EXPECT_EQ(all.node.frontend.oldest_held(), held) << "what is deleted has no new record";
  all.node.log_begins = *held;  // as a node removes it
  all.client.reads = true;
  all.client.run();
  for (const std::string& id : ids(0, 20)) {
    pn_delivery_t* got = all.client.take(all.receiver);
    ASSERT_NE(got, nullptr) << id;
    EXPECT_TRUE(pn_delivery_settled(got));
    EXPECT_EQ(all.client.id_taken(), id);
    EXPECT_GT(all.client.taken.size(), 1000U) << id << " is whole";
  }
  EXPECT_EQ(all.client.transport_error, "");
  EXPECT_EQ(all.node.frontend.oldest_held(), std::nullopt);
}

TEST(FrontendReceive, WhatWasDeletedAndCannotBeReadAnyMoreEndsTheConnectionAndIsNotSkipped) {
  DeletedUnread all;
  const std::uint64_t delivered = all.node.frontend.counters().delivered;
  all.node.move_all();  // and the log before is gone: a node does not do that
  all.client.reads = true;
  all.client.run();
  EXPECT_EQ(all.client.take_ids(all.receiver), ids(0, static_cast<int>(delivered)));
  pn_condition_t* condition = pn_connection_remote_condition(all.client.connection());
  EXPECT_STREQ(pn_condition_get_name(condition), "amqp:connection:forced");
  EXPECT_NE(std::string(pn_condition_get_description(condition)).find("cannot be read from the journal"),
            std::string::npos);
}

TEST(FrontendReceive, AMessageThatCannotBeReadBackEndsTheConnection) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  node.readable = false;
  client.from("q", 1);
  pn_condition_t* condition = pn_connection_remote_condition(client.connection());
  EXPECT_STREQ(pn_condition_get_name(condition), "amqp:connection:forced");
  EXPECT_NE(std::string(pn_condition_get_description(condition)).find("no such record"), std::string::npos);
  EXPECT_LE(node.frontend.next_deadline(), node.clock.now() + seconds(5));
  EXPECT_EQ(node.stats().active, 1U);
}

// ---- sessions

TestNode& with_sessions(TestNode& node) {
  broker::QueueOptions options;
  options.requires_session = true;
  node.declare("s", options);
  return node;
}
std::string session_of(pn_link_t* link) {
  pn_data_t* filter = pn_terminus_filter(pn_link_remote_source(link));
  pn_data_rewind(filter);
  if (!pn_data_next(filter) || pn_data_type(filter) != PN_MAP) return "no filter";
  pn_data_enter(filter);
  pn_data_next(filter);
  pn_data_next(filter);
  if (pn_data_type(filter) != PN_STRING) return "no session";
  const pn_bytes_t text = pn_data_get_string(filter);
  return {text.start, text.size};
}

TEST(FrontendSessions, ANamedSessionIsHeldByOneReceiver) {
  TestNode node;
  Client client(with_sessions(node)), other(node);
  pn_link_t* sender = client.to("s");
  client.publish(sender, "a0", "A");
  client.publish(sender, "b0", "B");
  client.publish(sender, "a1", "A");
  client.run();
  pn_link_t* holder = client.accept("s", "A", 5);
  EXPECT_EQ(session_of(holder), "A");
  EXPECT_EQ(client.take_ids(holder), (Ids{"a0", "a1"}));
  pn_link_t* refused = other.accept("s", "A", 5);
  EXPECT_TRUE(ended(refused));
  EXPECT_EQ(condition_of(refused), "com.microsoft:session-cannot-be-locked");
  pn_link_close(holder);
  client.run();
  pn_link_t* next = other.accept("s", "A", 5);
  EXPECT_FALSE(ended(next));
  EXPECT_EQ(other.take_ids(next), (Ids{"a0", "a1"})) << "unsettled ones come again, in order";
}

TEST(FrontendSessions, TheNextAvailableIsTheOneWaitingLongestOrTheNextToCome) {
  TestNode node;
  Client client(with_sessions(node)), waiting(node);
  pn_link_t* sender = client.to("s");
  client.publish(sender, "b0", "B");
  client.publish(sender, "a0", "A");
  client.run();
  EXPECT_EQ(session_of(client.accept("s", nullptr, 1)), "B");
  EXPECT_EQ(session_of(client.accept("s", nullptr, 1)), "A");
  pn_link_t* later = waiting.accept("s", nullptr, 3);
  EXPECT_EQ(pn_link_state(later) & PN_REMOTE_UNINIT, PN_REMOTE_UNINIT) << "not answered yet";
  client.publish(sender, "c0", "C");
  client.run();
  waiting.run();
  EXPECT_EQ(session_of(later), "C");
  EXPECT_EQ(waiting.take_ids(later), Ids{"c0"}) << "credit given before the answer counts";
}

TEST(FrontendSessions, WaitingInVainEndsWithATimeout) {
  TestNode node;
  Client client(with_sessions(node));
  pn_link_t* waiting = client.accept("s", nullptr, 1, 5000);
  node.clock.advance(milliseconds(4990));
  node.tick();
  client.run();
  EXPECT_FALSE(ended(waiting));
  node.clock.advance(milliseconds(20));
  node.tick();
  client.run();
  EXPECT_TRUE(ended(waiting));
  EXPECT_EQ(condition_of(waiting), "com.microsoft:timeout");
  EXPECT_EQ(node.consumers(), 0U);
}

TEST(FrontendSessions, AWaitingReceiverThatLeavesIsForgotten) {
  TestNode node;
  Client client(with_sessions(node));
  {
    Client waiting(node);
    waiting.accept("s", nullptr, 1);
    EXPECT_EQ(node.consumers(), 1U);
    waiting.lose();
  }
  EXPECT_EQ(node.consumers(), 0U);
  client.publish(client.to("s"), "a0", "A");
  client.run();
  EXPECT_EQ(session_of(client.accept("s", nullptr, 1)), "A");
}

TEST(FrontendSessions, ALostSessionLockEndsTheLink) {
  TestNode node;
  Client client(with_sessions(node));
  client.publish(client.to("s"), "a0", "A");
  client.run();
  pn_link_t* holder = client.accept("s", "A", 1);
  node.clock.advance(seconds(61));
  node.tick();
  client.run();
  EXPECT_TRUE(ended(holder));
  EXPECT_EQ(condition_of(holder), "com.microsoft:session-lock-lost");
  pn_link_t* without = client.from("s", 1);
  EXPECT_TRUE(ended(without));
  EXPECT_EQ(condition_of(without), "amqp:not-allowed");
}

TEST(FrontendSessions, HeldDeliveriesOfASessionGoBackWithItInOrder) {
  FrontendOptions options;
  options.engine.limits.output_bytes_max = 2048;
  TestNode node(options);
  Client client(with_sessions(node)), slow(node);
  pn_link_t* sender = client.to("s");
  for (int i = 0; i < 6; ++i) client.publish(sender, "m" + std::to_string(i) + amqp::pattern(1000), "A");
  client.run();
  slow.reads = false;
  pn_link_t* stuck = slow.accept("s", "A", 6);
  ASSERT_EQ(node.stats(2).locked, 6U);
  pn_link_close(stuck);
  slow.run();
  pn_link_t* next = client.accept("s", "A", 10);
  Ids got;
  for (const std::string& id : client.take_ids(next)) got.push_back(id.substr(0, 2));
  EXPECT_EQ(got, ids(0, 6));
  EXPECT_EQ(node.frontend.counters().settle_refused, 0U);
  node.check();
}

// ---- the message itself

/// A section: descriptor and a value.
template <class F>
void section(Buffer& to, std::uint64_t code, F&& value) {
  amqp::ValueWriter w(to);
  w.descriptor(code);
  value(w);
}

TEST(FrontendReceive, TheBareMessageAndFooterArriveBitForBit) {
  Buffer sent;
  section(sent, 0x70, [](auto& w) {  // header: durable, priority 9, ttl
    const auto list = w.list();
    w.boolean(true);
    w.ubyte(9);
    w.uint(3'600'000);
    w.close(list, 3);
  });
  section(sent, 0x72, [](auto& w) {
    const auto map = w.map();
    w.symbol("x-opt-mine");
    w.string("kept");
    w.symbol("x-opt-sequence-number");
    w.long_(-1);
    w.close(map, 4);
  });
  section(sent, 0x73, [](auto& w) {  // properties with an odd id and absent fields written as nulls
    const auto list = w.list();
    w.uuid({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16});
    w.binary(as_bytes("user"));
    for (int i = 0; i < 11; ++i) w.null();
    w.close(list, 13);
  });
  section(sent, 0x74, [](auto& w) {
    const auto map = w.map();
    w.string("empty");
    w.string("");
    w.string("double");
    w.double_(0.1);
    w.close(map, 4);
  });
  for (const char* part : {"first", "", "third"}) {
    section(sent, 0x75, [&](auto& w) { w.binary(as_bytes(part)); });
  }
  section(sent, 0x78, [](auto& w) {
    const auto map = w.map();
    w.symbol("check");
    w.ulong(42);
    w.close(map, 2);
  });
  TestNode node;
  Client client(node);
  pn_delivery_t* put = client.put(client.to("q"), std::string(as_text(sent)));
  client.run();
  ASSERT_EQ(pn_delivery_remote_state(put), PN_ACCEPTED);
  ASSERT_NE(client.take(client.from("q", 1)), nullptr);
  const auto before = amqp::view_message(sent).value();
  const auto after = amqp::view_message(as_bytes(client.taken)).value();
  EXPECT_EQ(as_text(after.bare), as_text(before.bare));
  EXPECT_EQ(as_text(after.footer), as_text(before.footer));
  EXPECT_FALSE(before.footer.empty());
  EXPECT_EQ(after.message_id(), before.message_id());
  EXPECT_EQ(after.priority, 9);
  EXPECT_NE(as_text(after.message_annotations).find("x-opt-mine"), std::string_view::npos);
  const auto name = as_text(after.message_annotations).find("x-opt-sequence-number");
  EXPECT_NE(name, std::string_view::npos);
  EXPECT_EQ(as_text(after.message_annotations).find("x-opt-sequence-number", name + 1),
            std::string_view::npos)
      << "the broker's name is the broker's";
}

}  // namespace
}  // namespace mainstay::frontend
