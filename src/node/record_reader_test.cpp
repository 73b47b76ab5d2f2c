#include "node/record_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "base/memory_disk.h"
#include "base/random.h"

namespace mainstay::node {
namespace {

class RecordReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto opened = journal::Journal::open(disk, "", {.segment_bytes = 256 << 10}, random, {}, {});
    ASSERT_TRUE(opened) << opened.error().what;
    journal = std::move(*opened);
    log.emplace(journal->recovery().end, Epoch{1});
    for (std::uint64_t lsn = 1; lsn <= kRecords; ++lsn) {
      log->append(journal::RecordType::message_stored, as_bytes(body_of(lsn)));
      if (lsn % 64 == 0) {
        ASSERT_TRUE(journal->write_and_sync(log->take()));
      }
    }
    ASSERT_TRUE(journal->write_and_sync(log->take()));
  }
  static std::string body_of(std::uint64_t lsn) {
    return "body of " + std::to_string(lsn) + std::string(lsn % 7 * 100, 'x');
  }
  /// "" when it is the record asked for.
  static std::string get(RecordReader& reader, std::uint64_t lsn) {
    const auto got = reader.get(Lsn{lsn});
    if (!got) return got.error().what;
    if (got->header.lsn.value != lsn) return "record " + std::to_string(got->header.lsn.value);
    return as_text(got->body) == body_of(lsn) ? "" : "another body";
  }

  static constexpr std::uint64_t kRecords = 5000;  // 1.8 MB in 8 segments
  MemoryDisk disk;
  SeededRandom random{1};
  std::unique_ptr<journal::Journal> journal;
  std::optional<journal::LogBuilder> log;
};

TEST_F(RecordReaderTest, OneRecordAfterTheOtherIsReadInChunks) {
  RecordReader reader(*journal);
  for (std::uint64_t lsn = 1; lsn <= kRecords; ++lsn) ASSERT_EQ(get(reader, lsn), "") << lsn;
  EXPECT_LE(reader.reads(), 12U);
}

TEST_F(RecordReaderTest, EveryTenthIsReadInChunksToo) {
  RecordReader reader(*journal);
  for (std::uint64_t lsn = 5; lsn <= kRecords; lsn += 10) ASSERT_EQ(get(reader, lsn), "") << lsn;
  EXPECT_LE(reader.reads(), 20U);
}

TEST_F(RecordReaderTest, RecordsFarApartAreReadByThemselves) {
  RecordReader reader(*journal);
  for (std::uint64_t lsn = 1; lsn <= kRecords; lsn += 500) {
    ASSERT_EQ(get(reader, lsn), "") << lsn;
    EXPECT_LE(reader.bytes(), 1000U) << "what is between them is not read";
  }
  EXPECT_EQ(reader.reads(), 10U);
}

TEST_F(RecordReaderTest, AnyOrderGivesTheRecordAskedFor) {
  constexpr std::uint64_t kSeed = 5;
  SCOPED_TRACE(kSeed);
  SeededRandom draw(kSeed);
  RecordReader reader(*journal);
  std::uint64_t lsn = 1;
  for (int i = 0; i < 3000; ++i) {
    lsn = draw.chance(1, 20) ? 1 + draw.below(kRecords) : std::min(kRecords, lsn + draw.below(30));
    ASSERT_EQ(get(reader, lsn), "") << lsn;
    if (draw.chance(1, 10)) {
      ASSERT_EQ(get(reader, lsn), "") << "once more";
    }
  }
}

TEST_F(RecordReaderTest, DamageIsToldOfTheDamagedRecordOnly) {
  std::string path;
  for (const std::string& each : disk.paths()) {
    if (each.starts_with("segment-")) {
      path = each;
      break;
    }
  }
  const std::size_t at = std::string(as_text(disk.contents(path))).find("body of 200x");
  ASSERT_NE(at, std::string::npos);
  disk.flip(path, at);
  RecordReader reader(*journal);
  for (std::uint64_t lsn = 1; lsn <= 1000; ++lsn) {
    const std::string problem = get(reader, lsn);
    ASSERT_EQ(problem.empty(), lsn != 200) << lsn << ": " << problem;
    if (lsn == 200) {
      EXPECT_NE(problem.find(path), std::string::npos) << problem;
    }
  }
}

TEST_F(RecordReaderTest, WhatIsNotThereIsAnError) {
  RecordReader reader(*journal);
  EXPECT_NE(get(reader, kRecords + 1), "");
  EXPECT_EQ(get(reader, kRecords), "");
  EXPECT_NE(get(reader, kRecords + 1), "");
  EXPECT_EQ(get(reader, 1), "");
}

}  // namespace
}  // namespace mainstay::node
