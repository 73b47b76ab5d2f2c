#include "replica/recover.h"

#include <algorithm>

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
  const Lsn at = pair.east.store_checkpoint();
  ASSERT_EQ(at, pair.east.journal->durable().lsn);
  for (int i = 20; i < 30; ++i) pair.east.publish(queue, std::to_string(i));
  pair.settle();
  const std::uint64_t hash = pair.east.replica->state().hash();
  pair.east.crash();
  EXPECT_EQ(pair.east.checkpoint_used, at);
  EXPECT_EQ(pair.east.not_used, "");
  EXPECT_EQ(pair.east.replica->state().hash(), hash);
  EXPECT_EQ(pair.east.replica->state().recompute_hash(), hash);
  EXPECT_EQ(pair.east.replica->term(), RegionTerm{1}) << "also when its record is before the checkpoint";
}

TEST(Recover, CheckpointWithADamagedPageIsPassedOverForTheOneBefore) {
  Pair pair;
  pair.east.promote(1);
  pair.settle();
  const auto queue = pair.east.declare();
  for (int i = 0; i < 500; ++i) pair.east.publish(queue, std::to_string(i));
  pair.settle();
  const Lsn first = pair.east.store_checkpoint();
  const auto paths = pair.east.disk.paths();
  for (int i = 500; i < 1000; ++i) pair.east.publish(queue, std::to_string(i));
  pair.settle();
  const Lsn second = pair.east.store_checkpoint();
  ASSERT_GT(second, first);
  const std::uint64_t hash = pair.east.replica->state().hash();
  std::size_t damaged = 0;
  for (const std::string& path : pair.east.disk.paths()) {
    if (path.find("pages/") == std::string::npos) continue;
    if (std::find(paths.begin(), paths.end(), path) != paths.end()) continue;
    const std::uint64_t bytes = pair.east.disk.contents(path).size();
    for (std::uint64_t at = 64; at < bytes; at += 64) pair.east.disk.flip(path, at);
    ++damaged;
  }
  ASSERT_GT(damaged, 0U) << "the second checkpoint has pages of its own";
  pair.east.crash();
  EXPECT_EQ(pair.east.checkpoint_used, first);
  EXPECT_NE(pair.east.not_used.find("checkpoint " + std::to_string(second.value)), std::string::npos)
      << pair.east.not_used;
  EXPECT_EQ(pair.east.replica->state().hash(), hash);
  pair.east.replica->state().check_invariants();
}

TEST(Recover, WithoutAnyPageTheWholeLogIsApplied) {
  Pair pair;
  pair.east.promote(1);
  pair.settle();
  const auto queue = pair.east.declare();
  for (int i = 0; i < 300; ++i) pair.east.publish(queue, std::to_string(i));
  pair.settle();
  pair.east.store_checkpoint();
  const std::uint64_t hash = pair.east.replica->state().hash();
  for (const std::string& path : pair.east.disk.paths()) {
    if (path.find("pages/") != std::string::npos) pair.east.disk.erase(path);
  }
  pair.east.crash();
  EXPECT_EQ(pair.east.checkpoint_used, Lsn{});
  EXPECT_EQ(pair.east.replica->state().hash(), hash);
}

TEST(Recover, TermIsKeptBesideTheLog) {
  MemoryDisk disk;
  EXPECT_EQ(*load_term(disk, ""), RegionTerm{});
  ASSERT_TRUE(store_term(disk, "", RegionTerm{7}));
  disk.crash_losing_unsynced();
  EXPECT_EQ(*load_term(disk, ""), RegionTerm{7});
}

TEST(Recover, AHigherTermIsStoredOnADiskThatIsFull) {
  MemoryDisk disk;
  ASSERT_TRUE(store_term(disk, "", RegionTerm{7}));
  disk.set_capacity(0);
  ASSERT_TRUE(store_term(disk, "", RegionTerm{8}));
  disk.crash_losing_unsynced();
  EXPECT_EQ(*load_term(disk, ""), RegionTerm{8});
  EXPECT_FALSE(disk.exists("term.new"));
}

/// A process ends while it stores a higher term, or because it cannot; the next one reads what is there, and
/// then the machine loses its power.
TEST(Recover, ATermThatARestartBelievedIsNotGoneAfterAPowerLoss) {
  const journal::JournalOptions options{.cluster = testing::test_cluster(),
                                        .node = "west-1",
                                        .segment_bytes = 64 << 10,
                                        .record_bytes_max = 8 << 10};
  int ended = 0, believed_higher = 0;
  for (const bool full : {false, true}) {
    for (const bool sync_fails : {false, true}) {
      for (std::uint64_t at = 0; at < 12; ++at) {
        SCOPED_TRACE((full ? "full disk, " : "") +
                     std::string(sync_fails ? "failing sync " : "killed after ") + std::to_string(at));
        SeededRandom random(at + 1);
        MemoryDisk disk("node-disk");
        ASSERT_TRUE(recover(disk, "", options, random));
        disk.kill();
        ASSERT_TRUE(store_term(disk, "", RegionTerm{7}));
        if (full) disk.set_capacity(0);
        if (sync_fails) {
          disk.fail_next_sync(at);
        } else {
          disk.stop_after(at);
        }
        if (!store_term(disk, "", RegionTerm{8})) ++ended;
        disk.kill();
        const auto restarted = recover(disk, "", options, random);
        ASSERT_TRUE(restarted) << restarted.error().what;
        ASSERT_TRUE(restarted->last_term == RegionTerm{7} || restarted->last_term == RegionTerm{8});
        if (restarted->last_term == RegionTerm{8}) ++believed_higher;
        disk.crash_losing_unsynced();
        EXPECT_EQ(*load_term(disk, ""), restarted->last_term);
      }
    }
  }
  EXPECT_GE(ended, 8);
  EXPECT_GE(believed_higher, 24);
}

TEST(Recover, AFirstTermNeedsSpace) {
  MemoryDisk disk("node-disk");
  disk.set_capacity(0);
  const auto stored = store_term(disk, "", RegionTerm{1});
  ASSERT_FALSE(stored);
  EXPECT_NE(stored.error().what.find("the region term cannot be stored: "), std::string::npos)
      << stored.error().what;
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
