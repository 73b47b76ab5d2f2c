#include "replica/held_outputs.h"

#include <gtest/gtest.h>

namespace mainstay::replica {
namespace {

broker::Deliver deliver(std::uint64_t consumer, std::uint64_t after) {
  broker::Deliver output;
  output.after = Lsn{after};
  output.delivery.consumer = consumer;
  return output;
}

std::vector<std::size_t> kinds(const std::vector<Output>& released) {
  std::vector<std::size_t> all;
  for (const auto& output : released) all.push_back(std::get<broker::Output>(output).index());
  return all;
}
constexpr std::size_t kDeliver = 1, kDrained = 5;

TEST(HeldOutputs, DeliveryOfACommittedMessageDoesNotWaitForASync) {
  HeldOutputs held;
  std::vector<Output> released;
  broker::PublishDone done;
  done.after = Lsn{11};
  std::vector<broker::Output> made{done, deliver(1, 9)};
  held.add(made, Lsn{10}, released, {});
  EXPECT_TRUE(made.empty());
  EXPECT_EQ(kinds(released), (std::vector<std::size_t>{kDeliver}));
  held.release(Lsn{11}, released);
  EXPECT_EQ(released.size(), 2U);
}

TEST(HeldOutputs, AConsumerSeesItsOutputsInOrder) {
  HeldOutputs held;
  std::vector<Output> released;
  std::vector<broker::Output> made{deliver(1, 12), broker::Drained{1}, broker::Drained{2}};
  held.add(made, Lsn{10}, released, {});
  EXPECT_EQ(released.size(), 1U) << "only the other consumer's";
  held.release(Lsn{11}, released);
  EXPECT_EQ(released.size(), 1U);
  held.release(Lsn{12}, released);
  EXPECT_EQ(kinds(released), (std::vector<std::size_t>{kDrained, kDeliver, kDrained}));
  made = {broker::Drained{1}};
  held.add(made, Lsn{12}, released, {});
  EXPECT_EQ(released.size(), 4U) << "nothing is held for it any more";
}

broker::PublishDone global_publish(std::uint64_t tag, std::uint64_t after) {
  broker::PublishDone done;
  done.tag = tag;
  done.after = Lsn{after};
  done.durability = broker::Durability::global;
  return done;
}

TEST(HeldOutputs, AnAnswerOfDurabilityGlobalWaitsForTheOtherRegion) {
  HeldOutputs held;
  std::vector<Output> released;
  broker::PublishDone local;
  local.after = Lsn{12};
  std::vector<broker::Output> made{global_publish(1, 11), local, deliver(1, 11)};
  held.add(made, Lsn{10}, released, {{}, Lsn{10}});
  held.release(Lsn{12}, released);
  EXPECT_EQ(released.size(), 2U) << "the others go on";
  EXPECT_EQ(held.held_far(), 1U);
  held.release_far({{}, Lsn{10}}, released);
  EXPECT_EQ(released.size(), 2U);
  held.release_far({{}, Lsn{11}}, released);
  ASSERT_EQ(released.size(), 3U);
  EXPECT_EQ(std::get<broker::PublishDone>(std::get<broker::Output>(released[2])).tag, 1U);
  EXPECT_EQ(held.held_far(), 0U);
}

TEST(HeldOutputs, ADuplicateOfWhatTheOtherRegionHasIsAnsweredAtOnce) {
  HeldOutputs held;
  std::vector<Output> released;
  std::vector<broker::Output> made{global_publish(1, 7), global_publish(2, 9)};
  held.add(made, Lsn{10}, released, {{}, Lsn{8}});
  EXPECT_EQ(released.size(), 1U);
  auto refused = global_publish(3, 0);
  refused.error = broker::BrokerError{broker::ErrorCode::session_required, "no"};
  made = {refused};
  held.add(made, Lsn{10}, released, {{}, Lsn{8}});
  EXPECT_EQ(released.size(), 2U) << "an error waits for nothing";
  held.drop();
  held.release_far({{}, Lsn{100}}, released);
  EXPECT_EQ(released.size(), 2U);
}

TEST(HeldOutputs, KeepTheirOrderHoweverManyAreReleasedAtATime) {
  for (const std::uint64_t step : {1U, 3U, 64U, 700U}) {
    HeldOutputs held;
    std::vector<Output> released;
    std::uint64_t ordered = 0, committed = 0;
    while (committed < 5000) {
      std::vector<broker::Output> made;
      for (std::uint64_t i = 0; i < step + (committed < 2000 ? 1 : 0); ++i) {
        broker::PublishDone done;
        done.tag = ++ordered;
        done.after = Lsn{ordered};
        made.emplace_back(done);
      }
      held.add(made, Lsn{committed}, released, {});
      committed = std::min(committed + step, ordered);
      held.release(Lsn{committed}, released);
      ASSERT_EQ(released.size(), committed);
      ASSERT_EQ(held.held(), ordered - committed);
    }
    for (std::size_t i = 0; i < released.size(); ++i) {
      ASSERT_EQ(std::get<broker::PublishDone>(std::get<broker::Output>(released[i])).tag, i + 1);
    }
  }
}

TEST(HeldOutputs, TextsLiveAsLongAsTheOutputThatShowsThem) {
  HeldOutputs held;
  std::vector<Output> released;
  std::vector<broker::Output> made;
  {
    const std::string reason(100, 'r');
    auto output = deliver(1, 12);
    output.delivery.dead_letter_reason = reason;
    made.push_back(output);
    held.add(made, Lsn{10}, released, {});
  }
  held.release(Lsn{12}, released);
  const auto& shown = std::get<broker::Deliver>(std::get<broker::Output>(released.at(0)));
  EXPECT_EQ(shown.delivery.dead_letter_reason, std::string(100, 'r'));
}

TEST(HeldOutputs, DroppedOutputsAreNeverShown) {
  HeldOutputs held;
  std::vector<Output> released;
  std::vector<broker::Output> made{deliver(1, 12)};
  held.add(made, Lsn{10}, released, {});
  held.drop();
  held.release(Lsn{99}, released);
  EXPECT_TRUE(released.empty());
}

}  // namespace
}  // namespace mainstay::replica
