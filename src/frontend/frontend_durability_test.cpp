// What a confirm waits for, and who may ask for what.
#include <proton/message.h>

#include "frontend/durability.h"
#include "frontend/frontend_test_support.h"

namespace mainstay::frontend {
namespace {

using broker::Durability;
using testing::Client;
using testing::condition_of;
using testing::description_of;
using testing::ended;
using testing::TestNode;

/// As an unmodified client sends it: a message annotation beside the body.
std::string annotated(const char* level, bool symbol = false) {
  pn_message_t* message = pn_message();
  pn_data_t* annotations = pn_message_annotations(message);
  pn_data_put_map(annotations);
  pn_data_enter(annotations);
  pn_data_put_symbol(annotations, Client::bytes_of("x-opt-partition-key"));
  pn_data_put_string(annotations, Client::bytes_of("k"));
  pn_data_put_symbol(annotations, Client::bytes_of("x-opt-mainstay-durability"));
  if (symbol) {
    pn_data_put_symbol(annotations, Client::bytes_of(level));
  } else {
    pn_data_put_string(annotations, Client::bytes_of(level));
  }
  pn_data_exit(annotations);
  pn_data_put_string(pn_message_body(message), Client::bytes_of("body"));
  std::string out(1000, ' ');
  std::size_t size = out.size();
  EXPECT_EQ(pn_message_encode(message, out.data(), &size), 0);
  out.resize(size);
  pn_message_free(message);
  return out;
}

pn_link_t* sender_asking(Client& client, const char* level, const char* queue = "q") {
  static int n = 0;
  pn_link_t* link = pn_sender(client.on, ("asking" + std::to_string(++n)).c_str());
  pn_terminus_set_address(pn_link_target(link), queue);
  pn_data_t* properties = pn_link_properties(link);
  pn_data_put_map(properties);
  pn_data_enter(properties);
  pn_data_put_symbol(properties, Client::bytes_of("mainstay:durability"));
  pn_data_put_string(properties, Client::bytes_of(level));
  pn_data_exit(properties);
  pn_link_open(link);
  client.run();
  return link;
}

TEST(FrontendDurability, TheQueuesLevelIsTheLeastAndProducersMayAskForMore) {
  broker::QueueOptions queue;
  EXPECT_EQ(durability_due(queue, {}).level, Durability::journal);
  EXPECT_EQ(durability_due(queue, Durability::global).level, Durability::global);
  EXPECT_FALSE(durability_due(queue, Durability::global).refusal);
  queue.durability = Durability::global;
  EXPECT_EQ(durability_due(queue, Durability::journal).level, Durability::global);
  queue = {};
  queue.producers_choose_durability = false;
  EXPECT_TRUE(durability_due(queue, Durability::global).refusal);
  EXPECT_FALSE(durability_due(queue, Durability::journal).refusal);
}

TEST(FrontendDurability, AMessageThatAsksForGlobalIsConfirmedWhenTheOtherRegionHasIt) {
  for (const bool symbol : {false, true}) {
    TestNode node;
    node.durability_max = Durability::global;
    Client client(node);
    pn_link_t* sender = client.to("q");
    pn_delivery_t* global = client.put(sender, annotated("global", symbol));
    pn_delivery_t* local = client.put(sender, annotated("journal", symbol));
    client.run();
    EXPECT_EQ(node.stats().active, 2U);
    EXPECT_EQ(pn_delivery_remote_state(global), 0U) << "committed here is not enough";
    EXPECT_EQ(pn_delivery_remote_state(local), PN_ACCEPTED) << "and holds up nobody else";
    node.replicate();
    client.run();
    EXPECT_EQ(pn_delivery_remote_state(global), PN_ACCEPTED);
  }
}

TEST(FrontendDurability, ALinkMayAskForAllItsMessages) {
  TestNode node;
  node.durability_max = Durability::global;
  Client client(node);
  pn_link_t* sender = sender_asking(client, "global");
  ASSERT_FALSE(ended(sender)) << description_of(sender);
  pn_delivery_t* one = client.publish(sender, "one");
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(one), 0U);
  node.replicate();
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(one), PN_ACCEPTED);
}

TEST(FrontendDurability, AQueuesLeastLevelCannotBeUndercut) {
  TestNode node;
  node.durability_max = Durability::global;
  broker::QueueOptions options;
  options.durability = Durability::global;
  node.declare("safe", options);
  Client client(node);
  pn_delivery_t* one = client.put(client.to("safe"), annotated("journal"));
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(one), 0U);
  node.replicate();
  client.run();
  EXPECT_EQ(pn_delivery_remote_state(one), PN_ACCEPTED);
}

TEST(FrontendDurability, WhatCannotBeKeptIsRefusedAndNothingIsStored) {
  TestNode node;
  Client client(node);
  pn_link_t* sender = client.to("q");
  for (const char* level : {"region", "global"}) {
    pn_delivery_t* asked = client.put(sender, annotated(level));
    client.run();
    EXPECT_EQ(condition_of(asked), "amqp:precondition-failed") << level;
    pn_link_t* link = sender_asking(client, level);
    EXPECT_TRUE(ended(link));
    EXPECT_EQ(condition_of(link), "amqp:precondition-failed") << level;
  }
  pn_delivery_t* unknown = client.put(sender, annotated("everywhere"));
  client.run();
  EXPECT_EQ(condition_of(unknown), "amqp:invalid-field");
  EXPECT_EQ(condition_of(sender_asking(client, "everywhere")), "amqp:invalid-field");
  EXPECT_EQ(node.stats().active, 0U);
  EXPECT_FALSE(ended(sender)) << "a message's own mistake does not end its link";
}

TEST(FrontendDurability, AQueueMayKeepTheChoiceToItself) {
  TestNode node;
  node.durability_max = Durability::global;
  broker::QueueOptions options;
  options.producers_choose_durability = false;
  node.declare("fixed", options);
  Client client(node);
  pn_link_t* sender = client.to("fixed");
  pn_delivery_t* more = client.put(sender, annotated("global"));
  pn_delivery_t* same = client.put(sender, annotated("journal"));
  client.run();
  EXPECT_EQ(condition_of(more), "amqp:not-allowed");
  EXPECT_EQ(pn_delivery_remote_state(same), PN_ACCEPTED);
}

TEST(FrontendDurability, ARefusedPublishIsToldAtOnceWhateverItAskedFor) {
  TestNode node;
  node.durability_max = Durability::global;
  broker::QueueOptions options;
  options.requires_session = true;
  node.declare("s", options);
  Client client(node);
  pn_delivery_t* without = client.put(client.to("s"), annotated("global"));
  client.run();
  EXPECT_EQ(condition_of(without), "amqp:not-allowed");
}

}  // namespace
}  // namespace mainstay::frontend
