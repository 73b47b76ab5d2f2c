// Segments given back to the file system a piece at a time: at every moment of it the log is whole. D10.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/memory_disk.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

constexpr std::uint64_t kStep = 24 << 10;

std::vector<std::string> discarded(const MemoryDisk& disk) {
  std::vector<std::string> found = disk.paths();
  std::erase_if(found, [](const std::string& path) { return !is_discarded(path); });
  return found;
}

std::uint64_t journal_files(const MemoryDisk& disk) {
  std::uint64_t sum = 0;
  for (const std::string& path : disk.paths()) {
    if (!path.starts_with("checkpoint-")) sum += disk.contents(path).size();
  }
  return sum;
}

/// Several segments of which all but the last are no longer needed, set aside as far as the disk lives.
void fill_and_discard(Node& node) {
  for (int i = 0; i < 40; ++i) node.append(std::string(9000, 'd'));
  node.commit();
  const Lsn end = node.journal->durable().lsn;
  static_cast<void>(node.journal->store_checkpoint(Lsn{end.value - 1}, {}));
  static_cast<void>(node.journal->store_checkpoint(end, {}));
  static_cast<void>(node.journal->remove_before(end));
}

std::unique_ptr<Journal> open_again(MemoryDisk& disk) {
  const auto checkpoint = Journal::load_checkpoint(disk, "").value();
  SeededRandom random(3);
  auto opened =
      Journal::open(disk, "", small_segments({.release_step_bytes = kStep}), random, checkpoint.lsn, {});
  EXPECT_TRUE(opened) << opened.error().what;
  return opened ? std::move(*opened) : nullptr;
}

TEST(JournalRelease, FilesShrinkStepByStepAndTheirSpaceCountsUntilItIsGivenBack) {
  MemoryDisk disk;
  Node node(disk, {.release_step_bytes = kStep});
  EXPECT_FALSE(node.journal->wants_release());
  fill_and_discard(node);
  EXPECT_EQ(node.segments() - discarded(disk).size(), 1U);
  const std::size_t files = discarded(disk).size();
  ASSERT_GE(files, 3U);
  const std::uint64_t before = node.journal->disk_bytes();
  EXPECT_EQ(before, journal_files(disk));
  std::uint64_t steps = 0;
  while (node.journal->wants_release()) {
    const std::uint64_t used = disk.used_bytes();
    ASSERT_TRUE(node.journal->release_space().value());
    EXPECT_LE(used - disk.used_bytes(), kStep);
    EXPECT_EQ(node.journal->disk_bytes(), journal_files(disk));
    ++steps;
  }
  EXPECT_EQ(steps, files * 3) << "64 KiB in steps of 24";
  EXPECT_FALSE(node.journal->release_space().value());
  EXPECT_TRUE(discarded(disk).empty());
  EXPECT_EQ(before - node.journal->disk_bytes(), files * (64 << 10));
}

TEST(JournalRelease, WithoutAStepFilesGoAtOnce) {
  MemoryDisk disk;
  Node node(disk);
  fill_and_discard(node);
  EXPECT_FALSE(node.journal->wants_release());
  EXPECT_TRUE(discarded(disk).empty());
  EXPECT_EQ(node.segments(), 1U);
}

TEST(JournalRelease, ACrashAnywhereLeavesAWholeLogAndTheRestIsGivenBackLater) {
  bool ended = false;
  std::size_t found_cut = 0;
  for (std::uint64_t mutations = 0; !ended; ++mutations) {
    MemoryDisk disk;
    Lsn durable{};
    {
      Node node(disk, {.release_step_bytes = kStep});
      for (int i = 0; i < 5; ++i) node.append("before");
      node.commit();
      // From here on the disk ends after so many changes.
      const std::uint64_t from = disk.counters().mutations;
      for (int i = 0; i < 40; ++i) node.append(std::string(9000, 'd'));
      node.commit();
      durable = node.journal->durable().lsn;
      ASSERT_TRUE(node.journal->store_checkpoint(Lsn{durable.value - 1}, {}));
      ASSERT_TRUE(node.journal->store_checkpoint(durable, {}));
      EXPECT_GT(disk.counters().mutations, from);
      disk.stop_after(mutations);
      ended = node.journal->remove_before(durable).has_value();
      while (ended && node.journal->wants_release()) ended = node.journal->release_space().has_value();
    }
    SeededRandom random(mutations + 1);
    disk.crash(random);
    const VerifyReport verified = verify(disk, "");
    ASSERT_TRUE(verified.ok) << "after " << mutations << ": " << verified.problems.front();
    for (const std::string& path : discarded(disk)) found_cut += disk.contents(path).size() < (64U << 10);
    const auto journal = open_again(disk);
    ASSERT_TRUE(journal) << "after " << mutations;
    EXPECT_EQ(journal->durable().lsn, durable);
    EXPECT_EQ(journal->wants_release(), !discarded(disk).empty());
    while (journal->wants_release()) ASSERT_TRUE(journal->release_space());
    EXPECT_TRUE(discarded(disk).empty());
    Buffer raw;
    EXPECT_TRUE(journal->read(durable, durable, 0, raw));
  }
  EXPECT_GT(found_cut, 3U) << "the crashes reached what they were meant for";
}

TEST(JournalRelease, ALifeThatReleasesAtOnceRemovesWhatAnEarlierOneLeft) {
  MemoryDisk disk;
  {
    Node node(disk, {.release_step_bytes = kStep});
    fill_and_discard(node);
    ASSERT_TRUE(node.journal->release_space());
  }
  ASSERT_FALSE(discarded(disk).empty());
  const auto checkpoint = Journal::load_checkpoint(disk, "").value();
  SeededRandom random(4);
  ASSERT_TRUE(Journal::open(disk, "", small_segments(), random, checkpoint.lsn, {}));
  EXPECT_TRUE(discarded(disk).empty());
}

TEST(JournalRelease, AFileThatIsStillWholeBecomesASpareInsteadOfANewOne) {
  MemoryDisk disk;
  Node node(disk, {.release_step_bytes = kStep});
  fill_and_discard(node);
  ASSERT_TRUE(node.journal->release_space());
  const std::size_t files = discarded(disk).size();
  const std::uint64_t written = disk.counters().bytes_written;
  const std::uint64_t creates = disk.counters().creates;
  std::size_t reused = 0;
  while (discarded(disk).size() > 1) {
    while (!node.journal->wants_spare()) {
      node.append(std::string(9000, 'n'));
      node.commit();
    }
    ASSERT_TRUE(node.journal->prepare_spare().value());
    ++reused;
  }
  EXPECT_EQ(reused, files - 1) << "all but the one that was cut";
  EXPECT_EQ(disk.counters().creates, creates);
  EXPECT_LT(disk.counters().bytes_written - written, reused * (64U << 10)) << "no zeros";
  node.append("last");
  node.commit();
  disk.crash_losing_unsynced();
  const auto journal = open_again(disk);
  ASSERT_TRUE(journal);
  EXPECT_EQ(journal->durable().lsn, node.log->end().lsn);
  EXPECT_TRUE(journal->wants_release());
}

TEST(JournalRelease, AFileThatAnEarlierLifeLeftIsNotUsedAgain) {
  MemoryDisk disk;
  {
    Node node(disk, {.release_step_bytes = kStep});
    fill_and_discard(node);
  }
  const auto journal = open_again(disk);
  ASSERT_TRUE(journal);
  const auto before = discarded(disk);
  while (journal->wants_spare()) ASSERT_TRUE(journal->prepare_spare());
  EXPECT_EQ(discarded(disk), before);
}

TEST(JournalRelease, AFailedStepIsFinal) {
  MemoryDisk disk;
  Node node(disk, {.release_step_bytes = kStep});
  fill_and_discard(node);
  disk.stop_after(0);
  const auto failed = node.journal->release_space();
  ASSERT_FALSE(failed);
  EXPECT_EQ(node.journal->release_space().error().what, failed.error().what);
  EXPECT_FALSE(node.journal->sync());
}

}  // namespace
}  // namespace mainstay::journal
