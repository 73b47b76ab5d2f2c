// Client senders: what is stored, when it is acknowledged, and what is refused how.
#include "amqp/client_frames.h"
#include "amqp/value_writer.h"
#include "frontend/frontend_test_support.h"

namespace mainstay::frontend {
namespace {

using testing::Client;
using testing::condition_of;
using testing::description_of;
using testing::ended;
using testing::TestNode;

TEST(FrontendPublish, AcceptedLeavesOnlyAfterCommit) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  node.commits = false;
  pn_delivery_t* first = client.publish(sender, "one");
  pn_delivery_t* second = client.publish(sender, "two");
  client.run();
  EXPECT_EQ(node.stats().active, 2U) << "ordered";
  EXPECT_EQ(pn_delivery_remote_state(first), 0U) << "and not committed: nobody may know";
  node.commit();
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(first), PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(second), PN_ACCEPTED);
  EXPECT_TRUE(pn_delivery_settled(first));
  EXPECT_EQ(node.frontend.counters().published, 2U);
  EXPECT_EQ(client.transport_error, "");
}

TEST(FrontendPublish, AnUnknownQueueIsNamedInTheRefusal) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("amqps://host/nowhere");
  pn_link_t* receiver = client.from("nowhere", 5);
  for (pn_link_t* link : {sender, receiver}) {
    EXPECT_TRUE(ended(link));
    EXPECT_EQ(condition_of(link), "amqp:not-found");
    EXPECT_NE(description_of(link).find("nowhere'"), std::string::npos) << description_of(link);
  }
  EXPECT_EQ(node.consumers(), 0U);
}

TEST(FrontendPublish, NobodySendsToADeadLetterQueue) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q/$DeadLetterQueue");
  EXPECT_TRUE(ended(sender));
  EXPECT_EQ(condition_of(sender), "amqp:not-allowed");
  EXPECT_NE(description_of(sender).find("'q'"), std::string::npos) << description_of(sender);
  EXPECT_FALSE(ended(client.from("q/$DeadLetterQueue", 1)));
}

TEST(FrontendPublish, CreditIsGrantedAgainBeforeItRunsOut) {
  FrontendOptions options;
  options.limits.link_credit = 10;
  TestNode node(options);
  Client client(node);
  pn_link_t* sender = client.to("q");
  for (int i = 0; i < 100; ++i) {
    ASSERT_GT(pn_link_credit(sender), 0) << i;
    client.publish(sender, "m" + std::to_string(i));
    client.run();
  }
  EXPECT_EQ(node.stats().active, 100U);
}

TEST(FrontendPublish, SendersAreToldForHowLongIdsAreRemembered) {  // H14
  TestNode node;
  broker::QueueOptions detecting;
  detecting.duplicate_detection = true;
  detecting.duplicate_window_ms = 45'000;
  node.declare("d", detecting);
  Client client(node);
  for (const auto& [queue, window_ms] : {std::pair("d", 45'000), std::pair("q", 0)}) {
    pn_data_t* properties = pn_link_remote_properties(client.to(queue));
    pn_data_rewind(properties);
    ASSERT_TRUE(pn_data_next(properties) && pn_data_enter(properties) && pn_data_next(properties)) << queue;
    const pn_bytes_t key = pn_data_get_symbol(properties);
    EXPECT_EQ(std::string(key.start, key.size), "mainstay:duplicate-detection-window-ms");
    ASSERT_TRUE(pn_data_next(properties));
    EXPECT_EQ(pn_data_get_long(properties), window_ms) << queue;
  }
}

TEST(FrontendPublish, BrokerErrorsAreToldAndTheLinkLivesOn) {
  TestNode node;
  broker::QueueOptions with_sessions;
  with_sessions.requires_session = true;
  node.declare("s", with_sessions);
  Client client(node);
  pn_link_t* sender = client.to("s");
  pn_delivery_t* without = client.publish(sender, "no session");
  pn_delivery_t* with = client.publish(sender, "one", "A");
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(without), PN_REJECTED);
  EXPECT_EQ(condition_of(without), "amqp:not-allowed");
  EXPECT_EQ(pn_delivery_remote_state(with), PN_ACCEPTED);
  EXPECT_FALSE(ended(sender));
}

TEST(FrontendPublish, MalformedMessagesAreRejectedOneByOne) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  pn_delivery_t* bad = client.put(sender, "this is no message");
  pn_delivery_t* good = client.publish(sender, "good");
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(bad), PN_REJECTED);
  EXPECT_EQ(condition_of(bad), "amqp:decode-error");
  EXPECT_EQ(pn_delivery_remote_state(good), PN_ACCEPTED);
  EXPECT_EQ(node.frontend.counters().malformed, 1U);
  EXPECT_EQ(node.stats().active, 1U);
}

TEST(FrontendPublish, OversizeMessagesAreRejectedAndTheirCreditComesBack) {
  FrontendOptions options;
  options.engine.limits.message_bytes_max = 4096;
  options.limits.link_credit = 4;
  TestNode node(options);
  Client client(node);
  pn_link_t* sender = client.to("q");
  EXPECT_EQ(pn_link_remote_max_message_size(sender), 4096U);
  for (int i = 0; i < 12; ++i) {
    ASSERT_GT(pn_link_credit(sender), 0) << i;
    pn_delivery_t* large = client.publish(sender, amqp::pattern(5000));
    client.run();
    EXPECT_EQ(condition_of(large), "amqp:link:message-size-exceeded");
  }
  pn_delivery_t* small = client.publish(sender, "small");
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(small), PN_ACCEPTED);
  EXPECT_EQ(node.frontend.counters().oversize, 12U);
  EXPECT_EQ(node.stats().active, 1U);
}

TEST(FrontendPublish, AServiceBusBatchIsRefusedNotStoredAsOneMessage) {
  TestNode node;
  testing::Socket socket(node);
  amqp::SimpleMessage message;
  message.body = as_bytes("inner");
  const Buffer payload = amqp::encode_message(message);
  amqp::ClientFrames frames;
  frames.header().open().begin(0).attach(0, 0, false, "q");
  frames.transfer(0, 0, 0U, as_text(payload), false, false, false, 0x80013700);
  socket.input(frames.bytes);
  const std::string said(as_text(socket.output()));
  EXPECT_NE(said.find("amqp:not-implemented"), std::string::npos);
  EXPECT_NE(said.find("0x80013700"), std::string::npos);
  EXPECT_EQ(node.stats().active, 0U);
  frames.bytes.clear();
  socket.input(frames.transfer(0, 0, 1U, as_text(payload)).bytes);
  EXPECT_EQ(node.stats().active, 1U) << "the link takes single messages still";
}

// Messages of one read are published some at a time: nothing that follows may come before them, whatever
// pieces the bytes come in.
TEST(FrontendPublish, WhatOneReadBringsIsStoredInOrderAndBeforeWhatFollows) {
  constexpr std::uint32_t kMessages = 40;
  amqp::ClientFrames frames;
  frames.header().open().begin(0).attach(0, 0, false, "q").attach(0, 1, false, "other");
  for (std::uint32_t i = 0; i < kMessages; ++i) {
    amqp::SimpleMessage message;
    message.message_id = "m" + std::to_string(i);
    message.body = as_bytes("body");
    frames.transfer(0, i % 2, i, as_text(amqp::encode_message(message)));
  }
  frames.transfer(0, 1, kMessages, "this is no message");
  frames.transfer(0, 7, kMessages + 1, "there is no link 7: the session ends");
  for (const std::size_t piece : {frames.bytes.size(), std::size_t{700}, std::size_t{64}, std::size_t{1}}) {
    TestNode node;
    node.declare("other");
    testing::Socket socket(node);
    std::string said;
    for (BytesView rest(frames.bytes); !rest.empty();) {
      const std::size_t n = std::min(piece, rest.size());
      socket.input(rest.first(n));
      rest = rest.subspan(n);
    }
    said = as_text(socket.output());
    EXPECT_EQ(node.stats(1).active + node.stats(2).active, kMessages) << "pieces of " << piece;
    EXPECT_NE(said.find("amqp:decode-error"), std::string::npos) << "told before the session ends";
    EXPECT_NE(said.find("amqp:session:unattached-handle"), std::string::npos);
    EXPECT_LT(said.find("amqp:decode-error"), said.find("amqp:session:unattached-handle"));
    std::uint32_t next = 0;
    for (const journal::Record& record : node.log.records()) {
      broker::StoredMessage message;
      if (record.header.type != journal::RecordType::message_stored) continue;
      ASSERT_TRUE(broker::read_stored_message(record, message));
      EXPECT_EQ(message.message_id, "m" + std::to_string(next++)) << "pieces of " << piece;
    }
    EXPECT_EQ(next, kMessages);
  }
}

// ---- admission

TEST(FrontendPublish, HeldMessagesGoInOrderWhenThereIsRoomAgain) {
  FrontendOptions options;
  options.limits.link_credit = 8;
  TestNode node(options);
  Client client(node);
  pn_link_t* one = client.to("q");
  pn_link_t* two = client.to("q");
  node.admission = {Admission::wait, {}};
  std::vector<pn_delivery_t*> sent;
  for (int i = 0; i < 8; ++i) sent.push_back(client.publish(i % 2 == 0 ? one : two, "m" + std::to_string(i)));
  client.run();
  EXPECT_EQ(node.frontend.held_publishes(), 8U);
  EXPECT_EQ(node.stats().active, 0U);
  node.frontend.admission_changed(node.clock.now(), node.clock.wall());
  EXPECT_EQ(node.frontend.held_publishes(), 8U) << "still no room";
  node.admission = {};
  node.frontend.admission_changed(node.clock.now(), node.clock.wall());
  node.pump();
  client.run();
  EXPECT_EQ(node.frontend.held_publishes(), 0U);
  for (pn_delivery_t* delivery : sent) EXPECT_EQ(pn_delivery_remote_state(delivery), PN_ACCEPTED);
  EXPECT_EQ(pn_link_credit(one), 8) << "granted again";
  std::vector<std::string> of_one, of_two;
  for (const std::string& id : client.take_ids(client.from("q", 20))) {
    ((id[1] - '0') % 2 == 0 ? of_one : of_two).push_back(id);
  }
  EXPECT_EQ(of_one, (std::vector<std::string>{"m0", "m2", "m4", "m6"}));
  EXPECT_EQ(of_two, (std::vector<std::string>{"m1", "m3", "m5", "m7"}));
}

TEST(FrontendPublish, AMessageBehindAHeldOneDoesNotOvertakeIt) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  node.admission = {Admission::wait, {}};
  client.publish(sender, "first");
  client.run();
  node.admission = {};
  client.publish(sender, "second");
  client.run();
  EXPECT_EQ(node.stats().active, 0U);
  node.frontend.admission_changed(node.clock.now(), node.clock.wall());
  node.pump();
  EXPECT_EQ(client.take_ids(client.from("q", 5)), (std::vector<std::string>{"first", "second"}));
}

TEST(FrontendPublish, ARefusedPublishEndsItsLinkAndNothingBehindItIsStored) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  pn_link_t* other = client.to("q");
  node.admission = {Admission::refused, {"com.microsoft:server-busy", "the disk is full"}};
  pn_delivery_t* refused = client.publish(sender, "refused");
  client.publish(sender, "behind");
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(refused), PN_REJECTED);
  EXPECT_EQ(condition_of(refused), "com.microsoft:server-busy");
  EXPECT_TRUE(ended(sender));
  EXPECT_EQ(condition_of(sender), "com.microsoft:server-busy");
  EXPECT_EQ(description_of(sender), "the disk is full");
  EXPECT_FALSE(ended(other));
  node.admission = {};
  client.publish(other, "elsewhere");
  client.run();
  EXPECT_EQ(client.take_ids(client.from("q", 5)), (std::vector<std::string>{"elsewhere"}));
}

TEST(FrontendPublish, AHeldPublishThatIsRefusedEndsItsLinkEvenWhenOthersMustWaitOn) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  pn_link_t* other = client.to("q");
  node.admission = {Admission::wait, {}};
  pn_delivery_t* refused = client.publish(sender, "refused");
  pn_delivery_t* behind = client.publish(sender, "behind");
  client.run();
  pn_delivery_t* waiting = client.publish(other, "waiting");
  client.run();
  // Refuses one, then has the rest wait.
  node.admission = {Admission::refused, {"com.microsoft:server-busy", "no room"}};
  node.after_next_answer = AdmissionAnswer{Admission::wait, {}};
  node.frontend.admission_changed(node.clock.now(), node.clock.wall());
  node.pump();
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(refused), PN_REJECTED);
  EXPECT_TRUE(ended(sender));
  EXPECT_EQ(pn_delivery_remote_state(waiting), 0U);
  EXPECT_EQ(node.frontend.held_publishes(), 1U) << "the one of the other link";
  node.admission = {};
  node.frontend.admission_changed(node.clock.now(), node.clock.wall());
  node.pump();
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(waiting), PN_ACCEPTED);
  EXPECT_NE(pn_delivery_remote_state(behind), PN_ACCEPTED);
  EXPECT_EQ(client.take_ids(client.from("q", 5)), (std::vector<std::string>{"waiting"}));
}

TEST(FrontendPublish, HeldBytesAreBoundedAndBeyondThemTheLinkEnds) {
  FrontendOptions options;
  options.held_publish_bytes_max = 6000;
  TestNode node(options);
  Client client(node);
  pn_link_t* sender = client.to("q");
  node.admission = {Admission::wait, {}};
  client.publish(sender, "held" + amqp::pattern(2000));
  pn_delivery_t* beyond = client.publish(sender, "beyond" + amqp::pattern(2000));
  pn_delivery_t* small = client.publish(sender, "small");
  client.run();
  EXPECT_EQ(condition_of(beyond), "com.microsoft:server-busy");
  EXPECT_EQ(pn_delivery_remote_state(small), PN_REJECTED) << "there would be room for it, but not in order";
  EXPECT_TRUE(ended(sender));
  node.admission = {};
  node.frontend.admission_changed(node.clock.now(), node.clock.wall());
  node.pump();
  EXPECT_EQ(node.stats().active, 0U) << "what was pipelined behind a refused message is not stored";
}

TEST(FrontendPublish, HeldPublishesGoWithTheirConnection) {
  FrontendOptions options;
  options.held_publish_bytes_max = 6000;
  options.limits.link_credit = 2;
  TestNode node(options);
  Client patient(node);
  pn_link_t* sender = patient.to("q");
  {
    Client client(node);
    pn_link_t* link = client.to("q");
    node.admission = {Admission::wait, {}};
    client.publish(link, "lost" + amqp::pattern(2000));
    client.run();
    EXPECT_EQ(node.frontend.held_publishes(), 1U);
    client.lose();
  }
  EXPECT_EQ(node.frontend.held_publishes(), 0U);
  patient.publish(sender, "kept" + amqp::pattern(2000));
  patient.run();
  EXPECT_FALSE(ended(sender)) << "the room of the lost one is free again";
  EXPECT_EQ(node.frontend.held_publishes(), 1U);
  node.admission = {};
  node.frontend.admission_changed(node.clock.now(), node.clock.wall());
  node.pump();
  EXPECT_EQ(node.stats().active, 1U);
}

TEST(FrontendPublish, TheReplayPropertyOfALinkReachesAdmission) {
  TestNode node;
  Client client(node);
  client.publish(client.to("q"), "plain");
  client.run();
  pn_link_t* replay = pn_sender(client.on, "replay");
  pn_terminus_set_address(pn_link_target(replay), "q");
  pn_data_t* properties = pn_link_properties(replay);
  pn_data_put_map(properties);
  pn_data_enter(properties);
  pn_data_put_symbol(properties, Client::bytes_of("product"));
  pn_data_put_string(properties, Client::bytes_of("archive"));
  pn_data_put_symbol(properties, Client::bytes_of("mainstay:archive-replay"));
  pn_data_put_bool(properties, true);
  pn_data_exit(properties);
  pn_link_open(replay);
  client.run();
  client.publish(replay, "archived");
  client.run();
  ASSERT_EQ(node.asked.size(), 2U);
  EXPECT_FALSE(node.asked[0].second);
  EXPECT_TRUE(node.asked[1].second);
}

// ---- connections

TEST(FrontendConnection, IsClosedByForceWhileTheNodeIsNotLive) {
  TestNode node;
  node.live = false;
  Client client(node);
  pn_condition_t* condition = pn_connection_remote_condition(client.connection());
  EXPECT_STREQ(pn_condition_get_name(condition), "amqp:connection:forced");
  EXPECT_STREQ(pn_condition_get_description(condition), "this node is the standby");
}

TEST(FrontendConnection, ALostOneWithPublishesPendingLeavesNoTrace) {
  TestNode node;
  node.commits = false;
  for (int round = 0; round < 3; ++round) {
    Client client(node);
    pn_link_t* sender = client.to("q");
    for (int i = 0; i < 5; ++i) client.publish(sender, "m");
    client.run();
    EXPECT_EQ(node.frontend.pending_answers(), 5U);
    client.lose();
    EXPECT_EQ(node.frontend.connections(), 0U);
    node.commit();
    EXPECT_EQ(node.frontend.pending_answers(), 0U) << "answered to nobody, and its slots are free";
  }
  EXPECT_EQ(node.stats().active, 15U) << "what was ordered is stored";
}

TEST(FrontendConnection, CloseAllTellsEveryClientAndFreesEveryConsumerAtOnce) {
  TestNode node;
  broker::QueueOptions with_sessions;
  with_sessions.requires_session = true;
  node.declare("s", with_sessions);
  Client one(node), two(node);
  pn_link_t* sender = one.to("q");
  one.from("q", 10);
  two.from("q", 10, true);
  two.accept("s", "A", 5);
  EXPECT_EQ(node.consumers(), 3U);
  node.frontend.close_all("switching to region b", node.clock.now(), node.clock.wall());
  EXPECT_EQ(node.consumers(), 0U) << "nobody may be given a message any more, even if the switch fails";
  node.pump();
  one.run();
  two.run();
  for (Client* client : {&one, &two}) {
    pn_condition_t* condition = pn_connection_remote_condition(client->connection());
    EXPECT_STREQ(pn_condition_get_name(condition), "amqp:connection:forced");
    EXPECT_STREQ(pn_condition_get_description(condition), "switching to region b");
  }
  one.publish(sender, "late");
  one.run();
  EXPECT_EQ(node.stats().active, 0U);
  node.check();
}

TEST(FrontendConnection, WhoStaysSilentAfterBeingClosedIsCutOffWithinSeconds) {
  TestNode node;
  Client client(node);
  node.tick();
  EXPECT_GT(node.frontend.next_deadline(), node.clock.now() + seconds(60));
  node.frontend.close_all("going", node.clock.now(), node.clock.wall());
  EXPECT_LE(node.frontend.next_deadline(), node.clock.now() + seconds(5)) << "asked again after close_all()";
  client.writes = false;
  client.run();
  EXPECT_FALSE(node.frontend.finished(client.id));
  for (int i = 0; i < 4; ++i) {
    node.clock.advance(std::max(node.frontend.next_deadline() - node.clock.now(), Duration{0}));
    node.tick();
  }
  EXPECT_TRUE(node.frontend.finished(client.id));
}

TEST(FrontendConnection, WhoBreaksTheProtocolAndStaysSilentIsCutOffWithinSeconds) {
  TestNode node;
  testing::Socket socket(node);
  amqp::ClientFrames frames;
  socket.input(frames.header().open().begin(0).bytes);
  node.tick();
  EXPECT_GT(node.frontend.next_deadline(), node.clock.now() + seconds(60));
  frames.bytes.clear();
  socket.input(frames.open().bytes);  // a second one
  socket.consumed(socket.output().size());
  EXPECT_FALSE(socket.finished());
  EXPECT_LE(node.frontend.next_deadline(), node.clock.now() + seconds(5));
  node.clock.advance(seconds(6));
  node.tick();
  EXPECT_TRUE(socket.finished());
}

TEST(FrontendConnection, WhoNeverOpensIsCutOffToo) {
  TestNode node;
  node.tick();
  testing::Socket socket(node);
  EXPECT_LE(node.frontend.next_deadline(), node.clock.now() + seconds(20));
  node.clock.advance(seconds(21));
  node.tick();
  EXPECT_TRUE(socket.finished());
}

}  // namespace
}  // namespace mainstay::frontend
