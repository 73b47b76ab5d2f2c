#include "client/connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "client/backoff.h"
#include "client/test_broker.h"

namespace mainstay::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Kind = SendOutcome::Kind;

constexpr Duration patience = seconds(20);

Buffer message(const std::string& id, const std::string& group = "", const std::string& body = "body") {
  pn_message_t* made = pn_message();
  const pn_bytes_t id_bytes{id.size(), id.data()};
  pn_atom_t atom{};
  atom.type = PN_STRING;
  atom.u.as_bytes = id_bytes;
  pn_message_set_id(made, atom);
  if (!group.empty()) pn_message_set_group_id(made, group.c_str());
  pn_data_put_binary(pn_message_body(made), pn_bytes(body.size(), body.data()));
  Buffer encoded(body.size() + 512);
  std::size_t size = encoded.size();
  MS_ASSERT(pn_message_encode(made, reinterpret_cast<char*>(encoded.data()), &size) == 0, "encodes");
  encoded.resize(size);
  pn_message_free(made);
  return encoded;
}

ClientOptions options(std::uint16_t port) {
  ClientOptions made;
  made.endpoints = {{"127.0.0.1", port}};
  return made;
}

std::unique_ptr<Connection> connect(const TestBroker& broker) {
  return Connection::connect(options(broker.port())).value();
}

Sender open_sender(Connection& connection, const std::string& address) {
  Sender sender = connection.open_sender(address);
  EXPECT_TRUE(connection.poll_until([&] { return sender.credit() > 0; }, patience).value());
  return sender;
}

std::vector<SendOutcome> await_outcomes(Connection& connection, Sender& sender, std::size_t count) {
  std::vector<SendOutcome> all, some;
  const auto got = connection.poll_until(
      [&] {
        sender.take_outcomes(some);
        all.insert(all.end(), some.begin(), some.end());
        return all.size() >= count;
      },
      patience);
  EXPECT_TRUE(got && *got) << all.size() << " of " << count;
  return all;
}

std::vector<Received> await_messages(Connection& connection, Receiver& receiver, std::size_t count) {
  std::vector<Received> all, some;
  const auto got = connection.poll_until(
      [&] {
        receiver.take(some);
        for (auto& one : some) all.push_back(std::move(one));
        return all.size() >= count;
      },
      patience);
  EXPECT_TRUE(got && *got) << all.size() << " of " << count;
  return all;
}

std::vector<Settlement> await_settlements(Connection& connection, Receiver& receiver, std::size_t count) {
  std::vector<Settlement> all, some;
  const auto got = connection.poll_until(
      [&] {
        receiver.take_settlements(some);
        all.insert(all.end(), some.begin(), some.end());
        return all.size() >= count;
      },
      patience);
  EXPECT_TRUE(got && *got) << all.size() << " of " << count;
  return all;
}

TEST(Client, SendsAreAnsweredAndArriveInOrder) {
  TestBroker broker("q");
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  for (std::uint64_t i = 0; i < 100; ++i) ASSERT_TRUE(sender.send(i + 7, message("m" + std::to_string(i))));
  const auto outcomes = await_outcomes(*connection, sender, 100);
  for (std::uint64_t i = 0; i < 100; ++i) {
    EXPECT_EQ(outcomes[i].tag, i + 7);
    EXPECT_EQ(outcomes[i].kind, Kind::accepted);
  }
  const auto ids = broker.with("q", [](auto& queue) { return queue.accepted_ids; });
  ASSERT_EQ(ids.size(), 100U);
  EXPECT_EQ(ids.front(), "m0");
  EXPECT_EQ(ids.back(), "m99");
  EXPECT_EQ(sender.unsettled(), 0U);
}

TEST(Client, NoCreditMeansNothingIsSent) {
  TestBroker broker("q");
  broker.credit = 2;
  broker.withhold_outcomes(true);
  const auto connection = connect(broker);
  Sender sender = connection->open_sender("q");
  EXPECT_FALSE(sender.send(1, message("early"))) << "the link is not open yet";
  ASSERT_TRUE(connection->poll_until([&] { return sender.credit() == 2; }, patience).value());
  EXPECT_TRUE(sender.send(1, message("a")));
  EXPECT_TRUE(sender.send(2, message("b")));
  EXPECT_FALSE(sender.send(3, message("c")));
}

TEST(Client, RejectionCarriesConditionAndDescription) {
  TestBroker broker("q");
  broker.set_reject([](const TestBroker::Stored& got) -> std::optional<TestBroker::Rejection> {
    if (got.id != "bad") return std::nullopt;
    return TestBroker::Rejection{"amqp:link:message-size-exceeded", "too large by 5"};
  });
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  sender.send(1, message("bad"));
  sender.send(2, message("good"));
  const auto outcomes = await_outcomes(*connection, sender, 2);
  EXPECT_EQ(outcomes[0].kind, Kind::rejected);
  EXPECT_EQ(outcomes[0].error.condition, "amqp:link:message-size-exceeded");
  EXPECT_THAT(outcomes[0].error.description, HasSubstr("too large by 5"));
  EXPECT_EQ(outcomes[1].kind, Kind::accepted);
}

TEST(Client, LostConnectionGivesEveryOpenSendAnUnknownOutcome) {  // H14
  TestBroker broker("q");
  broker.withhold_outcomes(true);
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  for (std::uint64_t i = 0; i < 5; ++i) sender.send(i, message("m" + std::to_string(i)));
  ASSERT_TRUE(
      connection
          ->poll_until(
              [&] { return broker.with("q", [](auto& queue) { return queue.accepted_ids.size(); }) == 5; },
              milliseconds(5))
          .has_value());
  while (broker.with("q", [](auto& queue) { return queue.accepted_ids.size(); }) < 5) {
    ASSERT_TRUE(connection->poll(milliseconds(1)));
  }
  broker.cut();
  const auto outcomes = await_outcomes(*connection, sender, 5);
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.kind, Kind::unknown);
  EXPECT_EQ(sender.state(), LinkState::closed);
  EXPECT_FALSE(connection->is_open());
  EXPECT_FALSE(connection->poll({0}));
}

TEST(Client, UnknownAddressClosesTheLinkOnly) {
  TestBroker broker("q");
  const auto connection = connect(broker);
  Sender lost = connection->open_sender("nowhere");
  Receiver lost_too = connection->open_receiver("nowhere");
  ASSERT_TRUE(
      connection
          ->poll_until(
              [&] { return lost.state() == LinkState::closed && lost_too.state() == LinkState::closed; },
              patience)
          .value());
  EXPECT_EQ(lost.error().condition, "amqp:not-found");
  EXPECT_THAT(lost.error().description, HasSubstr("nowhere"));
  EXPECT_EQ(lost_too.error().condition, "amqp:not-found");
  EXPECT_TRUE(open_sender(*connection, "q").send(1, message("m")));
}

TEST(Client, ServersCloseTellsItsCondition) {
  TestBroker broker("q");
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  broker.close_all("amqp:connection:forced");
  EXPECT_FALSE(connection->poll_until([] { return false; }, patience));
  EXPECT_EQ(connection->error().condition, "amqp:connection:forced");
  EXPECT_EQ(sender.error().condition, "amqp:connection:forced");
}

TEST(Client, EndpointsAreTriedInOrderAndTheErrorNamesAll) {  // H14
  TestBroker broker("q");
  std::uint16_t closed_port = 0;
  {
    TestBroker gone("q");
    closed_port = gone.port();
  }
  ClientOptions both = options(closed_port);
  both.endpoints.push_back({"127.0.0.1", broker.port()});
  EXPECT_EQ(Connection::connect(both).value()->endpoint_index(), 1U);

  const auto failed = Connection::connect(options(closed_port));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().condition, condition::unreachable);
  EXPECT_THAT(failed.error().description, HasSubstr("127.0.0.1:" + std::to_string(closed_port)));
}

TEST(Client, PeerThatAcceptsAndSaysNothingTimesOut) {
  const int silent = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(silent, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(silent, 1), 0);
  ::getsockname(silent, reinterpret_cast<sockaddr*>(&address), &size);
  ClientOptions impatient = options(ntohs(address.sin_port));
  impatient.connect_timeout = milliseconds(50);
  const auto failed = Connection::connect(impatient);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().condition, condition::timeout);
  ::close(silent);
}

TEST(Client, ReceivesWithPeekLockAndTheServerConfirmsEachSettlement) {  // D11
  TestBroker broker("q");
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  for (int i = 0; i < 4; ++i) sender.send(1, message("m" + std::to_string(i)));
  await_outcomes(*connection, sender, 4);

  Receiver receiver = connection->open_receiver("q");
  receiver.add_credit(4);
  const auto messages = await_messages(*connection, receiver, 4);
  EXPECT_EQ(messages[0].tag_bytes, 16);
  EXPECT_EQ(messages[0].message, message("m0"));
  EXPECT_EQ(receiver.unsettled(), 4U);
  receiver.complete(messages[0].handle);
  receiver.dead_letter(messages[1].handle, "BadKey", "no key");
  receiver.release(messages[2].handle);
  receiver.abandon(messages[3].handle);
  for (const auto& answer : await_settlements(*connection, receiver, 4)) {
    EXPECT_TRUE(answer.ok) << answer.error.description;
  }
  EXPECT_EQ(receiver.unsettled(), 0U);
  broker.with("q", [](auto& queue) {
    EXPECT_THAT(queue.completed_ids, ElementsAre("m0"));
    EXPECT_THAT(queue.dead, ElementsAre(std::pair<std::string, std::string>("m1", "BadKey")));
    EXPECT_EQ(queue.messages.size(), 2U);
    EXPECT_EQ(queue.messages.front().delivery_count, 0U);
    EXPECT_EQ(queue.messages.back().delivery_count, 1U);
  });
}

TEST(Client, ReceiveAndDeleteNeedsNoSettling) {
  TestBroker broker("q");
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  sender.send(1, message("m"));
  ReceiverOptions mode;
  mode.mode = ReceiveMode::receive_and_delete;
  Receiver receiver = connection->open_receiver("q", mode);
  receiver.add_credit(1);
  EXPECT_TRUE(await_messages(*connection, receiver, 1)[0].settled);
  EXPECT_TRUE(broker.with("q", [](auto& queue) { return queue.messages.empty(); }));
}

TEST(Client, LargeMessageCrossesInManyFrames) {
  TestBroker broker("q");
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  const Buffer large = message("large", "", std::string(1 << 20, 'x'));
  sender.send(1, large);
  await_outcomes(*connection, sender, 1);
  Receiver receiver = connection->open_receiver("q");
  receiver.add_credit(1);
  EXPECT_EQ(await_messages(*connection, receiver, 1)[0].message, large);
}

TEST(Client, NextAvailableSessionIsHeldAloneAndDrained) {  // D20
  TestBroker::Queue with_sessions;
  with_sessions.sessions = true;
  TestBroker broker("q", with_sessions);
  const auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  for (const char* group : {"A", "B", "A"}) sender.send(1, message("m", group));
  await_outcomes(*connection, sender, 3);

  ReceiverOptions next;
  next.session = ReceiverOptions::Session::next_available;
  Receiver first = connection->open_receiver("q", next);
  ASSERT_TRUE(connection->poll_until([&] { return first.state() == LinkState::open; }, patience).value());
  EXPECT_EQ(first.session_id(), "A");
  EXPECT_EQ(first.session_locked_until(), (WallTime{1'700'000'030'000}));
  Receiver second = connection->open_receiver("q", next);
  ASSERT_TRUE(connection->poll_until([&] { return second.state() == LinkState::open; }, patience).value());
  EXPECT_EQ(second.session_id(), "B");

  first.drain(10);
  EXPECT_FALSE(first.drained());
  ASSERT_TRUE(connection->poll_until([&] { return first.drained(); }, patience).value());
  std::vector<Received> got;
  first.take(got);
  EXPECT_EQ(got.size(), 2U);
  EXPECT_EQ(first.credit(), 0U);

  ReceiverOptions named;
  named.session = ReceiverOptions::Session::named;
  named.session_id = "A";
  Receiver third = connection->open_receiver("q", named);
  ASSERT_TRUE(connection->poll_until([&] { return third.state() == LinkState::closed; }, patience).value());
  EXPECT_EQ(third.error().condition, "com.microsoft:session-cannot-be-locked");
  first.close();
  ASSERT_TRUE(connection->poll({0}));
  bool taken = false;
  for (int tries = 0; tries < 1000 && !taken; ++tries) {
    Receiver again = connection->open_receiver("q", named);
    ASSERT_TRUE(
        connection->poll_until([&] { return again.state() != LinkState::opening; }, patience).value());
    taken = again.state() == LinkState::open;
  }
  EXPECT_TRUE(taken) << "closing the receiver frees its session";
}

TEST(Client, NoSessionInTimeIsItsOwnCondition) {
  TestBroker::Queue with_sessions;
  with_sessions.sessions = true;
  TestBroker broker("q", with_sessions);
  const auto connection = connect(broker);
  ReceiverOptions next;
  next.session = ReceiverOptions::Session::next_available;
  next.session_timeout = milliseconds(20);
  Receiver receiver = connection->open_receiver("q", next);
  ASSERT_TRUE(
      connection->poll_until([&] { return receiver.state() == LinkState::closed; }, patience).value());
  EXPECT_EQ(receiver.error().condition, condition::no_session);
}

TEST(Client, LinksMayOutliveTheirConnection) {
  TestBroker broker("q");
  auto connection = connect(broker);
  Sender sender = open_sender(*connection, "q");
  Receiver receiver = connection->open_receiver("q");
  connection.reset();
  EXPECT_EQ(sender.state(), LinkState::closed);
  EXPECT_FALSE(sender.send(1, message("m")));
  receiver.add_credit(1);
  EXPECT_EQ(receiver.state(), LinkState::closed);
}

TEST(Client, ThousandsOfLinksOnOneConnection) {
  TestBroker::Queue with_sessions;
  with_sessions.sessions = true;
  TestBroker broker("q", with_sessions);
  const auto connection = connect(broker);
  ReceiverOptions named;
  named.session = ReceiverOptions::Session::named;
  for (int i = 0; i < 2000; ++i) {
    named.session_id = std::to_string(i);
    Receiver receiver = connection->open_receiver("q", named);
    if (i % 100 == 0) {
      ASSERT_TRUE(
          connection->poll_until([&] { return receiver.state() == LinkState::open; }, patience).value());
    }
  }
}

TEST(BackoffTest, DoublesWithinJitterUpToTheLimitAndStartsAgainAfterSuccess) {
  SeededRandom random(4711);
  Backoff backoff(random, {milliseconds(100), milliseconds(1000)});
  for (const std::int64_t step_ms : {100, 200, 400, 800, 1000, 1000}) {
    const Duration wait = backoff.next();
    EXPECT_GE(wait, milliseconds(step_ms / 2));
    EXPECT_LE(wait, milliseconds(step_ms));
  }
  backoff.reset();
  EXPECT_LE(backoff.next(), milliseconds(100));
}

TEST(BackoffTest, TwoClientsDoNotComeBackInStep) {
  SeededRandom one(1), two(2);
  Backoff a(one), b(two);
  EXPECT_NE(a.next(), b.next());
}

}  // namespace
}  // namespace mainstay::client
