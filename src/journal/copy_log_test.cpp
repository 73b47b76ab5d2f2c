#include "journal/copy_log.h"

#include <gtest/gtest.h>

#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

/// Opens `directory` of the disk and gives the bodies of all records in it.
std::vector<std::string> bodies_in(MemoryDisk& disk, const std::string& directory) {
  SeededRandom random(3);
  std::vector<std::string> bodies;
  JournalOptions options = small_segments();
  options.reuse_segments = false;
  const auto opened = Journal::open(disk, directory, options, random, {},
                                    [&](const Record& record) { bodies.emplace_back(as_text(record.body)); });
  EXPECT_TRUE(opened) << opened.error().what;
  return bodies;
}

JournalOptions never_reused() {
  JournalOptions options;
  options.reuse_segments = false;
  return options;
}

TEST(CopyLog, HasEveryDurableRecordAndNothingThatIsWrittenLater) {
  MemoryDisk disk;
  Node node(disk, never_reused());
  std::vector<std::string> written;
  for (int i = 0; i < 40; ++i) {
    written.push_back(std::to_string(i) + std::string(9'000, 'x'));
    node.append(written.back());
    node.commit();
  }
  ASSERT_GT(node.segments(), 3U);
  ASSERT_TRUE(disk.make_directory("next"));
  const auto copied = copy_log(disk, "", "next");
  ASSERT_TRUE(copied) << copied.error().what;
  EXPECT_EQ(copied->linked, node.segments() - 1) << "the last one is another file";
  EXPECT_LT(copied->copied_bytes, 64U << 10);
  // Its former writer goes on, through the files that it has open and by their names.
  for (int i = 0; i < 20; ++i) {
    node.append("late" + std::string(9'000, 'y'));
    node.commit();
  }
  ASSERT_TRUE(node.journal->store_checkpoint(node.journal->durable().lsn, as_bytes("state")));
  ASSERT_TRUE(node.journal->remove_before(node.journal->durable().lsn.next()));
  EXPECT_EQ(bodies_in(disk, "next"), written);
  disk.crash_losing_unsynced();
  EXPECT_EQ(bodies_in(disk, "next"), written) << "it was durable when it was there";
}

TEST(CopyLog, TheCopyOfTheLastSegmentIsAsLongAsItsContentAndTheLogGoesOnBehindIt) {
  MemoryDisk disk;
  Node node(disk, never_reused());
  node.append("one");
  node.commit();
  ASSERT_TRUE(disk.make_directory("next"));
  ASSERT_TRUE(copy_log(disk, "", "next"));
  EXPECT_LT(disk.contents("next/" + segment_path(1)).size(), 32U << 10);
  SeededRandom random(3);
  JournalOptions options = small_segments(never_reused());
  for (const int life : {1, 2}) {
    auto opened = Journal::open(disk, "next", options, random, {}, {});
    ASSERT_TRUE(opened) << opened.error().what;
    LogBuilder builder((*opened)->recovery().end, std::max((*opened)->recovery().epoch, Epoch{1}));
    for (int i = 0; i < 30; ++i)
      builder.append(RecordType::message_stored, as_bytes(std::string(5'000, 'z')));
    ASSERT_TRUE((*opened)->write_and_sync(builder.take())) << life;
  }
  EXPECT_EQ(bodies_in(disk, "next").size(), 61U);
}

TEST(CopyLog, ATornBatchIsCutAsAfterACrash) {
  MemoryDisk disk;
  Node node(disk, never_reused());
  node.append("whole");
  node.commit();
  Buffer content = disk.contents(segment_path(1));
  // Half of a batch, with a hole in front of it: what a copy sees that is made while it is written.
  std::fill(content.begin() + 20'000, content.begin() + 20'100, std::byte{0xff});
  disk.put(segment_path(1), content);
  ASSERT_TRUE(disk.make_directory("next"));
  ASSERT_TRUE(copy_log(disk, "", "next"));
  EXPECT_EQ(bodies_in(disk, "next"), std::vector<std::string>{"whole"});
}

TEST(CopyLog, OfADirectoryWithoutALogIsNone) {
  MemoryDisk disk;
  ASSERT_TRUE(disk.make_directory("never"));
  ASSERT_TRUE(disk.make_directory("next"));
  const auto copied = copy_log(disk, "never", "next");
  ASSERT_TRUE(copied) << copied.error().what;
  EXPECT_EQ(copied->linked, 0U);
  EXPECT_TRUE(disk.list("next")->empty());
}

TEST(JournalOptionsIncarnation, IsThatOfANewJournalAndAnotherOneIsRefused) {
  MemoryDisk disk;
  SeededRandom random(3);
  JournalOptions options = small_segments();
  options.incarnation.bytes[15] = 7;
  {
    const auto opened = Journal::open(disk, "", options, random, {}, {});
    ASSERT_TRUE(opened);
    EXPECT_EQ((*opened)->incarnation(), options.incarnation);
  }
  options.incarnation.bytes[15] = 8;
  const auto refused = Journal::open(disk, "", options, random, {}, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, JournalErrorCode::foreign);
}

}  // namespace
}  // namespace mainstay::journal
