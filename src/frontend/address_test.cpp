#include "frontend/address.h"

#include <gtest/gtest.h>

namespace mainstay::frontend {
namespace {

using broker::SubQueue;

struct Case {
  const char* text;
  const char* entity;
  SubQueue sub;
};

TEST(Address, IsReadAsClientsWriteIt) {
  const Case cases[] = {
      {"payments", "payments", SubQueue::active},
      {"/payments", "payments", SubQueue::active},
      {"payments/in", "payments/in", SubQueue::active},
      {"amqp://host/payments", "payments", SubQueue::active},
      {"amqps://host.example:5671/payments/in", "payments/in", SubQueue::active},
      {"sb://ns.example/payments/$DeadLetterQueue", "payments", SubQueue::dead_letter},
      {"payments/$DeadLetterQueue", "payments", SubQueue::dead_letter},
      {"payments/$deadletterqueue", "payments", SubQueue::dead_letter},
      {"payments/$DEADLETTERQUEUE", "payments", SubQueue::dead_letter},
      {"payments/%24DeadLetterQueue", "payments", SubQueue::dead_letter},
      {"payments%2Fin", "payments/in", SubQueue::active},
      {"pay%20ments", "pay ments", SubQueue::active},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const Address address = read_address(c.text);
    EXPECT_EQ(address.entity, c.entity);
    EXPECT_EQ(address.sub, c.sub);
  }
}

TEST(Address, TheManagementNodeIsOfTheQueueOrOfItsDeadLetterQueue) {
  struct Node {
    const char* text;
    const char* entity;
    SubQueue sub;
    bool management;
  };
  static constexpr Node nodes[] = {
      {"q/$management", "q", SubQueue::active, true},
      {"amqps://host/q/$Management", "q", SubQueue::active, true},
      {"q/$DeadLetterQueue/$management", "q", SubQueue::dead_letter, true},
      {"q/$DeadLetterQueue", "q", SubQueue::dead_letter, false},
      {"q/$management/x", "q/$management/x", SubQueue::active, false},
      {"q/$management/$DeadLetterQueue", "q/$management", SubQueue::dead_letter, false},
      {"$management", "$management", SubQueue::active, false},
      {"q$management", "q$management", SubQueue::active, false},
  };
  for (const Node& n : nodes) {
    SCOPED_TRACE(n.text);
    const Address address = read_address(n.text);
    EXPECT_EQ(address.entity, n.entity);
    EXPECT_EQ(address.sub, n.sub);
    EXPECT_EQ(address.management, n.management);
  }
}

TEST(Address, OddTextsStayWhatTheyAre) {
  EXPECT_EQ(read_address("").entity, "");
  EXPECT_EQ(read_address("/").entity, "");
  EXPECT_EQ(read_address("amqps://host").entity, "") << "a host alone names no queue";
  EXPECT_EQ(read_address("100%").entity, "100%");
  EXPECT_EQ(read_address("a%2").entity, "a%2");
  EXPECT_EQ(read_address("a%zzb").entity, "a%zzb");
  EXPECT_EQ(read_address("a%2541").entity, "a%41") << "decoded once";
  EXPECT_EQ(read_address("$DeadLetterQueue").entity, "$DeadLetterQueue") << "of which queue?";
  EXPECT_EQ(read_address("$DeadLetterQueue").sub, SubQueue::active);
  EXPECT_EQ(read_address("x$DeadLetterQueue").sub, SubQueue::active);
  EXPECT_EQ(read_address("queue-named-like-a-scheme://x").entity, "queue-named-like-a-scheme://x");
}

}  // namespace
}  // namespace mainstay::frontend
