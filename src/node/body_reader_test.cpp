#include "node/body_reader.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/memory_disk.h"
#include "base/random.h"

namespace mainstay::node {
namespace {

constexpr std::size_t kBody = 1000;

class BodyReaderTest : public ::testing::Test {
 protected:
  void SetUp() override { open(1U << 20); }
  void open(std::uint64_t segment_bytes) {
    journal::JournalOptions options;
    options.segment_bytes = segment_bytes;
    auto opened = journal::Journal::open(disk, "", options, random, {}, {});
    ASSERT_TRUE(opened) << opened.error().what;
    journal = std::move(*opened);
    log.emplace(journal->recovery().end, Epoch{1});
  }
  static std::string body_of(std::uint64_t lsn, std::size_t bytes) {
    std::string body = "body of " + std::to_string(lsn) + " ";
    body.resize(bytes, static_cast<char>('a' + lsn % 26));
    return body;
  }
  void write(std::uint64_t records, std::size_t bytes = kBody) {
    for (std::uint64_t i = 0; i < records;) {
      for (int k = 0; k < 64 && i < records; ++k, ++i) {
        log->append(journal::RecordType::message_stored, as_bytes(body_of(log->end().lsn.value + 1, bytes)));
      }
      ASSERT_TRUE(journal->write_and_sync(log->take()));
    }
  }
  /// What it gives, "" when it is exactly the record asked for.
  std::string get(std::uint64_t lsn, std::size_t bytes = kBody) {
    auto got = reader.get(*journal, Lsn{lsn});
    for (int turn = 0; got && !*got; ++turn) {
      if (turn == 10) return "it never comes";
      send_out();
      if (out.empty()) return "waiting, and nothing is out";
      bring();
      got = reader.get(*journal, Lsn{lsn});
    }
    if (!got) return got.error().what;
    const BytesView raw = **got;
    journal::Record record;
    if (journal::decode_record(raw, record) != journal::DecodeStatus::ok) return "damaged";
    if (record.raw.size() != raw.size() || record.header.lsn.value != lsn) return "another record";
    if (as_text(record.body) != body_of(lsn, bytes)) return "another body";
    send_out();
    if (ahead_at_once) bring();
    most_bytes = std::max(most_bytes, reader.bytes());
    return "";
  }
  void send_out() {
    while (auto wanted = reader.wanted()) out.push_back(std::move(*wanted));
  }
  /// Reads what is out.
  void bring() {
    while (!out.empty()) {
      BodyReader::read(*journal, out.front());
      reader.arrived(std::move(out.front()));
      out.pop_front();
    }
  }

  MemoryDisk disk{"memory"};
  SeededRandom random{1};
  std::unique_ptr<journal::Journal> journal;
  std::optional<journal::LogBuilder> log;
  BodyReader reader;
  std::deque<BodyReader::ReadAhead> out;
  bool ahead_at_once = true;
  std::uint64_t most_bytes = 0;
};

TEST_F(BodyReaderTest, OneReaderStreamsAndNextToNothingIsReadTwiceOrWaitedFor) {
  constexpr std::uint64_t kRecords = 8000;
  write(kRecords);
  for (std::uint64_t lsn = 1; lsn <= kRecords; ++lsn) ASSERT_EQ(get(lsn), "") << lsn;
  EXPECT_LE(reader.counters().reads, 4U);
  EXPECT_LE(reader.counters().bytes_read, kRecords * journal::record_bytes(kBody) * 102 / 100);
  EXPECT_GE(reader.counters().read_ahead, 12U);
}

TEST_F(BodyReaderTest, WithoutReadingAheadInTimeEverythingComesInOrderFromChunks) {
  ahead_at_once = false;
  write(4000);
  for (std::uint64_t lsn = 1; lsn <= 4000; ++lsn) {
    ASSERT_EQ(get(lsn), "") << lsn;
    if (lsn % 1000 == 0) bring();  // late: what is no longer needed must not be given for something else
  }
  // Pieces while the chunk is on its way; what was read by then is not read again.
  EXPECT_LE(reader.counters().reads, 4000 * journal::record_bytes(kBody) / (30U << 10) + 10);
  EXPECT_LE(reader.counters().bytes_read, 4000 * journal::record_bytes(kBody) * 6 / 5);
}

TEST_F(BodyReaderTest, SeveralReadersStreamAtOnceWithinTheBound) {
  constexpr std::uint64_t kReaders = 12, kEach = 1500;
  write(kReaders * kEach);
  for (std::uint64_t i = 0; i < kEach; ++i) {
    for (std::uint64_t r = 0; r < kReaders; ++r) ASSERT_EQ(get(r * kEach + i + 1), "") << r << " " << i;
  }
  EXPECT_LE(most_bytes, BodyReaderOptions{}.bytes_max);
  EXPECT_LE(reader.counters().bytes_read, kReaders * kEach * journal::record_bytes(kBody) * 3 / 2);
  EXPECT_LE(reader.counters().reads, kReaders * 6);
}

TEST_F(BodyReaderTest, MoreReadersThanStreamsCostSingleReadsNotWholeChunks) {
  constexpr std::uint64_t kReaders = BodyReader::kStreamsMax * 2, kEach = 300;
  write(kReaders * kEach);
  for (std::uint64_t i = 0; i < 100; ++i) {
    for (std::uint64_t r = 0; r < kReaders; ++r) ASSERT_EQ(get(r * kEach + i + 1), "");
  }
  EXPECT_LE(most_bytes, BodyReaderOptions{}.bytes_max);
  EXPECT_LE(reader.counters().bytes_read, kReaders * 100 * journal::record_bytes(kBody) * 2);
}

TEST_F(BodyReaderTest, RandomPlacesAreReadOneRecordAtATime) {
  constexpr std::uint64_t kRecords = 20'000;
  write(kRecords);
  for (int i = 0; i < 3000; ++i) ASSERT_EQ(get(random.below(kRecords) + 1), "");
  EXPECT_LE(reader.counters().bytes_read, 3000 * journal::record_bytes(kBody) * 5 / 4);
}

TEST_F(BodyReaderTest, InALogSharedByManyQueuesLittleIsReadThatNobodyAsksFor) {
  write(20'000);
  for (const std::uint64_t every : {4U, 12U, 50U, 300U}) {
    reader = BodyReader();
    out.clear();
    std::uint64_t asked = 0;
    for (std::uint64_t lsn = 1; lsn <= 20'000; lsn += every, ++asked) ASSERT_EQ(get(lsn), "");
    EXPECT_LE(reader.counters().bytes_read,
              asked * journal::record_bytes(kBody) * std::min<std::uint64_t>(every + 1, 16))
        << every;
  }
}

TEST_F(BodyReaderTest, ADamagedRecordIsToldAndTheWholeOnesBeforeItAreNotKeptBack) {
  write(300);
  std::string path;
  for (const std::string& each : disk.paths()) {
    if (each.starts_with("segment-")) path = each;
  }
  // The body of record 200.
  const Buffer content = disk.contents(path);
  const std::string needle = body_of(200, kBody);
  const std::size_t at = std::string(as_text(content)).find(needle);
  ASSERT_NE(at, std::string::npos);
  disk.flip(path, at + 500);
  for (std::uint64_t lsn = 1; lsn < 200; ++lsn) ASSERT_EQ(get(lsn), "") << lsn;
  const auto damaged = reader.get(*journal, Lsn{200});
  ASSERT_FALSE(damaged);
  EXPECT_EQ(damaged.error().code, journal::JournalErrorCode::corrupt) << damaged.error().what;
  for (std::uint64_t lsn = 201; lsn <= 300; ++lsn) ASSERT_EQ(get(lsn), "") << lsn;
}

TEST_F(BodyReaderTest, WhatIsNotWrittenYetOrWasRemovedIsNotFound) {
  write(3000);
  const auto later = reader.get(*journal, Lsn{3001});
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().code, journal::JournalErrorCode::not_found);
  write(10);
  EXPECT_EQ(get(3001), "");
  ASSERT_TRUE(journal->store_checkpoint(Lsn{2900}, {}));
  ASSERT_TRUE(journal->store_checkpoint(Lsn{2901}, {}));
  ASSERT_TRUE(journal->remove_before(Lsn{2900}));
  const auto removed = reader.get(*journal, Lsn{1});
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, journal::JournalErrorCode::not_found) << removed.error().what;
}

TEST_F(BodyReaderTest, RecordsLongerThanAChunkAreStillReadAhead) {
  write(20, 1'200'000);
  for (std::uint64_t lsn = 1; lsn <= 20; ++lsn) ASSERT_EQ(get(lsn, 1'200'000), "") << lsn;
  EXPECT_LE(reader.counters().reads, 3U);
  EXPECT_LE(most_bytes, 3U * 1'300'000);
}

TEST_F(BodyReaderTest, AnotherJournalIsNotAnsweredFromTheOldOnesChunks) {
  ahead_at_once = false;
  write(200);
  for (std::uint64_t lsn = 1; lsn <= 20; ++lsn) ASSERT_EQ(get(lsn), "");
  ASSERT_GT(reader.reading(), 0U);
  for (BodyReader::ReadAhead& each : out) BodyReader::read(*journal, each);
  MemoryDisk other_disk{"other"};
  auto other = journal::Journal::open(other_disk, "", {}, random, {}, {});
  ASSERT_TRUE(other);
  reader.forget();
  for (BodyReader::ReadAhead& each : out) reader.arrived(std::move(each));
  EXPECT_EQ(reader.reading(), 0U);
  for (std::uint64_t lsn = 1; lsn <= 200; ++lsn) EXPECT_FALSE(reader.get(**other, Lsn{lsn})) << lsn;
}

TEST_F(BodyReaderTest, NothingWaitsForAColdDiskAndEverythingComesInOrderOnceItHasBeenRead) {
  write(8000);
  disk.set_cold(true);
  for (std::uint64_t lsn = 1; lsn <= 8000; ++lsn) ASSERT_EQ(get(lsn), "") << lsn;
  EXPECT_EQ(reader.counters().reads, 0U) << "none on the strand";
  EXPECT_LE(reader.counters().waits, 4U) << "the rest was there before it was asked for";
  EXPECT_LE(reader.counters().bytes_read, 8000 * journal::record_bytes(kBody) * 102 / 100);
}

TEST_F(BodyReaderTest, AskingAgainWhileItIsBeingReadStartsNoSecondRead) {
  write(300);
  disk.set_cold(true);
  ahead_at_once = false;
  for (int i = 0; i < 5; ++i) {
    const auto got = reader.get(*journal, Lsn{7});
    ASSERT_TRUE(got);
    EXPECT_FALSE(*got);
    send_out();
    ASSERT_EQ(out.size(), 1U);
  }
  EXPECT_EQ(get(7), "");
  // The same with a chunk that was being read ahead.
  for (std::uint64_t lsn = 8; lsn <= 11; ++lsn) ASSERT_EQ(get(lsn), "");
  send_out();
  const std::size_t ahead = out.size();
  ASSERT_EQ(ahead, 1U);
  std::uint64_t next = 12;
  for (auto got = reader.get(*journal, Lsn{next}); *got; got = reader.get(*journal, Lsn{next})) ++next;
  for (int i = 0; i < 5; ++i) {
    EXPECT_FALSE(*reader.get(*journal, Lsn{next}));
    send_out();
    EXPECT_EQ(out.size(), ahead);
  }
  for (; next <= 300; ++next) ASSERT_EQ(get(next), "");
}

TEST_F(BodyReaderTest, ManyWhoWaitForAColdDiskAllGetTheirsWithFewReadsOut) {
  write(20'000);
  disk.set_cold(true);
  ahead_at_once = false;
  std::vector<std::uint64_t> waiting;
  for (std::uint64_t i = 0; i < 100; ++i) waiting.push_back(1 + i * 199);
  for (int turn = 0; !waiting.empty(); ++turn) {
    ASSERT_LT(turn, 400);
    std::vector<std::uint64_t> still;
    for (const std::uint64_t lsn : waiting) {
      const auto got = reader.get(*journal, Lsn{lsn});
      ASSERT_TRUE(got);
      if (!*got) still.push_back(lsn);
    }
    waiting = still;
    send_out();
    ASSERT_LE(out.size(), BodyReader::kReadingMax);
    ASSERT_TRUE(waiting.empty() || !out.empty());
    bring();
  }
  EXPECT_LE(reader.counters().waits, 150U);
}

TEST_F(BodyReaderTest, WhoWaitsIsToldOfDamageAndOfRemoval) {
  write(3000);
  std::string path;
  for (const std::string& each : disk.paths()) {
    if (each.starts_with("segment-") && path.empty()) path = each;
  }
  const std::size_t at = std::string(as_text(disk.contents(path))).find(body_of(200, kBody));
  ASSERT_NE(at, std::string::npos);
  disk.flip(path, at + 500);
  disk.set_cold(true);
  for (std::uint64_t lsn = 190; lsn < 200; ++lsn) ASSERT_EQ(get(lsn), "") << lsn;
  EXPECT_NE(get(200).find("not the one written"), std::string::npos);
  EXPECT_EQ(get(201), "");
  ahead_at_once = false;
  EXPECT_FALSE(*reader.get(*journal, Lsn{300}));
  ASSERT_TRUE(journal->store_checkpoint(Lsn{2900}, {}));
  ASSERT_TRUE(journal->store_checkpoint(Lsn{2901}, {}));
  ASSERT_TRUE(journal->remove_before(Lsn{2900}));
  EXPECT_NE(get(300).find("removed"), std::string::npos);
}

}  // namespace
}  // namespace mainstay::node
