#include "replica/recover.h"

#include "replica/replica_test_support.h"

namespace mainstay::replica {
namespace {

using testing::Pair;

TEST(Recover, CheckpointAndTailGiveTheSameStateAsTheWholeLog) {
  Pair pair;
  pair.east.promote(1);
  pair.settle();
  const auto queue = pair.east.declare();
  for (int i = 0; i < 20; ++i) pair.east.publish(queue, std::to_string(i));
  pair.settle();
  const auto snapshot = pair.east.replica->snapshot();
  ASSERT_EQ(snapshot.lsn, pair.east.journal->durable().lsn);
  ASSERT_TRUE(pair.east.journal->store_checkpoint(snapshot.lsn, snapshot.state));
  for (int i = 20; i < 30; ++i) pair.east.publish(queue, std::to_string(i));
  pair.settle();
  const std::uint64_t hash = pair.east.replica->state().hash();
  pair.east.crash();
  EXPECT_EQ(pair.east.checkpoint_used, snapshot.lsn);
  EXPECT_EQ(pair.east.replica->state().hash(), hash);
  EXPECT_EQ(pair.east.replica->state().recompute_hash(), hash);
  EXPECT_EQ(pair.east.replica->term(), RegionTerm{1}) << "also when its record is before the checkpoint";
}

TEST(Recover, TermIsKeptBesideTheLog) {
  MemoryDisk disk;
  EXPECT_EQ(*load_term(disk, ""), RegionTerm{});
  ASSERT_TRUE(store_term(disk, "", RegionTerm{7}));
  disk.crash_losing_unsynced();
  EXPECT_EQ(*load_term(disk, ""), RegionTerm{7});
}

TEST(Recover, DamagedTermIsAnErrorThatNamesTheFile) {
  for (std::uint64_t at = 0; at < 24; ++at) {
    MemoryDisk disk("node-disk");
    ASSERT_TRUE(store_term(disk, "", RegionTerm{7}));
    disk.flip("term", at);
    const auto term = load_term(disk, "");
    ASSERT_FALSE(term) << at;
    EXPECT_NE(term.error().what.find("node-disk/term"), std::string::npos) << term.error().what;
  }
}

}  // namespace
}  // namespace mainstay::replica
