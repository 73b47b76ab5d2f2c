#include "journal/log_files.h"

#include <gtest/gtest.h>

#include "journal/begin.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

/// LSNs of what walk() gives.
std::vector<std::uint64_t> walked(const LogFiles& files, std::uint64_t first, std::uint64_t last) {
  std::vector<std::uint64_t> out;
  const auto done = files.walk(Lsn{first}, Lsn{last}, [&](const Record& record) {
    out.push_back(record.header.lsn.value);
    return true;
  });
  EXPECT_TRUE(done) << done.error().what;
  return out;
}

JournalError refused(const LogFiles& files, std::uint64_t first, std::uint64_t last) {
  const auto done = files.walk(Lsn{first}, Lsn{last}, [](const Record&) { return true; });
  EXPECT_FALSE(done);
  return done ? JournalError{} : done.error();
}

class LogOfForty : public ::testing::Test {
 protected:
  void SetUp() override {
    for (int i = 0; i < 40; ++i) {
      node.append(std::to_string(i) + std::string(9'000, 'x'));
      node.commit();
    }
    ASSERT_GT(node.segments(), 3U);
  }
  LogFiles look() {
    auto files = LogFiles::look(disk, "");
    EXPECT_TRUE(files) << files.error().what;
    return files.value();
  }
  MemoryDisk disk;
  Node node{disk};
};

TEST_F(LogOfForty, AnyStretchIsGivenInOrderAndNothingIsChanged) {
  const LogFiles files = look();
  const auto before = disk.counters().mutations;
  for (const auto& [first, last] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{
           {1, 40}, {1, 1}, {40, 40}, {6, 23}, {7, 7}, {8, 15}}) {
    std::vector<std::uint64_t> expected;
    for (std::uint64_t lsn = first; lsn <= last; ++lsn) expected.push_back(lsn);
    EXPECT_EQ(walked(files, first, last), expected);
  }
  EXPECT_TRUE(walked(files, 9, 8).empty());
  EXPECT_EQ(disk.counters().mutations, before);
  EXPECT_EQ(files.before(), LogPosition{});
  EXPECT_EQ(files.cluster(), node.journal->cluster());
  EXPECT_EQ(files.incarnation(), node.journal->incarnation());
}

TEST_F(LogOfForty, ItEndsWhenItIsTold) {
  int given = 0;
  ASSERT_TRUE(look().walk(Lsn{5}, Lsn{1'000}, [&](const Record&) { return ++given < 20; }));
  EXPECT_EQ(given, 20);
}

TEST_F(LogOfForty, WhatIsBehindTheEndIsNotFoundAndTheEndIsNamed) {
  const JournalError error = refused(look(), 39, 41);
  EXPECT_EQ(error.code, JournalErrorCode::not_found);
  EXPECT_NE(error.what.find("no record of LSN 41: its log ends at LSN 40"), std::string::npos) << error.what;
}

TEST_F(LogOfForty, DamageIsNamedAndOnlyForWhomItMatters) {
  disk.flip(segment_path(1), 2 * 4096 + 9'200);  // in record 2
  const LogFiles files = look();
  const JournalError error = refused(files, 1, 3);
  EXPECT_EQ(error.code, JournalErrorCode::corrupt);
  EXPECT_NE(error.what.find("LSN 2: the record's checksum or form is wrong"), std::string::npos)
      << error.what;
  EXPECT_EQ(walked(files, 20, 40).size(), 21U) << "other segments are not touched by it";
}

TEST_F(LogOfForty, DamageOfTheLastDurableRecordIsNotTakenForTheEnd) {
  std::string last;
  for (const std::string& path : disk.paths()) {
    if (path.starts_with("segment-")) last = path;
  }
  const auto first = std::stoull(last.substr(8, 20));
  ASSERT_TRUE(node.journal->note_durable());
  disk.flip(last, 2 * 4096 + (40 - first) * record_bytes(9'002) + 100);
  EXPECT_EQ(refused(look(), 40, 40).code, JournalErrorCode::corrupt);
}

TEST_F(LogOfForty, ALogWithoutItsBeginningSaysWhatItFollows) {
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{40}, as_bytes("state")));
  ASSERT_TRUE(node.journal->remove_before(Lsn{30}));
  const LogFiles files = look();
  ASSERT_GT(files.before().lsn, Lsn{15});
  EXPECT_EQ(files.before().hash, node.journal->hash_at(files.before().lsn).value());
  EXPECT_EQ(walked(files, files.before().lsn.value + 1, 40).size(), 40 - files.before().lsn.value);
  EXPECT_NE(refused(files, 1, 40).what.find("its log begins with LSN"), std::string::npos);
}

TEST(LogFilesOfNothing, NoJournalIsNotFound) {
  MemoryDisk disk;
  const auto files = LogFiles::look(disk, "");
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code, JournalErrorCode::not_found);
}

TEST(LogFilesOfNothing, AnEmptyLogHasNoRecord) {
  MemoryDisk disk;
  const Node node(disk);
  const auto files = LogFiles::look(disk, "");
  ASSERT_TRUE(files) << files.error().what;
  EXPECT_EQ(files->before(), LogPosition{});
  EXPECT_EQ(refused(*files, 1, 1).code, JournalErrorCode::not_found);
}

TEST(LogFilesOfNothing, AnEmptyLogBehindACopyKnowsWhatItFollows) {
  MemoryDisk disk;
  SeededRandom random(4);
  JournalOptions options = small_segments();
  options.cluster = random.uuid();
  const LogPosition before{Lsn{77}, 0x1234};
  ASSERT_TRUE(begin_after(disk, "copy", options, random, before));
  const auto files = LogFiles::look(disk, "copy");
  ASSERT_TRUE(files) << files.error().what;
  EXPECT_EQ(files->before(), before);
}

}  // namespace
}  // namespace mainstay::journal
