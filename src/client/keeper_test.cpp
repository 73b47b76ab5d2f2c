#include "client/keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <time.h>

#include "client/publisher.h"
#include "client/subscriber.h"
#include "client/test_broker.h"

namespace mainstay::client {
namespace {

using ::testing::HasSubstr;

/// The machine's: these tests talk to real sockets.
class RealClock final : public Clock {
 public:
  Instant now() override {
    timespec t{};
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return {std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
  }
  WallTime wall() override { return {0}; }
};

Buffer message(const std::string& id, const std::string& group = "", std::int64_t sequence = 0) {
  pn_message_t* made = pn_message();
  pn_atom_t atom{};
  atom.type = PN_STRING;
  atom.u.as_bytes = pn_bytes(id.size(), id.data());
  pn_message_set_id(made, atom);
  if (!group.empty()) pn_message_set_group_id(made, group.c_str());
  if (sequence != 0) {
    pn_data_t* annotations = pn_message_annotations(made);
    pn_data_put_map(annotations);
    pn_data_enter(annotations);
    pn_data_put_symbol(annotations, pn_bytes(21, "x-opt-sequence-number"));
    pn_data_put_long(annotations, sequence);
    pn_data_exit(annotations);
  }
  pn_data_put_binary(pn_message_body(made), pn_bytes(4, "body"));
  Buffer encoded(1024);
  std::size_t size = encoded.size();
  MS_ASSERT(pn_message_encode(made, reinterpret_cast<char*>(encoded.data()), &size) == 0, "encodes");
  encoded.resize(size);
  pn_message_free(made);
  return encoded;
}

/// Listens, and never accepts: the kernel takes the connection and nobody answers, as of a frozen process.
struct Frozen {
  Frozen() : socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    MS_ASSERT(::bind(socket, reinterpret_cast<sockaddr*>(&address), size) == 0, "loopback can be bound");
    MS_ASSERT(::listen(socket, 16) == 0, "a bound socket can listen");
    ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
  }
  ~Frozen() { ::close(socket); }
  Frozen(const Frozen&) = delete;
  Frozen& operator=(const Frozen&) = delete;
  int socket;
  std::uint16_t port = 0;
};

TestBroker::Queue detecting(bool sessions = false) {
  TestBroker::Queue queue;
  queue.detect_duplicates = true;
  queue.sessions = sessions;
  return queue;
}

class Reconnecting : public ::testing::Test {
 protected:
  template <class Options>
  Options reach(std::initializer_list<std::uint16_t> ports) {
    Options made;
    for (const std::uint16_t port : ports) made.client.endpoints.push_back({"127.0.0.1", port});
    made.client.connect_timeout = milliseconds(300);
    made.reconnect.floor = milliseconds(2);
    made.reconnect.not_live_ceiling = milliseconds(20);
    made.reconnect.ceiling = milliseconds(50);
    made.address = "q";
    return made;
  }
  Tell tell() {
    return [this](const std::string& text) { told.push_back(text); };
  }
  /// Until so many results are in. @return them.
  std::vector<PublishResult> results_of(Publisher& publisher, std::size_t count) {
    std::vector<PublishResult> all;
    const Instant deadline = clock.now() + seconds(20);
    while (all.size() < count && clock.now() < deadline) {
      for (auto& one : publisher.poll(milliseconds(20))) all.push_back(std::move(one));
    }
    EXPECT_EQ(all.size(), count);
    return all;
  }
  RealClock clock;
  SeededRandom random{3};
  std::vector<std::string> told;
};

TEST_F(Reconnecting, ADeadAndAFrozenEntryBeforeTheLiveOneCostTheirTimeOutsOnly) {
  std::uint16_t dead = 0;
  {
    TestBroker gone("q");
    dead = gone.port();
  }
  Frozen frozen;
  TestBroker live("q", detecting());
  Publisher publisher(reach<PublisherOptions>({dead, frozen.port, live.port()}), clock, random, tell());
  const Instant start = clock.now();
  ASSERT_TRUE(publisher.publish(1, message("m1")));
  Duration longest{};
  std::vector<PublishResult> results;
  while (results.empty() && clock.now() < start + seconds(20)) {
    const Instant before = clock.now();
    results = publisher.poll(milliseconds(10));
    longest = std::max(longest, clock.now() - before);
  }
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].kind, PublishResult::Kind::confirmed);
  EXPECT_LT(longest, milliseconds(250)) << "poll() takes no longer than told, though connecting does";
  EXPECT_EQ(publisher.endpoint(), "127.0.0.1:" + std::to_string(live.port()));
}

TEST_F(Reconnecting, CutsInTheMiddleOfALoadStoreEveryMessageOnceAndInOrder) {  // H14
  TestBroker broker("q", detecting());
  auto options = reach<PublisherOptions>({broker.port()});
  Publisher publisher(options, clock, random, tell());
  const std::uint64_t total = 2000;
  std::uint64_t next = 1;
  std::set<std::uint64_t> confirmed;
  int cuts = 0;
  const Instant deadline = clock.now() + seconds(60);
  while (confirmed.size() < total && clock.now() < deadline) {
    while (next <= total && next < confirmed.size() + 300 &&
           publisher.publish(next, message("m" + std::to_string(next))))
      ++next;
    for (const auto& result : publisher.poll(milliseconds(5))) {
      ASSERT_EQ(result.kind, PublishResult::Kind::confirmed) << result.error.description;
      ASSERT_TRUE(confirmed.insert(result.tag).second);
    }
    if (cuts < 12 && confirmed.size() > static_cast<std::size_t>(cuts + 1) * 120) {
      ++cuts;
      broker.cut_after(20 + cuts);
    }
  }
  ASSERT_EQ(confirmed.size(), total);
  EXPECT_GE(publisher.resent(), 12U);
  broker.with("q", [total](auto& queue) {
    ASSERT_EQ(queue.accepted_ids.size(), total);
    for (std::uint64_t i = 0; i < total; ++i) ASSERT_EQ(queue.accepted_ids[i], "m" + std::to_string(i + 1));
    EXPECT_GT(queue.duplicates, 0U) << "some had been stored when the link was cut";
  });
}

TEST_F(Reconnecting, ANodeThatIsNotLiveSendsTheClientOnQuickly) {
  TestBroker standby("q"), live("q", detecting());
  standby.credit = 0;
  auto options = reach<PublisherOptions>({standby.port(), live.port()});
  Publisher publisher(options, clock, random, tell());
  publisher.publish(1, message("m1"));
  std::vector<PublishResult> results;
  for (int i = 0; i < 20'000 && results.empty(); ++i) {
    if (publisher.endpoint() != "127.0.0.1:" + std::to_string(live.port()))
      standby.close_all("amqp:connection:forced");
    results = publisher.poll(milliseconds(1));
  }
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].kind, PublishResult::Kind::confirmed);
  standby.with("q", [](auto& queue) { EXPECT_TRUE(queue.accepted_ids.empty()); });
  ASSERT_FALSE(told.empty());
  EXPECT_THAT(told[0], HasSubstr("not live"));
}

TEST_F(Reconnecting, AnIdleTimeOutFindsAPeerThatFellSilent) {
  TestBroker broker("q", detecting());
  Frozen frozen;
  ClientOptions client;
  client.endpoints = {{"127.0.0.1", broker.port()}};
  client.idle_timeout = milliseconds(200);
  ConnectionKeeper keeper(client, {}, clock, random, tell());
  const Instant deadline = clock.now() + seconds(20);
  while (keeper.connection() == nullptr && clock.now() < deadline) keeper.poll(milliseconds(10));
  ASSERT_NE(keeper.connection(), nullptr);
  broker.freeze(true);
  while (keeper.connection() != nullptr && clock.now() < deadline) keeper.poll(milliseconds(10));
  EXPECT_EQ(keeper.connection(), nullptr);
  broker.freeze(false);
  ASSERT_FALSE(told.empty());
  EXPECT_THAT(told[0], HasSubstr("silent"));
}

TEST_F(Reconnecting, AnUnknownQueueIsAnErrorAfterAsManyTriesAsTold) {
  TestBroker broker("other");
  auto options = reach<PublisherOptions>({broker.port()});
  options.reconnect.request_refused_max = 2;
  Publisher publisher(options, clock, random, tell());
  publisher.publish(1, message("m1"));
  const auto results = results_of(publisher, 1);
  EXPECT_EQ(results[0].kind, PublishResult::Kind::rejected) << "it was never sent";
  ASSERT_TRUE(publisher.over());
  EXPECT_EQ(publisher.over()->condition, "amqp:not-found");
  EXPECT_FALSE(publisher.publish(2, message("m2")));
}

TEST_F(Reconnecting, ACompletionWithoutAnswerIsRepeatedWhenTheMessageComesAgain) {
  TestBroker broker("q");
  broker.with("q", [](auto& queue) {
    for (int i = 1; i <= 3; ++i) {
      TestBroker::Stored stored;
      stored.id = "m" + std::to_string(i);
      stored.bytes = message(stored.id, "", i);
      queue.messages.push_back(std::move(stored));
    }
  });
  auto options = reach<SubscriberOptions>({broker.port()});
  Subscriber subscriber(options, clock, random, tell());
  std::vector<Delivery> got;
  const Instant deadline = clock.now() + seconds(20);
  const auto receive = [&](std::size_t count) {
    while (got.size() < count && clock.now() < deadline)
      for (auto& one : subscriber.poll(milliseconds(10))) got.push_back(std::move(one));
    ASSERT_EQ(got.size(), count);
  };
  receive(3);
  EXPECT_EQ(got[1].key, (MessageKey{"m2", 2}));
  broker.ignore_settlements(true);
  subscriber.settle(got[0].handle, SettleAs::complete);
  subscriber.settle(got[1].handle, SettleAs::dead_letter, "BadKey", "no key");
  for (int i = 0; i < 20; ++i) subscriber.poll(milliseconds(2));
  EXPECT_EQ(subscriber.settling(), 2U);
  broker.cut();
  std::vector<SettleResult> results;
  while (results.size() < 2 && clock.now() < deadline) {
    for (auto& one : subscriber.poll(milliseconds(5))) got.push_back(std::move(one));
    for (auto& one : subscriber.take_results()) results.push_back(std::move(one));
  }
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].kind, SettleResult::Kind::unknown);
  broker.ignore_settlements(false);
  subscriber.settle(got[2].handle, SettleAs::complete);  // of the connection that is gone
  while (subscriber.recognised() < 3 && clock.now() < deadline)
    for (auto& one : subscriber.poll(milliseconds(5))) got.push_back(std::move(one));
  while (subscriber.settling() > 0 && clock.now() < deadline) subscriber.poll(milliseconds(5));
  EXPECT_EQ(got.size(), 3U) << "nothing was handed out twice";
  broker.with("q", [](auto& queue) {
    EXPECT_EQ(queue.messages.size(), 0U);
    EXPECT_EQ(queue.completed_ids, (std::vector<std::string>{"m1", "m3"}));
    ASSERT_EQ(queue.dead.size(), 1U);
    EXPECT_EQ(queue.dead[0], (std::pair<std::string, std::string>("m2", "BadKey")));
  });
}

TEST_F(Reconnecting, SessionsAreTakenOneAfterAnother) {
  TestBroker broker("q", detecting(true));
  Publisher publisher(reach<PublisherOptions>({broker.port()}), clock, random, tell());
  for (std::uint64_t i = 0; i < 12; ++i)
    publisher.publish(i + 1, message("m" + std::to_string(i), "s" + std::to_string(i % 3)));
  results_of(publisher, 12);
  auto options = reach<SubscriberOptions>({broker.port()});
  options.sessions = true;
  options.session_idle = milliseconds(20);
  options.session_timeout = milliseconds(100);
  Subscriber subscriber(options, clock, random, tell());
  std::map<std::string, std::vector<std::string>> by_session;
  std::size_t confirmed = 0;
  const Instant deadline = clock.now() + seconds(20);
  while (confirmed < 12 && clock.now() < deadline) {
    for (const Delivery& one : subscriber.poll(milliseconds(10))) {
      by_session[one.session].push_back(one.key.id);
      subscriber.settle(one.handle, SettleAs::complete);
    }
    confirmed += subscriber.take_results().size();
  }
  ASSERT_EQ(by_session.size(), 3U);
  EXPECT_EQ(by_session["s1"], (std::vector<std::string>{"m1", "m4", "m7", "m10"}));
}

}  // namespace
}  // namespace mainstay::client
