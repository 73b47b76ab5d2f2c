#include "replica/compare_directories.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <map>

#include "replica/replica_test_support.h"

namespace mainstay::replica {
namespace {

using testing::Pair;
using testing::TestNode;
using Outcome = DirectoryComparison::Outcome;
using LogVerdict = LogComparison::Verdict;
using StateVerdict = StateComparison::Verdict;
using ::testing::HasSubstr;

/// A live node and its standby; the same log in two directories, as in a group.
class CompareDirectories : public ::testing::Test {
 protected:
  void SetUp() override {
    pair.east.promote(1);
    pair.settle();
    pair.connect();
    queue = pair.east.declare();
    publish(pair.east, 300);
    pair.settle();
    ASSERT_EQ(pair.east.journal->durable(), pair.west.journal->durable());
  }
  void publish(TestNode& node, int count) {
    for (int i = 0; i < count; ++i) {
      node.publish(queue, std::to_string(++published));
      if (i % 100 == 0) pair.settle();
    }
    pair.settle();
  }
  void part() { pair.disconnect(); }
  DirectoryComparison compare(std::optional<Lsn> at = {}, std::size_t positions_max = 1 << 16) {
    CompareOptions options;
    options.at = at;
    options.positions_max = positions_max;
    options.limits = pair.east.limits;
    auto found = compare_directories(pair.east.disk, "", pair.west.disk, "", options);
    EXPECT_TRUE(found) << found.error().what;
    return found ? std::move(*found) : DirectoryComparison{};
  }
  static std::uint64_t hash_of(const TestNode& node) { return node.replica->state().hash(); }
  static Lsn end_of(const TestNode& node) { return node.journal->durable().lsn; }
  std::vector<std::string> segments(const TestNode& node) {
    auto paths = node.disk.paths();
    std::erase_if(paths, [](const std::string& path) { return !path.starts_with("segment-"); });
    return paths;
  }

  static ReplicaOptions with_state_hashes() {
    ReplicaOptions options;
    options.state_hash_every = 100;
    return options;
  }

  Pair pair{with_state_hashes()};
  broker::QueueId queue{};
  int published = 0;
};

TEST_F(CompareDirectories, TheSameLogAndStateAreEqualAndNothingIsChanged) {
  const auto mutations = [&] {
    return pair.east.disk.counters().mutations + pair.west.disk.counters().mutations;
  };
  pair.east.store_checkpoint();
  const auto before = mutations();
  const DirectoryComparison found = compare();
  EXPECT_EQ(mutations(), before);
  EXPECT_EQ(found.outcome(), Outcome::equal);
  EXPECT_EQ(found.log.to, end_of(pair.east));
  EXPECT_EQ(found.state.at, end_of(pair.east));
  EXPECT_EQ(found.state.first->hash, hash_of(pair.east));
  EXPECT_EQ(found.state.second->hash, hash_of(pair.west));
  EXPECT_EQ(found.state.first->checkpoint, end_of(pair.east));
  EXPECT_EQ(found.state.second->checkpoint, Lsn{}) << "from nothing, and yet the same";
  EXPECT_EQ(found.state.first->messages, 300U);
}

TEST_F(CompareDirectories, AStandbyThatIsBehindIsComparedWhereItEnds) {
  part();
  const std::uint64_t hash = hash_of(pair.west);
  publish(pair.east, 50);
  pair.east.store_checkpoint();
  const DirectoryComparison found = compare();
  EXPECT_EQ(found.outcome(), Outcome::equal);
  EXPECT_EQ(found.log.to, end_of(pair.west));
  EXPECT_EQ(found.state.at, end_of(pair.west));
  EXPECT_EQ(found.state.first->hash, hash);
  EXPECT_EQ(found.state.first->checkpoint, Lsn{}) << "the checkpoint is newer";
}

TEST_F(CompareDirectories, AnyPositionCanBeAskedForAndTheLogsOwnHashIsThere) {
  Lsn noted{};
  const auto log = journal::LogFiles::look(pair.east.disk, "").value();
  ASSERT_TRUE(log.walk(Lsn{1}, end_of(pair.east), [&](const journal::Record& record) {
    if (record.header.type == journal::RecordType::state_hash) noted = record.header.lsn;
    return true;
  }));
  ASSERT_GT(noted, Lsn{100});
  for (const Lsn at : {noted, Lsn{noted.value - 1}}) {
    const DirectoryComparison found = compare(at);
    EXPECT_EQ(found.outcome(), Outcome::equal);
    EXPECT_EQ(found.state.at, at);
    EXPECT_EQ(found.state.first->recorded, found.state.first->hash);
    EXPECT_EQ(found.state.first->recorded_by, noted);
  }
  EXPECT_FALSE(compare(Lsn{noted.value - 2}).state.first->recorded);
}

TEST_F(CompareDirectories, APositionThatOneHasNotIsSaidAndTheLogsAreComparedAllTheSame) {
  part();
  publish(pair.east, 10);
  const DirectoryComparison found = compare(end_of(pair.east));
  EXPECT_EQ(found.outcome(), Outcome::not_compared);
  EXPECT_EQ(found.log.verdict, LogVerdict::equal);
  EXPECT_THAT(found.state.why,
              HasSubstr("LSN " + std::to_string(end_of(pair.east).value) + " is not in both"));
  EXPECT_THAT(found.state.why, HasSubstr("to LSN 0 to " + std::to_string(end_of(pair.west).value)));
}

TEST_F(CompareDirectories, ALogWithoutItsBeginningIsComparedFromItsCheckpoint) {
  publish(pair.east, 3'000);
  const Lsn oldest = pair.east.store_checkpoint();
  publish(pair.east, 10);
  part();
  publish(pair.east, 10);
  pair.east.store_checkpoint();
  ASSERT_TRUE(pair.east.journal->remove_before(oldest));
  const DirectoryComparison found = compare();
  ASSERT_GT(found.first.first, Lsn{1});
  EXPECT_EQ(found.first.reach.from, oldest);
  EXPECT_EQ(found.outcome(), Outcome::equal);
  EXPECT_EQ(found.log.from, Lsn{found.first.first.value - 1});
  EXPECT_EQ(found.state.at, end_of(pair.west));
  EXPECT_EQ(found.state.first->checkpoint, oldest);
  EXPECT_EQ(found.state.first->hash, hash_of(pair.west));
  const DirectoryComparison early = compare(Lsn{oldest.value - 1});
  EXPECT_EQ(early.outcome(), Outcome::not_compared);
  EXPECT_THAT(early.state.why, HasSubstr("LSN " + std::to_string(oldest.value) + " to " +
                                         std::to_string(end_of(pair.east).value)));
}

TEST_F(CompareDirectories, LogsThatDoNotMeetAreNotCompared) {
  part();
  publish(pair.east, 4'000);
  const Lsn oldest = pair.east.store_checkpoint();
  publish(pair.east, 10);
  pair.east.store_checkpoint();
  ASSERT_TRUE(pair.east.journal->remove_before(oldest));
  const DirectoryComparison found = compare();
  ASSERT_GT(found.first.first, end_of(pair.west).next());
  EXPECT_EQ(found.log.verdict, LogVerdict::nothing_in_common);
  EXPECT_EQ(found.outcome(), Outcome::not_compared);
  EXPECT_THAT(found.state.why, HasSubstr("nothing in common"));
}

TEST_F(CompareDirectories, WhereTheyPartIsFoundAndTheStatesAreComparedBeforeIt) {
  part();
  const Lsn common = end_of(pair.west);
  const std::uint64_t hash = hash_of(pair.west);
  publish(pair.east, 20);
  pair.west.promote(2, true);
  pair.settle();
  publish(pair.west, 20);
  for (const std::size_t positions : {2U, 1U << 16}) {
    const DirectoryComparison found = compare({}, positions);
    EXPECT_EQ(found.outcome(), Outcome::differ);
    EXPECT_EQ(found.log.verdict, LogVerdict::differ);
    ASSERT_TRUE(found.log.exact());
    EXPECT_EQ(found.log.differ_at, common.next());
    EXPECT_EQ(found.log.first->type, journal::RecordType::message_stored);
    EXPECT_EQ(found.log.second->type, journal::RecordType::forked);
    EXPECT_EQ(found.state.verdict, StateVerdict::equal);
    EXPECT_EQ(found.state.at, common);
    EXPECT_EQ(found.state.first->hash, hash);
  }
  const DirectoryComparison later = compare(Lsn{common.value + 10});
  EXPECT_EQ(later.state.verdict, StateVerdict::differ) << "two histories, two states";
}

TEST_F(CompareDirectories, AFlippedByteIsDamageAndTheChainStillSaysThatTheLogsAreTheSame) {
  pair.east.disk.flip(segments(pair.east).front(), 2 * 4096 + 2'000);
  DirectoryComparison found = compare();
  EXPECT_EQ(found.outcome(), Outcome::damaged);
  EXPECT_EQ(found.log.verdict, LogVerdict::equal);
  EXPECT_EQ(found.log.to, end_of(pair.west));
  EXPECT_FALSE(found.first.log.ok);
  EXPECT_TRUE(found.second.log.ok);
  EXPECT_TRUE(found.state.damaged) << "without a checkpoint the state needs the record";
  EXPECT_TRUE(found.state.second);
  pair.east.store_checkpoint();
  found = compare();
  EXPECT_EQ(found.outcome(), Outcome::damaged);
  EXPECT_EQ(found.state.verdict, StateVerdict::equal) << "behind a checkpoint it does not";
}

TEST_F(CompareDirectories, DamageOfALongLogIsComparedAtWhatIsKnown) {
  part();
  const Lsn lower = end_of(pair.west);
  publish(pair.east, 10);
  pair.east.disk.flip(segments(pair.east).front(), 2 * 4096 + 2'000);
  const DirectoryComparison found = compare({}, 16);
  EXPECT_EQ(found.outcome(), Outcome::damaged);
  EXPECT_EQ(found.log.verdict, LogVerdict::equal);
  EXPECT_LE(found.log.to, lower);
  EXPECT_GT(found.log.to, Lsn{lower.value / 2});
}

TEST_F(CompareDirectories, AStateThatIsNotWhatTheLogMakesIsSeen) {
  part();
  const Lsn common = end_of(pair.west);
  publish(pair.east, 5);
  pair.west.promote(2, true);
  pair.settle();
  while (end_of(pair.west) < end_of(pair.east)) publish(pair.west, 1);
  ASSERT_EQ(end_of(pair.east), end_of(pair.west));
  ASSERT_GT(end_of(pair.east), common);
  // The west's state as a checkpoint of the east's log, whole in itself; and the east's log in two places.
  MemoryDisk copy("copy");
  for (const std::string& path : pair.east.disk.paths()) copy.put(path, pair.east.disk.contents(path));
  auto wrong = pair.west.replica->checkpoint();
  ASSERT_TRUE(wrong);
  ASSERT_TRUE(wrong->sealed->sync());
  for (const std::string& path : pair.west.disk.paths()) {
    if (path.starts_with("pages/")) copy.put(path, pair.west.disk.contents(path));
  }
  {
    SeededRandom random(3);
    auto journal = journal::Journal::open(
        copy, "", {.segment_bytes = pair.east.segment_bytes, .record_bytes_max = 8 << 10}, random, Lsn{}, {});
    ASSERT_TRUE(journal) << journal.error().what;
    ASSERT_TRUE((*journal)->store_checkpoint(end_of(pair.east), wrong->root));
  }
  const auto found = compare_directories(pair.east.disk, "", copy, "");
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(found->log.verdict, LogVerdict::equal);
  EXPECT_TRUE(found->second.log.ok);
  EXPECT_EQ(found->state.verdict, StateVerdict::differ);
  EXPECT_EQ(found->outcome(), Outcome::differ);

  // And the log's own word is enough to see it with one node alone.
  pair.east.replica->leader().record_state_hash();
  pair.settle();
  for (const std::string& path : segments(pair.east)) copy.put(path, pair.east.disk.contents(path));
  const auto again = compare_directories(copy, "", copy, "");
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->outcome(), Outcome::damaged);
  EXPECT_THAT(again->state.why, HasSubstr("state hash"));
}

TEST_F(CompareDirectories, AnotherClusterIsRefusedBeforeAnythingIsRead) {
  MemoryDisk other("other");
  SeededRandom random(3);
  ASSERT_TRUE(journal::Journal::open(other, "", {.segment_bytes = 64 << 10}, random, Lsn{}, {}));
  const auto found = compare_directories(pair.east.disk, "", other, "");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, CompareError::Kind::other_cluster);
  EXPECT_THAT(found.error().what, HasSubstr(testing::test_cluster().text()));
}

TEST_F(CompareDirectories, ADirectoryWithoutAJournalIsSaidToBe) {
  MemoryDisk nothing("nothing");
  const auto found = compare_directories(pair.east.disk, "", nothing, "");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, CompareError::Kind::unreadable);
  EXPECT_THAT(found.error().what, HasSubstr("no journal here"));
}

TEST_F(CompareDirectories, ProgressIsTold) {
  publish(pair.east, 2'000);
  int told = 0;
  CompareOptions options;
  options.progress = [&](bool, const char*, Lsn lsn, Lsn) {
    ++told;
    EXPECT_GT(lsn, Lsn{});
  };
  ASSERT_TRUE(compare_directories(pair.east.disk, "", pair.west.disk, "", options));
  EXPECT_GE(told, 8);
}

// --- Where states are compared.

StateReach reach(std::optional<std::uint64_t> from, std::uint64_t to) {
  StateReach out;
  if (from) out.from = Lsn{*from};
  out.to = Lsn{to};
  return out;
}

LogComparison equal_to(std::uint64_t lsn) {
  LogComparison out;
  out.verdict = LogVerdict::equal;
  out.equal_to = Lsn{lsn};
  return out;
}

TEST(ChoosePosition, TheHighestThatBothReachAndAtWhichTheLogsAreTheSame) {
  EXPECT_EQ(choose_position(equal_to(90), reach(0, 90), reach(50, 120), {}).value(), Lsn{90});
  EXPECT_EQ(choose_position(equal_to(90), reach(0, 90), reach(90, 120), {}).value(), Lsn{90});
}

TEST(ChoosePosition, WithoutOneBothReachesAreTold) {
  const auto none = choose_position(equal_to(90), reach(0, 90), reach(91, 120), {});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().what, HasSubstr("the first's state can be brought to LSN 0 to 90"));
  EXPECT_THAT(none.error().what, HasSubstr("the second's to LSN 91 to 120"));
  EXPECT_FALSE(choose_position(equal_to(90), reach({}, 90), reach(0, 120), {}));
}

TEST(ChoosePosition, WhatIsAskedForIsTakenOrRefused) {
  EXPECT_EQ(choose_position(equal_to(90), reach(0, 90), reach(50, 120), Lsn{60}).value(), Lsn{60});
  EXPECT_FALSE(choose_position(equal_to(90), reach(0, 90), reach(50, 120), Lsn{49}));
  EXPECT_FALSE(choose_position(equal_to(90), reach(0, 90), reach(50, 120), Lsn{91}));
}

}  // namespace
}  // namespace mainstay::replica
