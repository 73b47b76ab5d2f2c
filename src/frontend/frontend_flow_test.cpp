// Flow control at the frontend: credit from what is available, nobody hurt by others, settlements never held.
#include "frontend/frontend_test_support.h"

namespace mainstay::frontend {
namespace {

using testing::Client;
using testing::condition_of;
using testing::ended;
using testing::TestNode;

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

/// One round of the node: what changed is looked at, and both sides hear of it.
void round(TestNode& node, std::initializer_list<Client*> clients) {
  node.frontend.review_credit(node.clock.now());
  node.pump();
  for (Client* client : clients) client->run();
}

double stall_seconds(TestNode& node, const std::string& reason) {
  for (const FlowStatus::Stall& stall : node.frontend.flow_status(node.clock.now()).stalls) {
    if (stall.reason == reason) return stall.seconds;
  }
  return -1;
}

TEST(FrontendFlow, ManyCreditsOfLargeMessagesAreNotGiven) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  EXPECT_EQ(pn_link_credit(sender), 32) << "1 MiB each is expected of a link that has sent nothing";
  client.publish(sender, "small");
  client.run();
  EXPECT_GT(pn_link_credit(sender), 990);
  client.publish(sender, amqp::pattern(900'000));
  client.run();
  EXPECT_LE(pn_link_credit(sender), 37) << "taken back when they turn out to be large";
}

TEST(FrontendFlow, CreditFollowsTheBacklogOfTheJournalDownToZeroAndBack) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  client.publish(sender, amqp::pattern(30'000));
  round(node, {&client});
  int before = pn_link_credit(sender);
  EXPECT_GT(before, 900);
  for (const std::uint64_t backlog_mib : {20U, 28U, 31U}) {
    node.flow_figures.journal_bytes = backlog_mib * kMiB;
    node.clock.advance(milliseconds(10));
    round(node, {&client});
    EXPECT_LT(pn_link_credit(sender), before) << backlog_mib;
    EXPECT_GT(pn_link_credit(sender), 0) << backlog_mib;
    before = pn_link_credit(sender);
  }
  node.flow_figures.journal_bytes = 32 * kMiB;
  node.clock.advance(milliseconds(10));
  round(node, {&client});
  EXPECT_EQ(pn_link_credit(sender), 0) << "the client is told, the connection lives";
  EXPECT_FALSE(ended(sender));
  EXPECT_EQ(node.frontend.counters().held_publishes, 0U) << "before anything had to be held";
  EXPECT_EQ(node.frontend.counters().publish_refused, 0U);
  node.flow_figures.journal_bytes = 0;
  node.clock.advance(milliseconds(10));
  round(node, {&client});
  EXPECT_GT(pn_link_credit(sender), 900);
}

TEST(FrontendFlow, ManyLinksOfOneProducerLeaveHalfOfTheRoomToAnother) {
  TestNode node;
  node.declare("other");
  Client greedy(node), modest(node);
  std::vector<pn_link_t*> many;
  for (int i = 0; i < 20; ++i) many.push_back(greedy.to("q"));
  pn_link_t* one = modest.to("other");
  for (pn_link_t* link : many) greedy.publish(link, amqp::pattern(30'000));
  greedy.run();
  modest.publish(one, amqp::pattern(30'000));
  modest.run();
  node.flow_figures.journal_bytes = 24 * kMiB;  // 8 MiB are left
  node.clock.advance(milliseconds(10));
  round(node, {&greedy, &modest});
  int greedy_credit = 0;
  for (pn_link_t* link : many) greedy_credit += pn_link_credit(link);
  EXPECT_NEAR(pn_link_credit(one) * 30'000.0, 4.0 * kMiB, 0.1 * kMiB);
  EXPECT_LE(greedy_credit * 30'000.0, 4.1 * kMiB);
}

TEST(FrontendFlow, WithManyLinksTheEndOfTheBudgetIsToldAtOnceAndTheRestInTurn) {
  TestNode node;
  Client client(node);
  std::vector<pn_link_t*> links;
  for (int i = 0; i < 100; ++i) links.push_back(client.to("q"));
  for (pn_link_t* link : links) client.publish(link, amqp::pattern(10'000));
  client.run();
  node.clock.advance(milliseconds(10));
  round(node, {&client});
  EXPECT_GT(pn_link_credit(links[7]), 20);
  node.flow_figures.journal_bytes = 32 * kMiB;
  round(node, {&client});
  for (pn_link_t* link : links) EXPECT_EQ(pn_link_credit(link), 0) << "without any wait";
  node.flow_figures.journal_bytes = 0;
  round(node, {&client});
  EXPECT_EQ(pn_link_credit(links[7]), 0) << "a hundred links are shared anew every millisecond only";
  EXPECT_LE(node.frontend.next_deadline(), node.clock.now() + milliseconds(1));
  node.clock.advance(milliseconds(1));
  node.tick();
  client.run();
  for (pn_link_t* link : links) EXPECT_GT(pn_link_credit(link), 20);
}

TEST(FrontendFlow, SettlementsGoOnWhenNoPublishIsTaken) {
  for (const bool disk_full : {false, true}) {
    TestNode node;
    Client producer(node), consumer(node);
    pn_link_t* sender = producer.to("q");
    for (int i = 0; i < 20; ++i) producer.publish(sender, "m" + std::to_string(i));
    producer.run();
    node.flow_figures.journal_room = 0;
    node.flow_figures.journal_room_full = 8 * kMiB;
    node.flow_figures.disk_full = disk_full;
    node.admission = {disk_full ? Admission::refused : Admission::wait,
                      {"amqp:resource-limit-exceeded", "full"}};
    node.clock.advance(milliseconds(10));
    round(node, {&producer, &consumer});
    EXPECT_EQ(pn_link_credit(sender), disk_full ? pn_link_credit(sender) : 0);
    pn_delivery_t* waits = producer.publish(sender, "waits");
    producer.run();
    pn_link_t* receiver = consumer.from("q", 20);
    int taken = 0;
    while (pn_delivery_t* delivery = consumer.take(receiver)) {
      consumer.settle(delivery, PN_ACCEPTED);
      EXPECT_TRUE(pn_delivery_settled(delivery) || pn_delivery_remote_state(delivery) == PN_ACCEPTED);
      ++taken;
    }
    EXPECT_EQ(taken, 20) << (disk_full ? "disk full" : "no credit");
    EXPECT_EQ(node.stats().active, 0U);
    EXPECT_EQ(node.frontend.counters().settled, 20U);
    EXPECT_NE(pn_delivery_remote_state(waits), PN_ACCEPTED);
    node.check();
  }
}

TEST(FrontendFlow, AConsumerThatDoesNotReadStopsItsOwnDeliveriesOnly) {
  FrontendOptions options;
  options.output_bytes_max = 400'000;
  TestNode node(options);
  node.declare("other");
  Client producer(node), deaf(node), good(node);
  pn_link_t* to_q = producer.to("q");
  pn_link_t* to_other = producer.to("other");
  pn_link_t* good_link = good.from("other", 500);
  deaf.from("q", 1000);
  deaf.reads = false;
  for (int i = 0; i < 200; ++i) {
    producer.publish(to_q, "q" + std::to_string(i) + amqp::pattern(10'000));
    producer.publish(to_other, "o" + std::to_string(i));
    producer.run();
  }
  good.run();
  EXPECT_EQ(good.take_ids(good_link).size(), 200U) << "another queue's consumer has all";
  const FlowStatus status = node.frontend.flow_status(node.clock.now());
  EXPECT_LE(status.output_bytes, options.output_bytes_max + 20'000);
  EXPECT_GT(pn_link_credit(to_other), 0);
  node.clock.advance(seconds(2));
  node.tick();
  node.clock.advance(seconds(2));
  node.tick();
  EXPECT_GT(stall_seconds(node, "consumer_window"), 1.5);
  EXPECT_EQ(stall_seconds(node, "journal"), 0);
}

TEST(FrontendFlow, WhoHadNoRoomForOutputGetsItsMessagesWhenThereIsSomeAgain) {
  FrontendOptions options;
  options.output_bytes_max = 10'000;
  TestNode node(options);
  node.declare("other");
  Client producer(node), good(node);
  auto deaf = std::make_unique<Client>(node);
  deaf->from("q", 10);
  deaf->reads = false;
  pn_link_t* good_link = good.from("other", 10);
  producer.publish(producer.to("q"), amqp::pattern(30'000));
  producer.run();
  good.reads = false;
  producer.publish(producer.to("other"), "waits");
  producer.run();
  good.reads = true;
  good.run();
  EXPECT_TRUE(good.take_ids(good_link).empty()) << "all room is taken, twice over";
  deaf->lose();
  node.clock.advance(milliseconds(100));
  node.tick();
  good.run();
  EXPECT_EQ(good.take_ids(good_link), (std::vector<std::string>{"waits"}));
}

TEST(FrontendFlow, ClientsThatDoNotReadAreEndedWhenTheirOutputTakesAllRoom) {
  FrontendOptions options;
  options.output_bytes_max = 10'000;
  TestNode node(options);
  Client producer(node), deaf(node);
  deaf.from("q", 10);
  deaf.reads = false;
  producer.publish(producer.to("q"), amqp::pattern(30'000));
  producer.run();
  node.clock.advance(seconds(9));
  node.tick();
  EXPECT_EQ(node.frontend.counters().links_cut, 0U);
  node.clock.advance(seconds(2));
  node.tick();
  EXPECT_EQ(node.frontend.counters().links_cut, 1U);
  node.clock.advance(seconds(2));
  node.tick();
  EXPECT_EQ(node.frontend.counters().links_cut, 1U) << "once";
}

TEST(FrontendFlow, HalfMessagesOfOneProducerDoNotEndAnothersLink) {
  FrontendOptions options;
  options.unfinished_bytes_max = 300'000;
  TestNode node(options);
  Client slow(node), other(node);
  std::vector<pn_link_t*> links;
  const auto begin = [](Client& of, pn_link_t* link, std::size_t bytes) {
    static int n = 0;
    const std::string tag = "half" + std::to_string(n++);
    pn_delivery(link, pn_dtag(tag.data(), tag.size()));
    const std::string part(bytes, 'x');
    pn_link_send(link, part.data(), part.size());
    of.run();
  };
  pn_link_t* small = other.to("q");
  begin(other, small, 50'000);
  for (int i = 0; i < 3; ++i) {
    links.push_back(slow.to("q"));
    begin(slow, links.back(), 100'000);
  }
  slow.run();
  for (pn_link_t* link : links) {
    EXPECT_TRUE(ended(link));
    EXPECT_EQ(condition_of(link), "amqp:resource-limit-exceeded");
  }
  EXPECT_FALSE(ended(small));
  EXPECT_EQ(node.frontend.counters().links_cut, 3U);
  EXPECT_LE(node.frontend.flow_status(node.clock.now()).unfinished_bytes, 60'000U);
  EXPECT_FALSE(ended(slow.to("q"))) << "the connection lives on";
}

TEST(FrontendFlow, AStallIsCountedToldAndItsEndToo) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  client.publish(sender, "one");
  client.run();
  node.flow_figures.memory_bytes = 256 * kMiB;
  std::vector<StallNotice> told;
  for (int i = 0; i < 80; ++i) {
    node.clock.advance(milliseconds(100));
    node.tick();
    round(node, {&client});
    node.frontend.stall_notices(node.clock.now(), told);
  }
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].reason, StallReason::memory);
  EXPECT_EQ(pn_link_credit(sender), 0);
  EXPECT_GT(stall_seconds(node, "memory"), 6);
  EXPECT_EQ(node.frontend.flow_status(node.clock.now()).credit_granted, 0U);
  node.flow_figures.memory_bytes = 0;
  for (int i = 0; i < 20; ++i) {
    node.clock.advance(milliseconds(100));
    node.tick();
    round(node, {&client});
    node.frontend.stall_notices(node.clock.now(), told);
  }
  ASSERT_EQ(told.size(), 2U);
  EXPECT_TRUE(told[1].ended);
  EXPECT_GT(pn_link_credit(sender), 900);
  EXPECT_EQ(client.transport_error, "");
}

TEST(FrontendFlow, ConsumersWithoutCreditAreSeenWhenMessagesWaitForThem) {
  TestNode node;
  Client client(node);
  client.from("q", 0);
  for (int i = 0; i < 3; ++i) {
    node.clock.advance(seconds(1));
    node.tick();
  }
  EXPECT_EQ(stall_seconds(node, "link_credit"), 0) << "nothing waits";
  client.publish(client.to("q"), "one");
  client.run();
  for (int i = 0; i < 4; ++i) {
    node.clock.advance(seconds(1));
    node.tick();
  }
  EXPECT_GE(stall_seconds(node, "link_credit"), 2);
}

}  // namespace
}  // namespace mainstay::frontend
