// Durability levels in a queue's options: recorded, replicated, and absent from records of before.
#include <gtest/gtest.h>

#include "broker/broker_test_support.h"
#include "broker/effects.h"
#include "broker/leader.h"

namespace mainstay::broker {
namespace {

TEST(Durability, NamesAndLevelsAgree) {
  for (const Durability level : {Durability::journal, Durability::region, Durability::global}) {
    EXPECT_EQ(durability_of(durability_name(level)), level);
  }
  EXPECT_FALSE(durability_of("everywhere"));
  EXPECT_FALSE(durability_of(""));
}

TEST(Durability, FlagsOfBeforeMeanJournalAndThatProducersMayChoose) {
  for (std::uint8_t flags = 0; flags < 8; ++flags) {
    QueueOptions options;
    ASSERT_TRUE(read_queue_flags(flags, options));
    EXPECT_EQ(options.durability, Durability::journal);
    EXPECT_TRUE(options.producers_choose_durability);
    EXPECT_EQ(queue_flags(options), flags);
  }
}

TEST(Durability, EveryFlagByteIsReadAsItIsWrittenOrRefused) {
  int read = 0;
  for (unsigned flags = 0; flags < 256; ++flags) {
    QueueOptions options;
    if (!read_queue_flags(static_cast<std::uint8_t>(flags), options)) continue;
    EXPECT_EQ(queue_flags(options), flags);
    ++read;
  }
  EXPECT_EQ(read, 8 * 3 * 2) << "three levels, chosen or not; no fourth level, no unknown flag";
}

TEST(Durability, AQueuesLevelIsInTheLogAndInTheStatesHash) {
  testing::MemoryLog log;
  State state;
  SeededRandom random{3};
  Leader leader(state, log.builder, random);
  QueueOptions options;
  const QueueId queue = leader.declare_queue("q", options, WallTime{1000}).value();
  const std::uint64_t before = state.hash();
  options.durability = Durability::global;
  options.producers_choose_durability = false;
  ASSERT_TRUE(leader.declare_queue("q", options, WallTime{1000}));
  EXPECT_NE(state.hash(), before);
  EXPECT_EQ(state.hash(), state.recompute_hash());
  State replica;
  for (const journal::Record& record : log.records()) ASSERT_TRUE(replica.apply(record));
  EXPECT_EQ(replica.options(queue), options);
  EXPECT_EQ(replica.hash(), state.hash());
}

TEST(Durability, AnAnswerSaysWhatItHasToWaitFor) {
  testing::MemoryLog log;
  State state;
  SeededRandom random{3};
  Leader leader(state, log.builder, random);
  Publish publish;
  publish.queue = leader.declare_queue("q", {}, WallTime{1000}).value();
  publish.durability = Durability::global;
  std::vector<Output> out;
  leader.publish(publish, WallTime{1000}, out);
  ASSERT_EQ(out.size(), 1U);
  EXPECT_EQ(std::get<PublishDone>(out[0]).durability, Durability::global);
}

}  // namespace
}  // namespace mainstay::broker
