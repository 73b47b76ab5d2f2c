// The `$management` node on the wire: links, answers, locks renewed and messages settled by token.
#include "frontend/frontend_test_support.h"
#include "frontend/management_test_support.h"

namespace mainstay::frontend {
namespace {

using testing::Client;
using testing::condition_of;
using testing::description_of;
using testing::encode_request;
using testing::ended;
using testing::entry;
using testing::fill;
using testing::lock_tokens;
using testing::ResponseText;
using testing::sequence_numbers;
using testing::TestNode;
using testing::text;

/// A pair of links to a node, as the JavaScript SDK makes it: the receiver's name is its address and the
/// reply-to.
class Requester {
 public:
  explicit Requester(Client& client, const std::string& entity = "q", int credit = 100,
                     std::string name = "reply")
      : client_(client), name_(std::move(name)) {
    const std::string address = entity + "/$management";
    to = client.sender(client.on, (name_ + "-out").c_str(), address.c_str());
    from = pn_receiver(client.on, name_.c_str());
    pn_terminus_set_address(pn_link_source(from), address.c_str());
    pn_terminus_set_address(pn_link_target(from), name_.c_str());
    pn_link_open(from);
    if (credit > 0) pn_link_flow(from, credit);
    client.run();
  }
  pn_delivery_t* send(const std::string& operation, testing::Entries body = {}, std::string id = {}) {
    if (id.empty()) id = "r" + std::to_string(++sent_);
    const Buffer bytes = encode_request({"com.microsoft:" + operation, id, name_, std::move(body)});
    pn_delivery_t* delivery = client_.put(to, std::string(as_text(bytes)));
    client_.run();
    return delivery;
  }
  std::optional<ResponseText> take() {
    if (client_.take(from) == nullptr) return std::nullopt;
    return testing::read_response(as_bytes(client_.taken));
  }
  ResponseText ask(const std::string& operation, testing::Entries body = {}) {
    send(operation, std::move(body));
    const auto response = take();
    EXPECT_TRUE(response) << operation << " was not answered";
    return response.value_or(ResponseText{});
  }

  pn_link_t* to = nullptr;
  pn_link_t* from = nullptr;

 private:
  Client& client_;
  std::string name_;
  int sent_ = 0;
};

Uuid token_of(pn_delivery_t* delivery) {
  const pn_delivery_tag_t tag = pn_delivery_tag(delivery);
  Uuid out;
  EXPECT_EQ(tag.size, 16U);
  std::memcpy(out.bytes.data(), tag.start, 16);
  return out;
}

// ---- links

TEST(FrontendManagement, ARequestIsSettledAndAnsweredByItsId) {
  TestNode node;
  Client client(node);
  Requester requester(client);
  EXPECT_GE(pn_link_credit(requester.to), 50);
  pn_delivery_t* request = requester.send("no-such-thing", {}, "id-x");
  EXPECT_EQ(pn_delivery_remote_state(request), PN_ACCEPTED);
  EXPECT_TRUE(pn_delivery_settled(request));
  const ResponseText response = requester.take().value();
  EXPECT_EQ(response.correlation_id, "id-x");
  EXPECT_EQ(response.to, "reply");
  EXPECT_EQ(response.status, 501);
  EXPECT_EQ(response.condition, "amqp:not-implemented");
  EXPECT_NE(response.description.find("no-such-thing"), std::string::npos) << response.description;
  EXPECT_EQ(node.frontend.counters().requests_refused, 1U);
}

TEST(FrontendManagement, AnUnknownEntityIsRefusedAtAttach) {
  TestNode node;
  Client client(node);
  for (pn_link_t* link : {client.to("nowhere/$management"),
                          client.from("nowhere/$DeadLetterQueue/$management", 1), client.to("$management")}) {
    EXPECT_TRUE(ended(link));
    EXPECT_EQ(condition_of(link), "amqp:not-found");
  }
}

TEST(FrontendManagement, BytesThatAreNoRequestAreRejectedAndTheLinkWorksOn) {
  TestNode node;
  Client client(node);
  Requester requester(client);
  pn_delivery_t* junk = client.put(requester.to, "junk");
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(junk), PN_REJECTED);
  EXPECT_EQ(condition_of(junk), "amqp:decode-error");
  const ResponseText empty = requester.ask("renew-lock");
  EXPECT_EQ(empty.status, 400);
  EXPECT_EQ(empty.condition, "com.microsoft:argument-error");
}

TEST(FrontendManagement, APreSettledRequestIsAnswered) {
  TestNode node;
  Client client(node);
  Requester requester(client);
  pn_delivery_settle(client.put(
      requester.to, std::string(as_text(encode_request({"com.microsoft:renew-lock", "s", "reply", {}})))));
  client.run();
  EXPECT_EQ(requester.take().value().correlation_id, "s");
}

TEST(FrontendManagement, WithoutAReceiverARequestIsRejectedAndNothingIsDone) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  const Uuid token = token_of(client.take(client.from("q", 1)));
  pn_link_t* to = client.to("q/$management");
  Client other(node);
  Requester elsewhere(other);
  node.declare("p");
  Requester another_entity(client, "p");
  pn_delivery_t* request = client.put(
      to,
      std::string(as_text(encode_request({"com.microsoft:update-disposition", "1", "reply",
                                          lock_tokens({token}, text("disposition-status", "completed"))}))));
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(request), PN_REJECTED);
  EXPECT_EQ(condition_of(request), "amqp:precondition-failed");
  EXPECT_EQ(node.stats().active, 1U);
  EXPECT_FALSE(elsewhere.take());
  EXPECT_FALSE(another_entity.take());
}

TEST(FrontendManagement, TheAnswerGoesWhereReplyToSaysElseToTheSessionsOwnReceiver) {
  TestNode node;
  Client client(node);
  Requester first(client, "q", 100, "one");
  Requester second(client, "q", 100, "two");
  client.on = client.session();
  Requester third(client, "q", 100, "three");
  second.send("renew-lock");
  EXPECT_FALSE(first.take());
  EXPECT_TRUE(second.take());
  // pyamqp names the node, or nothing.
  client.put(third.to,
             std::string(as_text(encode_request({"com.microsoft:renew-lock", "1", "q/$management", {}}))));
  client.run();
  EXPECT_FALSE(first.take());
  EXPECT_TRUE(third.take());
  pn_link_close(third.from);
  client.run();
  client.put(third.to, std::string(as_text(encode_request({"com.microsoft:renew-lock", "1", "", {}}))));
  client.run();
  EXPECT_TRUE(first.take()) << "none on its session is left: any of the connection";
}

TEST(FrontendManagement, ResponsesWaitForCreditAndRequestsAreBoundedByThem) {
  TestNode node;
  Client client(node);
  Requester requester(client, "q", 0);
  const int first_credit = pn_link_credit(requester.to);
  int sent = 0;
  while (pn_link_credit(requester.to) > 0) {
    requester.send("renew-lock");
    ASSERT_LT(++sent, 1000) << "credit never ends";
  }
  EXPECT_EQ(sent, first_credit);
  EXPECT_FALSE(requester.take());
  pn_link_flow(requester.from, 10);
  client.run();
  for (int i = 1; i <= 10; ++i) EXPECT_EQ(requester.take().value().correlation_id, "r" + std::to_string(i));
  EXPECT_FALSE(requester.take());
  pn_link_flow(requester.from, 1000);
  client.run();
  int taken = 10;
  while (requester.take()) ++taken;
  EXPECT_EQ(taken, sent);
  EXPECT_GE(pn_link_credit(requester.to), 50) << "credit is back";
  for (int i = 0; i < 500; ++i) ASSERT_EQ(requester.ask("renew-lock").status, 400) << i;
}

TEST(FrontendManagement, AReceiverThatGoesLosesOnlyItsOwnAnswers) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  const Uuid token = token_of(client.take(client.from("q", 1)));
  Requester gone(client, "q", 0, "gone");
  Requester stays(client, "q", 100, "stays");
  gone.send("renew-lock");
  gone.send("renew-lock");
  node.commits = false;
  gone.send("update-disposition", lock_tokens({token}, text("disposition-status", "completed")));
  pn_link_close(gone.from);
  client.run();
  node.commits = true;
  node.commit();
  client.run();
  EXPECT_EQ(node.stats().active, 0U) << "what was asked for is done";
  EXPECT_FALSE(stays.take());
  EXPECT_EQ(stays.ask("renew-lock").status, 400);
  EXPECT_GE(pn_link_credit(gone.to), 50) << "its requests are over";
  EXPECT_EQ(node.frontend.pending_answers(), 0U);
}

TEST(FrontendManagement, ADrainOfTheResponseLinkIsAnswered) {
  TestNode node;
  Client client(node);
  Requester requester(client, "q", 5);
  pn_link_drain(requester.from, 0);
  client.run();
  EXPECT_EQ(pn_link_credit(requester.from), 0);
  EXPECT_FALSE(pn_link_draining(requester.from));
  pn_link_set_drain(requester.from, false);
  pn_link_flow(requester.from, 1);
  client.run();
  EXPECT_EQ(requester.ask("renew-lock").status, 400);
}

TEST(FrontendManagement, UnsettledResponsesAreSettledWhenTheClientTakesThem) {
  TestNode node;
  Client client(node);
  Requester requester(client);
  pn_link_close(requester.from);
  pn_link_t* from = pn_receiver(client.on, "unsettled");
  pn_terminus_set_address(pn_link_source(from), "q/$management");
  pn_link_set_snd_settle_mode(from, PN_SND_UNSETTLED);
  pn_link_set_rcv_settle_mode(from, PN_RCV_SECOND);
  pn_link_open(from);
  pn_link_flow(from, 1);
  client.run();
  requester.send("renew-lock");
  pn_delivery_t* response = client.take(from);
  ASSERT_NE(response, nullptr);
  EXPECT_FALSE(pn_delivery_settled(response));
  client.settle(response, PN_ACCEPTED);
  EXPECT_TRUE(pn_delivery_settled(response));
  EXPECT_EQ(pn_delivery_remote_state(response), PN_ACCEPTED);
}

TEST(FrontendManagement, AConnectionThatBreaksWithRequestsUnderWayLeavesNothing) {
  TestNode node;
  {
    Client client(node);
    fill(client, "q", 2);
    pn_link_t* receiver = client.from("q", 2);
    const Uuid first = token_of(client.take(receiver));
    Requester requester(client, "q", 0);
    requester.send("renew-lock");
    node.commits = false;
    requester.send("update-disposition", lock_tokens({first}, text("disposition-status", "completed")));
    client.lose();
  }
  node.commits = true;
  node.commit();
  EXPECT_EQ(node.stats().active, 1U);
  EXPECT_EQ(node.frontend.pending_answers(), 0U);
  EXPECT_EQ(node.frontend.connections(), 0U);
  node.check();
}

TEST(FrontendManagement, ANodeThatStopsBeingLiveForgetsWhatItWasAsked) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  const Uuid token = token_of(client.take(client.from("q", 1)));
  Requester requester(client, "q", 0);
  requester.send("renew-lock");
  node.commits = false;
  requester.send("update-disposition", lock_tokens({token}, text("disposition-status", "completed")));
  node.frontend.close_all("fail-over", node.clock.now(), node.clock.wall());
  node.live = false;
  client.run();
  node.commits = true;
  node.commit();
  client.run();
  EXPECT_STREQ(pn_condition_get_name(pn_connection_remote_condition(client.connection())),
               "amqp:connection:forced");
  EXPECT_EQ(node.frontend.pending_answers(), 0U);
}

// ---- locks

TEST(FrontendManagement, ARenewedLockOutlivesItsFirstEnd) {
  TestNode node;
  Client client(node);
  fill(client, "q", 2);
  pn_link_t* receiver = client.from("q", 10);
  pn_delivery_t* one = client.take(receiver);
  pn_delivery_t* two = client.take(receiver);
  Client other(node);
  Requester requester(other);  // any connection: the lock belongs to the entity
  node.clock.advance(seconds(50));
  node.tick();
  const ResponseText response = requester.ask("renew-lock", lock_tokens({token_of(two), token_of(one)}));
  EXPECT_EQ(response.status, 200) << response.description;
  const std::int64_t end = node.clock.wall().ms + 60'000;
  EXPECT_EQ(testing::numbers_of(entry(response.body(), "expirations")),
            (std::vector<std::int64_t>{end, end}));
  node.clock.advance(seconds(50));
  node.tick();
  client.settle(one, PN_ACCEPTED);
  EXPECT_EQ(pn_delivery_remote_state(one), PN_ACCEPTED);
  node.clock.advance(seconds(11));
  node.tick();
  const ResponseText late = requester.ask("renew-lock", lock_tokens({token_of(two)}));
  EXPECT_EQ(late.status, 410);
  EXPECT_EQ(late.condition, "com.microsoft:message-lock-lost");
}

TEST(FrontendManagement, ALockIsRenewedAndSettledOnlyThroughItsOwnEntity) {
  TestNode node;
  node.declare("p");
  Client client(node);
  fill(client, "q", 1);
  const Uuid token = token_of(client.take(client.from("q", 1)));
  Requester wrong(client, "p", 10, "wrong");
  Requester dead(client, "q/$DeadLetterQueue", 10, "dead");
  for (Requester* requester : {&wrong, &dead}) {
    EXPECT_EQ(requester->ask("renew-lock", lock_tokens({token})).status, 410);
    EXPECT_EQ(
        requester->ask("update-disposition", lock_tokens({token}, text("disposition-status", "completed")))
            .status,
        410);
  }
  EXPECT_EQ(node.stats().active, 1U);
  EXPECT_EQ(node.stats().locked, 1U);
}

TEST(FrontendManagement, ASessionsLockIsRenewedByWhoHoldsIt) {
  TestNode node;
  broker::QueueOptions options;
  options.requires_session = true;
  node.declare("s", options);
  Client client(node);
  fill(client, "s", 1, {.session = "one"});
  pn_link_t* holder = client.accept("s", "one", 5);
  pn_delivery_t* got = client.take(holder);
  ASSERT_NE(got, nullptr);
  Requester requester(client, "s");
  Client other(node);
  Requester elsewhere(other, "s");
  node.clock.advance(seconds(50));
  node.tick();
  const ResponseText response = requester.ask("renew-session-lock", text("session-id", "one"));
  EXPECT_EQ(response.status, 200) << response.description;
  const amqp::Value end = entry(response.body(), "expiration");
  EXPECT_EQ(end.kind, amqp::Kind::timestamp);
  EXPECT_EQ(end.signed_number(), node.clock.wall().ms + 60'000);
  node.clock.advance(seconds(50));
  node.tick();
  client.run();
  EXPECT_FALSE(ended(holder)) << "held on";
  for (Requester* refused : {&elsewhere, &requester}) {
    const ResponseText lost =
        refused->ask("renew-session-lock", text("session-id", refused == &elsewhere ? "one" : "two"));
    EXPECT_EQ(lost.status, 410);
    EXPECT_EQ(lost.condition, "com.microsoft:session-lock-lost");
  }
  const auto complete =
      lock_tokens({token_of(got)}, text("disposition-status", "completed", text("session-id", "one")));
  EXPECT_EQ(elsewhere.ask("update-disposition", complete).condition, "com.microsoft:session-lock-lost");
  EXPECT_EQ(
      elsewhere
          .ask("update-disposition", lock_tokens({token_of(got)}, text("disposition-status", "completed")))
          .status,
      410);
  EXPECT_EQ(node.stats(2).active, 1U);
  EXPECT_EQ(requester.ask("update-disposition", complete).status, 200);
  EXPECT_EQ(node.stats(2).active, 0U);
}

// ---- settlement by token

TEST(FrontendManagement, ASettlementIsAnsweredOnceItIsCommitted) {
  TestNode node;
  Client client(node);
  fill(client, "q", 2);
  pn_link_t* receiver = client.from("q", 2);
  const Uuid one = token_of(client.take(receiver));
  const Uuid two = token_of(client.take(receiver));
  pn_link_close(receiver);  // locks outlive the link: this is what the node is for
  client.run();
  Requester requester(client);
  node.commits = false;
  requester.send("update-disposition", lock_tokens({one, two}, text("disposition-status", "completed")));
  EXPECT_EQ(node.stats().active, 0U) << "ordered";
  EXPECT_FALSE(requester.take()) << "and not committed: nobody may know";
  node.commits = true;
  node.commit();
  client.run();
  EXPECT_EQ(requester.take().value().status, 200);
  EXPECT_EQ(
      requester.ask("update-disposition", lock_tokens({one}, text("disposition-status", "completed"))).status,
      410);
}

TEST(FrontendManagement, MessagesAreAbandonedUnlockedAndDeadLetteredByToken) {
  TestNode node;
  Client client(node);
  fill(client, "q", 3);
  pn_link_t* receiver = client.from("q", 3);
  std::vector<Uuid> tokens;
  for (int i = 0; i < 3; ++i) tokens.push_back(token_of(client.take(receiver)));
  Requester requester(client);
  const auto update = [&](std::size_t i, const std::string& status, testing::Entries more = {}) {
    return requester.ask("update-disposition",
                         lock_tokens({tokens[i]}, text("disposition-status", status, std::move(more))));
  };
  EXPECT_EQ(update(0, "abandoned",
                   [](amqp::ValueWriter& w) {
                     w.string("properties-to-modify");
                     const auto map = w.map();
                     w.string("why");
                     w.string("busy-there");
                     w.close(map, 2);
                     return 2U;
                   })
                .status,
            200);
  EXPECT_EQ(update(1, "unlocked").status, 200);
  EXPECT_EQ(update(2, "suspended",
                   text("deadletter-reason", "unreadable", text("deadletter-description", "no amount")))
                .status,
            200);
  pn_link_flow(receiver, 2);
  client.run();
  ASSERT_NE(client.take(receiver), nullptr);
  EXPECT_EQ(client.id_taken(), "m0");
  EXPECT_EQ(amqp::view_message(as_bytes(client.taken)).value().delivery_count, 1U);
  EXPECT_NE(client.taken.find("busy-there"), std::string::npos);
  ASSERT_NE(client.take(receiver), nullptr);
  EXPECT_EQ(client.id_taken(), "m1");
  EXPECT_EQ(amqp::view_message(as_bytes(client.taken)).value().delivery_count, 0U);
  pn_link_t* dead = client.from("q/$DeadLetterQueue", 1);
  pn_delivery_t* letter = client.take(dead);
  ASSERT_NE(letter, nullptr);
  EXPECT_EQ(client.id_taken(), "m2");
  EXPECT_NE(client.taken.find("unreadable"), std::string::npos);
  EXPECT_NE(client.taken.find("no amount"), std::string::npos);
  Requester of_dead(client, "q/$DeadLetterQueue", 10, "dead");
  EXPECT_EQ(of_dead.ask("renew-lock", lock_tokens({token_of(letter)})).status, 200);
  const ResponseText twice = of_dead.ask(
      "update-disposition", lock_tokens({token_of(letter)}, text("disposition-status", "suspended")));
  EXPECT_EQ(twice.status, 400);
  EXPECT_EQ(twice.condition, "amqp:not-allowed");
  EXPECT_EQ(
      of_dead
          .ask("update-disposition", lock_tokens({token_of(letter)}, text("disposition-status", "completed")))
          .status,
      200);
  EXPECT_EQ(node.stats().dead_letter, 0U);
}

TEST(FrontendManagement, OneLockThatIsGoneLeavesTheOthersAsTheyAre) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  const Uuid token = token_of(client.take(client.from("q", 1)));
  Uuid none = token;
  none.bytes[15] ^= 1U;
  Requester requester(client);
  EXPECT_EQ(
      requester.ask("update-disposition", lock_tokens({token, none}, text("disposition-status", "completed")))
          .status,
      410);
  EXPECT_EQ(node.stats().active, 1U);
  EXPECT_EQ(
      requester
          .ask("update-disposition", lock_tokens({token, token}, text("disposition-status", "completed")))
          .status,
      410)
      << "the same lock twice is settled once, and told";
  EXPECT_EQ(node.stats().active, 0U);
}

TEST(FrontendManagement, LocksAreRenewedWhilePublishesAreHeldBack) {
  TestNode node;
  Client client(node);
  fill(client, "q", 1);
  const Uuid token = token_of(client.take(client.from("q", 1)));
  node.admission = {Admission::wait, {}};
  pn_link_t* sender = client.to("q");
  client.publish(sender, "held");
  client.run();
  EXPECT_EQ(node.frontend.held_publishes(), 1U);
  Requester requester(client);
  EXPECT_EQ(requester.ask("renew-lock", lock_tokens({token})).status, 200);
  EXPECT_EQ(requester.ask("update-disposition", lock_tokens({token}, text("disposition-status", "completed")))
                .status,
            200);
}

// ---- messages by number

std::int64_t number_of(const std::string& message) {
  const BytesView section = amqp::view_message(as_bytes(message)).value().message_annotations;
  return entry(amqp::described(amqp::ValueReader(section).next())->value, "x-opt-sequence-number")
      .signed_number();
}
amqp::Value annotation(const std::string& message, std::string_view name) {
  const BytesView section = amqp::view_message(as_bytes(message)).value().message_annotations;
  return entry(amqp::described(amqp::ValueReader(section).next())->value, name);
}
struct Got {
  Uuid token;
  std::string message;
};
std::vector<Got> messages_of(const ResponseText& response) {
  std::vector<Got> out;
  const Buffer& bytes = response.body_bytes;
  const amqp::Value list = entry(amqp::ValueReader(bytes).next(), "messages");
  amqp::ValueReader items = amqp::ValueReader::inside(list);
  while (!items.at_end()) {
    const amqp::Value map = items.next();
    Got got;
    got.message = entry(map, "message").text();
    if (const amqp::Value token = entry(map, "lock-token"); token.kind == amqp::Kind::uuid) {
      std::memcpy(got.token.bytes.data(), token.content.data(), 16);
      got.token = lock_token_as_uuid(got.token);
    }
    out.push_back(got);
  }
  return out;
}
std::string id_of(const Got& got) {
  return std::string(amqp::view_message(as_bytes(got.message)).value().message_id().value_or(""));
}
void defer(Client& client, pn_delivery_t* delivery) {
  pn_disposition_set_undeliverable(pn_delivery_local(delivery), true);
  client.settle(delivery, PN_MODIFIED);
}

TEST(FrontendManagement, ADeferredMessageIsReceivedByItsNumberAndCompleted) {
  TestNode node;
  Client client(node);
  fill(client, "q", 2);
  pn_link_t* receiver = client.from("q", 5);
  pn_delivery_t* got = client.take(receiver);
  const std::int64_t number = number_of(client.taken);
  defer(client, got);
  Requester requester(client);
  const ResponseText response = requester.ask(
      "receive-by-sequence-number", sequence_numbers({number}, testing::number("receiver-settle-mode", 1)));
  ASSERT_EQ(response.status, 200) << response.description;
  const std::vector<Got> messages = messages_of(response);
  ASSERT_EQ(messages.size(), 1U);
  EXPECT_EQ(id_of(messages[0]), "m0");
  EXPECT_EQ(annotation(messages[0].message, "x-opt-message-state").signed_number(), 1);
  EXPECT_EQ(annotation(messages[0].message, "x-opt-locked-until").signed_number(),
            node.clock.wall().ms + 60'000);
  EXPECT_EQ(amqp::view_message(as_bytes(messages[0].message)).value().delivery_count, 1U);
  const ResponseText again = requester.ask(
      "receive-by-sequence-number", sequence_numbers({number}, testing::number("receiver-settle-mode", 1)));
  EXPECT_EQ(again.status, 404) << "it is locked";
  EXPECT_EQ(again.condition, "com.microsoft:message-not-found");
  EXPECT_EQ(requester.ask("renew-lock", lock_tokens({messages[0].token})).status, 200);
  EXPECT_EQ(requester
                .ask("update-disposition",
                     lock_tokens({messages[0].token}, text("disposition-status", "completed")))
                .status,
            200);
  EXPECT_EQ(node.stats().deferred, 0U);
  EXPECT_EQ(node.stats().active, 1U);
}

TEST(FrontendManagement, MessagesReceivedAndDeletedAreShownOnceThatIsCommitted) {
  TestNode node;
  Client client(node);
  fill(client, "q", 3);
  pn_link_t* receiver = client.from("q", 5);
  std::vector<std::int64_t> numbers;
  for (int i = 0; i < 2; ++i) {
    pn_delivery_t* got = client.take(receiver);
    numbers.push_back(number_of(client.taken));
    Requester requester(client, "q", 10, "defer" + std::to_string(i));
    EXPECT_EQ(
        requester
            .ask("update-disposition", lock_tokens({token_of(got)}, text("disposition-status", "defered")))
            .status,
        200);
  }
  EXPECT_EQ(node.stats().deferred, 2U);
  Requester requester(client);
  const auto both = [&](std::int64_t other) {
    return sequence_numbers({numbers[0], other}, testing::number("receiver-settle-mode", 0));
  };
  EXPECT_EQ(requester.ask("receive-by-sequence-number", both(999)).status, 404) << "all or none";
  EXPECT_EQ(node.stats().deferred, 2U);
  node.commits = false;
  requester.send("receive-by-sequence-number", both(numbers[1]));
  EXPECT_FALSE(requester.take());
  node.commits = true;
  node.commit();
  client.run();
  const std::vector<Got> messages = messages_of(requester.take().value());
  ASSERT_EQ(messages.size(), 2U);
  EXPECT_EQ(id_of(messages[0]), "m0");
  EXPECT_EQ(id_of(messages[1]), "m1");
  EXPECT_TRUE(messages[0].token.is_nil());
  EXPECT_TRUE(annotation(messages[0].message, "x-opt-locked-until").is_null());
  EXPECT_EQ(node.stats().deferred, 0U);
}

TEST(FrontendManagement, ADeferredMessageOfASessionIsForWhoHoldsIt) {
  TestNode node;
  broker::QueueOptions options;
  options.requires_session = true;
  node.declare("s", options);
  Client client(node);
  fill(client, "s", 1, {.session = "one"});
  pn_link_t* holder = client.accept("s", "one", 5);
  pn_delivery_t* got = client.take(holder);
  const std::int64_t number = number_of(client.taken);
  defer(client, got);
  Client other(node);
  Requester elsewhere(other, "s");
  Requester requester(client, "s");
  const auto receive =
      sequence_numbers({number}, testing::number("receiver-settle-mode", 1, text("session-id", "one")));
  EXPECT_EQ(elsewhere.ask("receive-by-sequence-number", receive).condition,
            "com.microsoft:session-lock-lost");
  const std::vector<Got> messages = messages_of(requester.ask("receive-by-sequence-number", receive));
  ASSERT_EQ(messages.size(), 1U);
  const auto complete =
      lock_tokens({messages[0].token}, text("disposition-status", "completed", text("session-id", "one")));
  EXPECT_EQ(elsewhere.ask("update-disposition", complete).status, 410);
  EXPECT_EQ(requester.ask("update-disposition", complete).status, 200);
  EXPECT_EQ(node.stats(2).deferred, 0U);
  node.check();
}

TEST(FrontendManagement, PeekingShowsEveryMessageAndLocksNone) {
  TestNode node;
  Client client(node);
  fill(client, "q", 4);
  pn_link_t* receiver = client.from("q", 2);
  defer(client, client.take(receiver));
  ASSERT_NE(client.take(receiver), nullptr);  // locked
  Requester requester(client);
  const auto peek = [&](std::int64_t from, std::int64_t count, testing::Entries more = {}) {
    return requester.ask("peek-message",
                         testing::number("from-sequence-number", from,
                                         testing::number("message-count", count, std::move(more))));
  };
  std::vector<Got> all = messages_of(peek(1, 10));
  ASSERT_EQ(all.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(id_of(all[i]), "m" + std::to_string(i));
    EXPECT_TRUE(all[i].token.is_nil()) << "who has a token holds a lock";
    EXPECT_TRUE(annotation(all[i].message, "x-opt-locked-until").is_null());
    EXPECT_EQ(annotation(all[i].message, "x-opt-message-state").signed_number(), i == 0 ? 1 : 0);
  }
  EXPECT_EQ(messages_of(peek(number_of(all[2].message), 1)).size(), 1U);
  const ResponseText none = peek(number_of(all[3].message) + 1, 10);
  EXPECT_EQ(none.status, 204);
  EXPECT_EQ(none.condition, "");
  const std::vector<Got> bare = messages_of(peek(1, 1, [](amqp::ValueWriter& w) {
    w.string("omit-message-body");
    w.boolean(true);
    return 2U;
  }));
  EXPECT_EQ(id_of(bare.at(0)), "m0");
  EXPECT_LT(bare[0].message.size(), all[0].message.size());
  EXPECT_EQ(node.stats().locked, 1U);
}

TEST(FrontendManagement, APeekReturnsFewerLargeMessagesThanAskedFor) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  for (int i = 0; i < 5; ++i) client.publish(sender, "m" + std::to_string(i) + std::string(400'000, 'x'));
  client.run();
  Requester requester(client);
  const std::vector<Got> some = messages_of(requester.ask(
      "peek-message", testing::number("from-sequence-number", 0, testing::number("message-count", 5))));
  EXPECT_EQ(some.size(), 2U);
}

TEST(FrontendManagement, ResponsesWithMessagesThatNobodyTakesAreBounded) {
  FrontendOptions options;
  options.response_bytes_max = 1'000'000;
  TestNode node(options);
  Client client(node);
  pn_link_t* sender = client.to("q");
  client.publish(sender, std::string(300'000, 'x'));
  client.run();
  Requester silent(client, "q", 0, "silent");
  for (int i = 0; i < 5; ++i) {
    silent.send("peek-message",
                testing::number("from-sequence-number", 1, testing::number("message-count", 1)));
  }
  Client other(node);
  Requester quick(other);
  const auto peek = testing::number("from-sequence-number", 1, testing::number("message-count", 1));
  EXPECT_EQ(quick.ask("peek-message", peek).status, 200) << "who has none waiting has room";
  pn_link_flow(silent.from, 5);
  client.run();
  int busy = 0, good = 0;
  while (const auto response = silent.take()) {
    if (response->status == 200) ++good;
    if (response->status == 503) ++busy;
  }
  EXPECT_EQ(good, 2);
  EXPECT_EQ(busy, 3);
}

Buffer scheduled_message(const std::string& id, std::int64_t at) {
  Buffer out;
  amqp::ValueWriter w(out);
  w.descriptor(amqp::descriptor::message_annotations);
  const auto map = w.map();
  w.symbol("x-opt-scheduled-enqueue-time");
  w.timestamp(at);
  w.close(map, 2);
  amqp::SimpleMessage message;
  message.message_id = id;
  message.body = as_bytes("x");
  w.encoded(amqp::encode_message(message));
  return out;
}

TEST(FrontendManagement, AScheduledMessageComesAtItsTimeOrIsCancelled) {
  TestNode node;
  Client client(node);
  Requester requester(client);
  const std::int64_t at = node.clock.wall().ms + 30'000;
  const ResponseText response = requester.ask("schedule-message", [&](amqp::ValueWriter& w) {
    w.string("messages");
    const auto list = w.list();
    for (const char* id : {"s0", "s1"}) {
      const auto map = w.map();
      w.string("message");
      w.binary(BytesView(scheduled_message(id, at)));
      w.close(map, 2);
    }
    w.close(list, 2);
    return 2U;
  });
  ASSERT_EQ(response.status, 200) << response.description;
  const amqp::Value array = entry(response.body(), "sequence-numbers");
  EXPECT_EQ(array.kind, amqp::Kind::array);
  const std::vector<std::int64_t> numbers = testing::numbers_of(array);
  ASSERT_EQ(numbers.size(), 2U);
  pn_link_t* sender = client.to("q");
  pn_delivery_t* on_link = client.put(sender, std::string(as_text(scheduled_message("s2", at))));
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(on_link), PN_ACCEPTED);
  EXPECT_EQ(node.stats().scheduled, 3U);
  pn_link_t* receiver = client.from("q", 5);
  EXPECT_EQ(client.take(receiver), nullptr);
  const std::vector<Got> seen = messages_of(requester.ask(
      "peek-message", testing::number("from-sequence-number", 1, testing::number("message-count", 9))));
  ASSERT_EQ(seen.size(), 3U);
  EXPECT_EQ(annotation(seen[0].message, "x-opt-message-state").signed_number(), 2);
  EXPECT_EQ(requester.ask("cancel-scheduled-message", sequence_numbers({numbers[1]})).status, 200);
  const ResponseText again = requester.ask("cancel-scheduled-message", sequence_numbers({numbers[1]}));
  EXPECT_EQ(again.status, 404);
  EXPECT_EQ(again.condition, "com.microsoft:message-not-found");
  node.clock.advance(seconds(31));
  node.tick();
  client.run();
  ASSERT_NE(client.take(receiver), nullptr);
  EXPECT_EQ(client.id_taken(), "s0");
  EXPECT_EQ(annotation(client.taken, "x-opt-enqueue-sequence-number").signed_number(), numbers[0]);
  EXPECT_NE(annotation(client.taken, "x-opt-scheduled-enqueue-time").kind, amqp::Kind::null);
  ASSERT_NE(client.take(receiver), nullptr);
  EXPECT_EQ(client.id_taken(), "s2");
  EXPECT_EQ(client.take(receiver), nullptr);
}

TEST(FrontendManagement, AScheduleThatCannotBeStoredWholeStoresNothing) {
  TestNode node;
  Client client(node);
  Requester requester(client);
  const auto schedule = [&](BytesView second) {
    return requester.ask("schedule-message", [&](amqp::ValueWriter& w) {
      w.string("messages");
      const auto list = w.list();
      const Buffer first = scheduled_message("s0", node.clock.wall().ms + 1000);
      for (const BytesView message : {BytesView(first), second}) {
        const auto map = w.map();
        w.string("message");
        w.binary(message);
        w.close(map, 2);
      }
      w.close(list, 2);
      return 2U;
    });
  };
  EXPECT_EQ(schedule(as_bytes("junk")).status, 400);
  const Buffer long_id = scheduled_message(std::string(129, 'i'), node.clock.wall().ms + 1000);
  EXPECT_EQ(schedule(long_id).status, 400);
  node.admission = {Admission::wait, {}};
  const Buffer good = scheduled_message("s1", node.clock.wall().ms + 1000);
  EXPECT_EQ(schedule(good).condition, "com.microsoft:server-busy");
  EXPECT_EQ(node.stats().scheduled, 0U);
  node.admission = {};
  EXPECT_EQ(schedule(good).status, 200);
  EXPECT_EQ(node.stats().scheduled, 2U);
}

}  // namespace
}  // namespace mainstay::frontend
