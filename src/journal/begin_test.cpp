// A journal that begins in the middle of a log: it takes what follows there and nothing else, and opens
// again.
#include "journal/begin.h"

#include <gtest/gtest.h>

#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

JournalOptions options() {
  JournalOptions o = small_segments();
  o.cluster.bytes[0] = 1;
  o.node = "west-1";
  return o;
}

/// A log of 40 records, and the raw bytes from `first` to `last`.
struct Source {
  Source() : node(disk) {
    for (int i = 0; i < 40; ++i) {
      node.append(std::string(5000, static_cast<char>('a' + i % 26)));
      node.commit();
    }
  }
  Buffer raw(std::uint64_t first, std::uint64_t last) {
    Buffer out;
    for (Lsn next{first}; next <= Lsn{last};)
      next = node.journal->read(next, Lsn{last}, 1 << 20, out).value();
    return out;
  }
  LogPosition at(std::uint64_t lsn) { return {Lsn{lsn}, node.journal->hash_at(Lsn{lsn}).value()}; }
  MemoryDisk disk;
  Node node;
};

TEST(JournalBegin, TakesTheRecordsThatFollowAndOpensAgain) {
  Source source;
  MemoryDisk disk;
  SeededRandom random(3);
  ASSERT_TRUE(begin_after(disk, "copy/new", options(), random, source.at(17)));
  disk.crash_losing_unsynced();
  Uuid incarnation;
  {
    auto journal = Journal::open(disk, "copy/new", options(), random, Lsn{17}, {});
    ASSERT_TRUE(journal) << journal.error().what;
    EXPECT_EQ((*journal)->durable(), source.at(17));
    EXPECT_EQ((*journal)->hash_at(Lsn{17}).value(), source.at(17).hash);
    EXPECT_FALSE((*journal)->write_raw(source.raw(19, 20))) << "a gap";
    EXPECT_FALSE((*journal)->write_raw(source.raw(17, 18))) << "what it already counts as there";
    ASSERT_TRUE((*journal)->write_raw(source.raw(18, 40)));
    ASSERT_TRUE((*journal)->sync());
    EXPECT_EQ((*journal)->durable(), source.at(40));
    incarnation = (*journal)->incarnation();
    EXPECT_FALSE(incarnation == source.node.journal->incarnation());
  }
  disk.crash_losing_unsynced();
  auto again = Journal::open(disk, "copy/new", options(), random, Lsn{17}, {});
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ((*again)->durable(), source.at(40));
  EXPECT_EQ((*again)->recovery().first, Lsn{18});
  EXPECT_EQ((*again)->incarnation(), incarnation);
  again->reset();
  EXPECT_FALSE(Journal::open(disk, "copy/new", options(), random, {}, {}))
      << "its beginning is not there: a state is needed";
  EXPECT_TRUE(verify(disk, "copy/new").ok);
}

TEST(JournalBegin, ADirectoryWithAJournalIsRefusedUntouched) {
  MemoryDisk disk;
  { Node node(disk); }
  const auto before = disk.paths();
  SeededRandom random(3);
  const auto refused = begin_after(disk, "", options(), random, {Lsn{5}, 6});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, JournalErrorCode::foreign);
  EXPECT_EQ(disk.paths(), before);
}

TEST(JournalBegin, ItsFilesAreKnownByName) {
  for (const char* name :
       {"segment-00000000000000000001.log", "segment-00000000000000000001.log.old", "spare-3.log",
        "checkpoint-00000000000000000007", "superblock-0", "superblock-1", "superblock-1.new"}) {
    EXPECT_TRUE(is_journal_file(name)) << name;
  }
  for (const char* name : {"lock", "term", "superblock.0", "pages", "notes.txt", "segment-1.txt", "probe"}) {
    EXPECT_FALSE(is_journal_file(name)) << name;
  }
}

}  // namespace
}  // namespace mainstay::journal
