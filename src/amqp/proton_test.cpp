// Qpid Proton's engine as the client of ours (D13, N5).
#include <gtest/gtest.h>

#include "amqp/message.h"
#include "amqp/proton_client.h"
#include "amqp/test_server.h"
#include "base/random.h"

namespace mainstay::amqp {
namespace {

/// A test server's engine behind the byte queues.
class EngineEnd : public ByteServer {
 public:
  explicit EngineEnd(TestServer& server) : server_(server) {}
  void input(BytesView bytes) override { server_.engine->input(bytes, now); }
  BytesView output() override { return server_.engine->output(); }
  void consumed(std::size_t bytes) override { server_.engine->consumed(bytes); }
  bool finished() override { return server_.engine->finished(); }

  Instant now{1'000'000'000};

 private:
  TestServer& server_;
};

class Client : public EngineEnd, public ProtonClient {
 public:
  explicit Client(TestServer& server) : EngineEnd(server), ProtonClient(static_cast<EngineEnd&>(*this)) {}
};

DeliveryRef give(TestServer& server, LinkId link, const std::string& payload, bool settled,
                 std::uint64_t tag) {
  std::array<std::byte, 16> bytes{};
  store_be(bytes.data(), tag);
  const BytesView part = as_bytes(payload);
  return server.engine->send(link, bytes, 0, settled, std::span(&part, 1));
}

TEST(ProtonClient, OpensAnonymously) {
  TestServer server;
  Client client(server);
  client.anonymous();
  client.open();
  EXPECT_EQ(server.sasl.mechanism, "ANONYMOUS");
  EXPECT_EQ(server.container, "proton-client");
  EXPECT_EQ(server.host, "namespace.example");
  EXPECT_STREQ(pn_connection_remote_container(client.connection()), "mainstay-test");
  EXPECT_EQ(pn_transport_get_remote_max_frame(client.transport()), 65536U);
  EXPECT_EQ(pn_transport_get_remote_idle_timeout(client.transport()), 120000U);
  pn_connection_close(client.connection());
  client.run();
  EXPECT_EQ(server.closed_calls, 1);
  EXPECT_FALSE(server.closed);
  EXPECT_TRUE(server.engine->finished());
  EXPECT_EQ(pn_connection_state(client.connection()), PN_LOCAL_CLOSED | PN_REMOTE_CLOSED);
}

TEST(ProtonClient, OpensWithoutSaslLayer) {
  TestServer server;
  Client client(server);
  client.open();
  EXPECT_EQ(server.sasl.mechanism, "ANONYMOUS");
  EXPECT_EQ(server.container, "proton-client");
  EXPECT_EQ(client.transport_error, "");
}

TEST(ProtonClient, GivesUserAndPassword) {
  TestServer server;
  Client client(server);
  client.login("payments", "s3cret");
  client.open();
  EXPECT_EQ(server.sasl.mechanism, "PLAIN");
  EXPECT_EQ(server.sasl.user, "payments");
  EXPECT_EQ(server.sasl.password, "s3cret");
  EXPECT_EQ(server.container, "proton-client");
}

TEST(ProtonClient, IsTurnedAwayWithAWrongPassword) {
  TestServer server;
  server.let_in = [](const SaslRequest& request) { return request.password == "right"; };
  Client client(server);
  client.login("payments", "wrong");
  client.open();
  EXPECT_EQ(server.container, "");
  ASSERT_TRUE(server.closed);
  EXPECT_EQ(server.closed->symbol, "amqp:unauthorized-access");
  EXPECT_NE(client.transport_error.find("amqp:unauthorized-access"), std::string::npos)
      << client.transport_error;
  EXPECT_TRUE(server.engine->finished());
}

TEST(ProtonClient, SendsAndIsToldOfEveryOutcome) {
  TestServer server;
  server.accept_transfers = false;
  Client client(server);
  client.open();
  pn_link_t* sender = client.sender(client.session(), "s", "orders");
  client.run();
  EXPECT_EQ(pn_link_credit(sender), 100);
  EXPECT_EQ(pn_link_remote_max_message_size(sender), 1U << 20);
  EXPECT_STREQ(pn_terminus_get_address(pn_link_remote_target(sender)), "orders");
  ASSERT_EQ(server.order.size(), 1U);
  EXPECT_EQ(server.attached[server.order[0]].address, "orders");

  std::vector<pn_delivery_t*> sent;
  for (int i = 0; i < 5; ++i) sent.push_back(client.put(sender, "message " + std::to_string(i)));
  client.run();
  ASSERT_EQ(server.transfers.size(), 5U);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(server.transfers[static_cast<std::size_t>(i)].payload, "message " + std::to_string(i));
  EXPECT_FALSE(server.transfers[0].settled);

  Outcome rejected = outcome_of(Outcome::Type::rejected);
  rejected.error = Condition{"amqp:not-allowed", "the queue is closed"};
  Outcome modified = outcome_of(Outcome::Type::modified);
  modified.delivery_failed = true;
  auto& engine = *server.engine;
  const auto frames = engine.counters().frames_out;
  engine.settle_incoming(server.transfers[0].delivery, outcome_of(Outcome::Type::accepted));
  engine.settle_incoming(server.transfers[1].delivery, outcome_of(Outcome::Type::accepted));
  engine.settle_incoming(server.transfers[2].delivery, rejected);
  engine.settle_incoming(server.transfers[3].delivery, outcome_of(Outcome::Type::released));
  engine.settle_incoming(server.transfers[4].delivery, modified);
  client.run();
  EXPECT_EQ(engine.counters().frames_out - frames, 4U) << "the two accepted ones fold";
  EXPECT_EQ(pn_delivery_remote_state(sent[0]), PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(sent[1]), PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(sent[2]), PN_REJECTED);
  pn_condition_t* condition = pn_disposition_condition(pn_delivery_remote(sent[2]));
  EXPECT_STREQ(pn_condition_get_name(condition), "amqp:not-allowed");
  EXPECT_STREQ(pn_condition_get_description(condition), "the queue is closed");
  EXPECT_EQ(pn_delivery_remote_state(sent[3]), PN_RELEASED);
  EXPECT_EQ(pn_delivery_remote_state(sent[4]), PN_MODIFIED);
  EXPECT_TRUE(pn_disposition_is_failed(pn_delivery_remote(sent[4])));
  for (pn_delivery_t* delivery : sent) {
    EXPECT_TRUE(pn_delivery_settled(delivery));
    pn_delivery_settle(delivery);
  }
  EXPECT_EQ(client.transport_error, "");
}

TEST(ProtonClient, SendsSettledMessagesWithoutAnAnswer) {
  TestServer server;
  Client client(server);
  client.open();
  pn_link_t* sender = pn_sender(client.session(), "s");
  pn_link_set_snd_settle_mode(sender, PN_SND_SETTLED);
  pn_terminus_set_address(pn_link_target(sender), "q");
  pn_link_open(sender);
  client.run();
  EXPECT_EQ(pn_link_remote_snd_settle_mode(sender), PN_SND_SETTLED);
  for (int i = 0; i < 300; ++i) {
    pn_delivery_settle(client.put(sender, pattern(200)));
    if (pn_link_credit(sender) == 0) client.run();
  }
  client.run();
  EXPECT_EQ(server.transfers.size(), 300U);
  for (const auto& transfer : server.transfers) EXPECT_TRUE(transfer.settled);
}

TEST(ProtonClient, SendsAMessageOverManyFramesAndOneTooLarge) {
  EngineOptions options;
  options.limits.max_frame_bytes = 4096;
  TestServer server(options);
  Client client(server);
  client.open();
  pn_link_t* sender = client.sender(client.session(), "s", "q");
  client.run();
  const std::string large = pattern(1U << 20);
  pn_delivery_t* first = client.put(sender, large);
  pn_delivery_t* second = client.put(sender, large + "!");
  pn_delivery_t* third = client.put(sender, "small");
  client.run();
  ASSERT_EQ(server.transfers.size(), 2U);
  EXPECT_EQ(server.transfers[0].payload, large);
  EXPECT_EQ(server.transfers[1].payload, "small");
  EXPECT_EQ(pn_delivery_remote_state(first), PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(third), PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(second), PN_REJECTED);
  pn_condition_t* condition = pn_disposition_condition(pn_delivery_remote(second));
  EXPECT_STREQ(pn_condition_get_name(condition), "amqp:link:message-size-exceeded");
  EXPECT_STREQ(pn_condition_get_description(condition),
               "the message has 1048577 bytes, the limit is 1048576 bytes");
  ASSERT_EQ(server.oversize.size(), 1U);
  EXPECT_EQ(server.oversize[0].second, (1U << 20) + 1U);
  EXPECT_EQ(pn_link_state(sender), PN_LOCAL_ACTIVE | PN_REMOTE_ACTIVE) << "the link stays";
}

TEST(ProtonClient, AbortsAMessageHalfWay) {
  EngineOptions options;
  options.limits.max_frame_bytes = 1024;
  TestServer server(options);
  Client client(server);
  client.open();
  pn_link_t* sender = client.sender(client.session(), "s", "q");
  client.run();
  pn_delivery_t* half = pn_delivery(sender, pn_dtag("half", 4));
  const std::string part = pattern(10000);
  pn_link_send(sender, part.data(), part.size());
  client.run();
  EXPECT_GT(server.engine->memory_bytes(), 9000U);
  pn_delivery_abort(half);
  client.run();
  pn_delivery_t* whole = client.put(sender, "whole");
  client.run();
  ASSERT_EQ(server.transfers.size(), 1U);
  EXPECT_EQ(server.transfers[0].payload, "whole");
  EXPECT_EQ(pn_delivery_remote_state(whole), PN_ACCEPTED);
}

TEST(ProtonClient, ReceivesWithinItsCreditAndSettles) {
  TestServer server;
  std::vector<LinkId> receivers;
  Client client(server);
  client.open();
  pn_link_t* receiver = client.receiver(client.session(), "r", "orders", 3);
  client.run();
  const LinkId link = server.order.at(0);
  ASSERT_EQ(server.credits.size(), 1U);
  EXPECT_EQ(server.credits[0].credit, 3U);
  EXPECT_FALSE(server.credits[0].drain);
  std::vector<DeliveryRef> given;
  for (std::uint64_t i = 0; server.engine->can_send(link); ++i) {
    given.push_back(give(server, link, "m" + std::to_string(i), false, i));
  }
  EXPECT_EQ(given.size(), 3U);
  client.run();
  std::vector<pn_delivery_t*> got;
  for (int i = 0; i < 3; ++i) {
    pn_delivery_t* delivery = pn_link_current(receiver);
    ASSERT_NE(delivery, nullptr);
    EXPECT_EQ(pn_delivery_tag(delivery).size, 16U);
    EXPECT_EQ(taken(delivery), "m" + std::to_string(i));
    got.push_back(delivery);
    pn_link_advance(receiver);
  }
  pn_delivery_update(got[0], PN_ACCEPTED);
  pn_delivery_settle(got[0]);
  pn_delivery_update(got[1], PN_RELEASED);
  pn_disposition_set_failed(pn_delivery_local(got[2]), true);
  pn_delivery_update(got[2], PN_MODIFIED);
  client.run();
  std::map<DeliveryRef, TestServer::Told> told;  // Proton tells them in an order of its own
  for (const auto& one : server.told) told[one.delivery] = one;
  ASSERT_EQ(told.size(), 3U);
  EXPECT_TRUE(told[given[0]].settled);
  EXPECT_EQ(told[given[0]].outcome.type, Outcome::Type::accepted);
  EXPECT_FALSE(told[given[1]].settled);
  EXPECT_EQ(told[given[1]].outcome.type, Outcome::Type::released);
  EXPECT_EQ(told[given[2]].outcome.type, Outcome::Type::modified);
  EXPECT_TRUE(told[given[2]].outcome.delivery_failed);
  EXPECT_TRUE(pn_delivery_settled(got[1]));
  EXPECT_EQ(pn_delivery_remote_state(got[1]), PN_RELEASED);
  EXPECT_TRUE(pn_delivery_settled(got[2]));
  pn_delivery_settle(got[1]);
  pn_delivery_settle(got[2]);
  EXPECT_EQ(client.transport_error, "");
}

TEST(ProtonClient, RejectsWithAnErrorThatReachesTheHandler) {
  TestServer server;
  Client client(server);
  client.open();
  pn_link_t* receiver = client.receiver(client.session(), "r", "q", 1);
  client.run();
  give(server, server.order.at(0), "bad", false, 1);
  client.run();
  pn_delivery_t* delivery = pn_link_current(receiver);
  ASSERT_NE(delivery, nullptr);
  pn_condition_t* condition = pn_disposition_condition(pn_delivery_local(delivery));
  pn_condition_set_name(condition, "com.microsoft:dead-letter");
  pn_condition_set_description(condition, "broken");
  pn_data_t* info = pn_condition_info(condition);
  pn_data_put_map(info);
  pn_data_enter(info);
  pn_data_put_symbol(info, pn_bytes(16, "DeadLetterReason"));
  pn_data_put_string(info, pn_bytes(4, "test"));
  pn_data_exit(info);
  pn_delivery_update(delivery, PN_REJECTED);
  client.run();
  ASSERT_EQ(server.told.size(), 1U);
  ASSERT_TRUE(server.told[0].outcome.error);
  EXPECT_EQ(server.told[0].outcome.error->symbol, "com.microsoft:dead-letter");
  EXPECT_EQ(server.told[0].outcome.error->description, "broken");
  EXPECT_NE(as_text(server.told[0].outcome.map).find("DeadLetterReason"), std::string::npos);
  EXPECT_EQ(pn_delivery_remote_state(delivery), PN_REJECTED);
  EXPECT_FALSE(pn_condition_is_set(pn_disposition_condition(pn_delivery_remote(delivery))));
  EXPECT_TRUE(pn_delivery_settled(delivery));
  pn_delivery_settle(delivery);
}

TEST(ProtonClient, ReceivesAMessageOverManyFramesThroughASmallWindow) {
  TestServer server;
  Client client(server);
  pn_transport_set_max_frame(client.transport(), 1024);
  client.open();
  pn_session_t* session = pn_session(client.connection());
  pn_session_set_incoming_capacity(session, 8192);  // eight frames at a time
  pn_session_open(session);
  pn_link_t* receiver = client.receiver(session, "r", "q", 10);
  client.run();
  const LinkId link = server.order.at(0);
  const std::string large = pattern(200'000);
  give(server, link, large, true, 1);
  EXPECT_FALSE(server.engine->can_send(link)) << "the rest of the message waits for the window";
  std::string got;
  for (int round = 0; round < 1000; ++round) {
    client.run();
    pn_delivery_t* delivery = pn_link_current(receiver);
    if (delivery == nullptr) continue;
    got += taken(delivery);
    if (!pn_delivery_partial(delivery)) {
      pn_link_advance(receiver);
      pn_delivery_settle(delivery);
      break;
    }
  }
  client.run();
  EXPECT_EQ(got, large);
  EXPECT_TRUE(server.engine->can_send(link));
  EXPECT_EQ(client.transport_error, "");
}

TEST(ProtonClient, DrainsItsCredit) {
  TestServer server;
  server.take_credit = [&](const TestServer::Credit& credit) {
    if (credit.drain) {
      if (server.engine->can_send(credit.link)) give(server, credit.link, "last", true, 1);
      server.engine->drained(credit.link);
    }
  };
  Client client(server);
  client.open();
  pn_link_t* receiver = client.receiver(client.session(), "r", "q", 0);
  client.run();
  pn_link_drain(receiver, 10);
  client.run();
  EXPECT_EQ(pn_link_credit(receiver), 1) << "one is there to be taken, nine were drained";
  EXPECT_FALSE(pn_link_draining(receiver));
  pn_delivery_t* delivery = pn_link_current(receiver);
  ASSERT_NE(delivery, nullptr);
  EXPECT_EQ(taken(delivery), "last");
  pn_link_advance(receiver);
  pn_delivery_settle(delivery);
  EXPECT_EQ(pn_link_credit(receiver), 0);
  pn_link_set_drain(receiver, false);
  pn_link_flow(receiver, 2);
  client.run();
  EXPECT_TRUE(server.engine->can_send(server.order.at(0)));
}

TEST(ProtonClient, IsRefusedALinkWithTheReason) {
  TestServer server;
  server.answer_attach = [&](LinkId link, const AttachRequest& request) {
    server.engine->refuse(
        link, {"amqp:not-found", "The messaging entity '" + request.address + "' could not be found"});
  };
  Client client(server);
  client.open();
  pn_session_t* session = client.session();
  pn_link_t* sender = client.sender(session, "s", "nowhere");
  pn_link_t* receiver = client.receiver(session, "r", "nowhere", 5);
  client.run();
  for (pn_link_t* link : {sender, receiver}) {
    EXPECT_EQ(pn_link_state(link), PN_LOCAL_ACTIVE | PN_REMOTE_CLOSED);
    EXPECT_STREQ(pn_condition_get_name(pn_link_remote_condition(link)), "amqp:not-found");
  }
  EXPECT_EQ(pn_terminus_get_type(pn_link_remote_target(sender)), PN_UNSPECIFIED);
  EXPECT_EQ(pn_terminus_get_type(pn_link_remote_source(receiver)), PN_UNSPECIFIED);
  pn_link_close(sender);
  pn_link_close(receiver);
  client.run();
  EXPECT_TRUE(server.detached.empty()) << "a refused link is dead without a word";
  server.answer_attach = nullptr;
  pn_link_t* again = client.sender(session, "s2", "somewhere");
  client.run();
  EXPECT_EQ(pn_link_state(again), PN_LOCAL_ACTIVE | PN_REMOTE_ACTIVE);
}

TEST(ProtonClient, OpensThousandsOfSessionsAndReusesThem) {
  TestServer server;
  Client client(server);
  client.open();
  constexpr int kSessions = 2000;
  std::vector<pn_session_t*> sessions;
  std::vector<pn_link_t*> senders;
  for (int i = 0; i < kSessions; ++i) {
    sessions.push_back(client.session());
    senders.push_back(client.sender(sessions.back(), ("s" + std::to_string(i)).c_str(), "q"));
    client.receiver(sessions.back(), ("r" + std::to_string(i)).c_str(), "q", 1);
  }
  client.run();
  EXPECT_EQ(server.attached.size(), 2U * kSessions);
  for (pn_link_t* sender : senders) client.put(sender, "x");
  client.run();
  EXPECT_EQ(server.transfers.size(), static_cast<std::size_t>(kSessions));
  for (std::size_t i = 0; i < sessions.size(); i += 2) pn_session_close(sessions[i]);
  client.run();
  EXPECT_EQ(server.attached.size(), static_cast<std::size_t>(kSessions));
  for (std::size_t i = 0; i < sessions.size(); i += 2) {
    pn_session_free(sessions[i]);
    client.sender(client.session(), ("again" + std::to_string(i)).c_str(), "q");
  }
  client.run();
  EXPECT_EQ(server.attached.size(), 1.5 * kSessions);
  EXPECT_EQ(client.transport_error, "");
  pn_connection_close(client.connection());
  client.run();
  EXPECT_TRUE(server.attached.empty());
  EXPECT_EQ(server.closed_calls, 1);
}

TEST(ProtonClient, SeesAForcedClose) {
  TestServer server;
  Client client(server);
  client.open();
  client.sender(client.session(), "s", "q");
  client.run();
  server.engine->close({"amqp:connection:forced", "the region is being switched"}, client.now);
  client.run();
  pn_condition_t* condition = pn_connection_remote_condition(client.connection());
  EXPECT_STREQ(pn_condition_get_name(condition), "amqp:connection:forced");
  EXPECT_STREQ(pn_condition_get_description(condition), "the region is being switched");
  EXPECT_EQ(server.closed_calls, 0) << "not before the client has answered";
  pn_connection_close(client.connection());
  client.run();
  EXPECT_EQ(server.closed_calls, 1);
  EXPECT_EQ(server.detached.size(), 1U);
  EXPECT_TRUE(server.engine->finished());
}

TEST(ProtonClient, SettlesSecondWhenTheLinkSaysSo) {
  TestServer server;
  Client client(server);
  client.open();
  pn_session_t* session = client.session();
  pn_link_t* sender = pn_sender(session, "s");
  pn_terminus_set_address(pn_link_target(sender), "q");
  pn_link_set_rcv_settle_mode(sender, PN_RCV_SECOND);
  pn_link_open(sender);
  client.run();
  EXPECT_EQ(pn_link_remote_rcv_settle_mode(sender), PN_RCV_SECOND);
  pn_delivery_t* delivery = client.put(sender, "x");
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(delivery), PN_ACCEPTED);
  EXPECT_FALSE(pn_delivery_settled(delivery)) << "the sender settles first";
  pn_delivery_settle(delivery);
  client.run();
  // Settled again by mistake: nothing may come of it.
  server.engine->settle_incoming(server.transfers.at(0).delivery, outcome_of(Outcome::Type::accepted));
  EXPECT_EQ(client.run(), 0U);
  EXPECT_EQ(client.transport_error, "");
}

TEST(ProtonClient, SettlesARangeOfMessagesAtOnce) {
  TestServer server;
  Client client(server);
  client.open();
  pn_session_t* session = client.session();
  pn_link_t* one = client.receiver(session, "r1", "q1", 500);
  pn_link_t* two = client.receiver(session, "r2", "q2", 500);
  client.run();
  std::vector<DeliveryRef> given;
  for (std::uint64_t i = 0; i < 1000; ++i)
    given.push_back(give(server, server.order.at(i % 2), "m", false, i));
  client.run();
  for (int i = 0; i < 500; ++i) {
    for (pn_link_t* link : {one, two}) {
      pn_delivery_t* delivery = pn_link_current(link);
      ASSERT_NE(delivery, nullptr);
      pn_link_advance(link);
      pn_delivery_update(delivery, PN_ACCEPTED);
      pn_delivery_settle(delivery);
    }
  }
  client.run();
  ASSERT_EQ(server.told.size(), 1000U);
  for (std::size_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(server.told[i].delivery, given[i]);
    EXPECT_EQ(server.told[i].link, server.order[i % 2]);
  }
}

// Random traffic both ways: everything that was sent arrives once, in order, unchanged.
TEST(ProtonClient, CarriesRandomTrafficUnchanged) {
  for (std::uint64_t round = 0; round < 8; ++round) {
    SeededRandom random(test_seed() + round);
    SCOPED_TRACE("MAINSTAY_SEED=" + std::to_string(test_seed()) + " round " + std::to_string(round));
    EngineOptions options;
    options.limits.max_frame_bytes = static_cast<std::uint32_t>(random.between(512, 9000));
    options.limits.incoming_window = static_cast<std::uint32_t>(random.between(2, 50));
    TestServer server(options);
    server.credit = static_cast<std::uint32_t>(random.between(1, 30));
    Client client(server);
    pn_transport_set_max_frame(client.transport(), static_cast<std::uint32_t>(random.between(512, 9000)));
    client.open();
    pn_session_t* session = client.session();
    pn_link_t* sender = client.sender(session, "s", "in");
    pn_link_t* receiver = client.receiver(session, "r", "out", 5);
    client.run();
    std::vector<std::string> sent, arrived, given;
    std::vector<pn_delivery_t*> open;
    std::string partial;
    for (int step = 0; step < 400; ++step) {
      if (pn_link_credit(sender) > 0 && random.chance(1, 2)) {
        sent.push_back(pattern(random.below(random.chance(1, 8) ? 30'000 : 600) + 1));
        pn_delivery_t* delivery = client.put(sender, sent.back());
        if (random.chance(1, 4)) {
          pn_delivery_settle(delivery);
        } else {
          open.push_back(delivery);
        }
      }
      if (server.engine->can_send(server.order.at(1)) && random.chance(1, 2)) {
        given.push_back(pattern(random.below(random.chance(1, 8) ? 30'000 : 600) + 1));
        give(server, server.order[1], given.back(), random.chance(1, 2), given.size());
      }
      if (random.chance(1, 3)) client.run();
      while (pn_delivery_t* delivery = pn_link_current(receiver)) {
        if (pn_delivery_partial(delivery)) {
          partial += taken(delivery);
          break;
        }
        arrived.push_back(partial + taken(delivery));
        partial.clear();
        pn_link_advance(receiver);
        pn_delivery_update(delivery, PN_ACCEPTED);
        pn_delivery_settle(delivery);
        pn_link_flow(receiver, 1);
      }
    }
    for (int i = 0; i < 200; ++i) {
      client.run();
      pn_delivery_t* delivery = pn_link_current(receiver);
      if (delivery == nullptr) continue;
      partial += taken(delivery);
      if (pn_delivery_partial(delivery)) continue;
      arrived.push_back(partial);
      partial.clear();
      pn_link_advance(receiver);
      pn_delivery_update(delivery, PN_ACCEPTED);
      pn_delivery_settle(delivery);
    }
    ASSERT_EQ(client.transport_error, "");
    ASSERT_EQ(server.transfers.size(), sent.size());
    for (std::size_t i = 0; i < sent.size(); ++i) ASSERT_EQ(server.transfers[i].payload, sent[i]);
    ASSERT_EQ(arrived.size(), given.size());
    for (std::size_t i = 0; i < given.size(); ++i) ASSERT_EQ(arrived[i], given[i]);
    for (pn_delivery_t* delivery : open) {
      EXPECT_EQ(pn_delivery_remote_state(delivery), PN_ACCEPTED);
      pn_delivery_settle(delivery);
    }
  }
}

}  // namespace
}  // namespace mainstay::amqp
