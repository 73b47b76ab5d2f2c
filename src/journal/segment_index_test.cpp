// Finding records without remembering each, and opening without reading all. D10, N6.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/checksum.h"
#include "base/memory_disk.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/journal_test_support.h"
#include "journal/segment_table.h"

namespace mainstay::journal {
namespace {

using testing::HasSubstr;

/// Bodies of many lengths, the seed printed by the caller.
std::vector<std::string> bodies_of_all_lengths(SeededRandom& random, int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) {
    const std::uint64_t length = random.chance(1, 30) ? random.between(20'000, 70'000) : random.below(2000);
    out.push_back(std::string(length, static_cast<char>('a' + i % 26)) + std::to_string(i));
  }
  return out;
}

std::vector<std::string> segment_paths(const MemoryDisk& disk) {
  std::vector<std::string> out;
  for (const std::string& path : disk.paths()) {
    if (path.starts_with("segment-")) out.push_back(path);
  }
  return out;
}

std::uint64_t index_at(const MemoryDisk& disk, const std::string& path) {
  const std::uint64_t bytes = disk.contents(path).size();
  return bytes - index_bytes(bytes);
}

Result<std::unique_ptr<Journal>, JournalError> open_at(MemoryDisk& disk, Lsn replay_after) {
  SeededRandom random(3);
  return Journal::open(disk, "", small_segments(), random, replay_after, {});
}

/// 40 records of 9000 bytes, five to a segment, with a checkpoint at 30.
void make_log(MemoryDisk& disk) {
  Node node(disk);
  for (int i = 1; i <= 40; ++i) {
    node.append(std::string(9000, 'x') + std::to_string(i));
    node.commit();
  }
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{30}, as_bytes("thirty")));
  ASSERT_TRUE(node.journal->sync());
}

TEST(SegmentIndex, NamesTheFirstRecordAndThenOneInEveryFewKibibytes) {
  SegmentIndex index;
  index.reserve(64 << 10);
  for (std::uint64_t i = 0; i < 100; ++i) index.note(i, kRecordsAt + i * 100);
  EXPECT_EQ(index.size(), 2U);
  EXPECT_EQ(index.at_or_before(81).offset, kRecordsAt);
  EXPECT_EQ(index.at_or_before(82).number, 82U);
  EXPECT_EQ(index.at_or_before(99).offset, kRecordsAt + 8200);
  EXPECT_EQ(index.offset_behind(0), kRecordsAt + 8200);
  EXPECT_EQ(index.offset_behind(82), std::nullopt);
}

TEST(SegmentIndex, FillsTheSpaceKeptForItAtMost) {
  for (const std::uint64_t bytes : {kSegmentBytesMin, std::uint64_t{64} << 20, kSegmentBytesMax}) {
    SegmentIndex index;
    for (std::uint64_t at = kRecordsAt, i = 0; at < bytes; at += kIndexSpacingBytes) index.note(i++, at);
    SegmentHeader header;
    header.first = Lsn{7};
    header.segment_bytes = bytes;
    header.index_bytes = index_bytes(bytes);
    const IndexHead head{{Lsn{7 + index.size()}, 1}, Epoch{1}, header.records_end()};
    const Buffer stored = encode_index(index, header, head);
    EXPECT_LE(stored.size(), header.index_bytes);
    const auto read = decode_index(stored, header, head);
    ASSERT_TRUE(read);
    EXPECT_EQ(read->size(), index.size());
    header.first = Lsn{8};
    EXPECT_FALSE(decode_index(stored, header, head)) << "of an earlier life of the file";
  }
}

TEST(SegmentIndex, EveryRecordIsFoundAfterOpeningWhateverItsLength) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    SeededRandom random(seed);
    MemoryDisk disk;
    const auto bodies = bodies_of_all_lengths(random, 300);
    {
      Node node(disk);
      for (const std::string& body : bodies) {
        node.append(body);
        if (random.chance(1, 10)) node.commit();
      }
      node.commit();
      EXPECT_EQ(node.read_bodies(), bodies) << "as it is written";
    }
    const auto journal = open_at(disk, Lsn{bodies.size()});
    ASSERT_TRUE(journal) << journal.error().what;
    EXPECT_LT((*journal)->recovery().records_scanned, bodies.size() / 2);
    EXPECT_EQ((*journal)->recovery().records_scanned + (*journal)->recovery().records_not_scanned,
              bodies.size());
    for (int i = 0; i < 600; ++i) {
      const Lsn first{random.between(1, bodies.size())};
      const Lsn last{random.between(first.value, bodies.size())};
      const std::size_t bytes_max = random.below(30'000);
      Buffer raw;
      const auto next = (*journal)->read(first, last, bytes_max, raw);
      ASSERT_TRUE(next) << next.error().what;
      ASSERT_GT(*next, first);
      ASSERT_LE(*next, last.next());
      std::size_t at = 0;
      for (Lsn lsn = first; lsn < *next; lsn = lsn.next()) {
        Record record;
        ASSERT_EQ(decode_record(BytesView(raw).subspan(at), record), DecodeStatus::ok);
        ASSERT_EQ(as_text(record.body), bodies[lsn.value - 1]);
        at += record.raw.size();
      }
      ASSERT_EQ(at, raw.size());
      ASSERT_TRUE(raw.size() <= bytes_max || *next == first.next());
      if (*next <= last) {
        ASSERT_GT(raw.size() + record_bytes(bodies[next->value - 1].size()), bytes_max)
            << "as many as fit are given";
      }
    }
  }
}

TEST(SegmentIndex, ReadingOnCostsOneReadOfTheFileEach) {
  MemoryDisk disk;
  Node node(disk);
  for (int i = 0; i < 400; ++i) node.append(std::string(80, 'x'));
  node.commit();
  Buffer raw;
  Lsn next = node.journal->read(Lsn{1}, Lsn{400}, 4000, raw).value();
  const std::uint64_t before = disk.counters().reads;
  int calls = 0;
  for (; next <= Lsn{400}; ++calls) next = node.journal->read(next, Lsn{400}, 4000, raw).value();
  EXPECT_GT(calls, 10);
  EXPECT_EQ(disk.counters().reads - before, static_cast<std::uint64_t>(calls));
}

TEST(SegmentIndex, OneThatIsDamagedOrGoneIsMadeAnew) {
  MemoryDisk sound;
  make_log(sound);
  const std::string first = segment_paths(sound).front();
  const std::uint64_t at = index_at(sound, first);
  for (std::uint64_t offset = 0; offset < 120; ++offset) {
    SCOPED_TRACE("byte " + std::to_string(offset));
    MemoryDisk disk;
    make_log(disk);
    disk.flip(first, at + offset, 0x20);
    {
      const auto journal = open_at(disk, Lsn{30});
      ASSERT_TRUE(journal) << journal.error().what;
      for (std::uint64_t lsn = 1; lsn <= 40; ++lsn) {
        Buffer raw;
        ASSERT_TRUE((*journal)->read(Lsn{lsn}, Lsn{lsn}, 0, raw));
      }
      EXPECT_EQ((*journal)->recovery().end.lsn, Lsn{40});
    }
    EXPECT_TRUE(verify(disk, "").ok);
  }
}

TEST(SegmentIndex, OneWhoseHeadWasGoneIsStoredAgainAndTheNextStartSkipsTheSegment) {
  MemoryDisk disk;
  make_log(disk);
  const std::string first = segment_paths(disk).front();
  const Buffer sound = disk.contents(first);
  disk.flip(first, index_at(disk, first) + 40);
  ASSERT_EQ(open_at(disk, Lsn{30}).value()->recovery().records_scanned, 15U);
  EXPECT_TRUE(disk.durable_contents(first) == sound);
  ASSERT_EQ(open_at(disk, Lsn{30}).value()->recovery().records_scanned, 10U);
}

TEST(SegmentIndex, OnlyAFewSegmentsAreKeptOpen) {
  MemoryDisk disk;
  constexpr std::uint64_t kSegments = SegmentTable::kSealedOpenMax + 20;
  {
    Node node(disk);
    for (std::uint64_t i = 0; i < kSegments; ++i) node.append(std::string(50'000, 'x'));
    node.commit();
  }
  const auto journal = open_at(disk, Lsn{kSegments}).value();
  const auto reads_of = [&](std::uint64_t lsn) {
    const std::uint64_t before = disk.counters().reads;
    Buffer raw;
    EXPECT_TRUE(journal->read(Lsn{lsn}, Lsn{lsn}, 0, raw));
    return disk.counters().reads - before;
  };
  for (std::uint64_t lsn = 1; lsn < kSegments; ++lsn) EXPECT_GT(reads_of(lsn), 1U);
  EXPECT_LE(reads_of(kSegments - 1), 2U) << "used lately: its index is at hand";
  EXPECT_GT(reads_of(1), 2U) << "opened again";
}

TEST(JournalOpen, ReadsRecordsOnlyFromTheCheckpointOn) {
  MemoryDisk disk;
  make_log(disk);
  const std::uint64_t before = disk.counters().reads;
  const auto journal = open_at(disk, Lsn{30});
  ASSERT_TRUE(journal) << journal.error().what;
  EXPECT_EQ((*journal)->recovery().first, Lsn{1});
  EXPECT_EQ((*journal)->recovery().end.lsn, Lsn{40});
  EXPECT_EQ((*journal)->recovery().records_scanned, 10U);
  EXPECT_EQ((*journal)->recovery().records_not_scanned, 30U);
  EXPECT_LT(disk.counters().reads - before, 60U);
}

TEST(JournalOpen, DamageBeforeTheCheckpointIsFoundByVerifyAndByReading) {
  MemoryDisk disk;
  make_log(disk);
  disk.flip(segment_paths(disk)[1], kRecordsAt + 2 * record_bytes(9001) + 700);
  EXPECT_FALSE(verify(disk, "").ok);
  {
    const auto whole = open_at(disk, {});
    ASSERT_FALSE(whole) << "who needs every record is told";
    EXPECT_EQ(whole.error().code, JournalErrorCode::corrupt);
  }
  const auto journal = open_at(disk, Lsn{30});
  ASSERT_TRUE(journal) << journal.error().what;
  Buffer raw;
  EXPECT_TRUE((*journal)->read(Lsn{7}, Lsn{7}, 0, raw));
  const auto bad = (*journal)->read(Lsn{8}, Lsn{8}, 0, raw);
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().code, JournalErrorCode::corrupt);
}

TEST(JournalOpen, GapBeforeTheCheckpointIsRefused) {
  MemoryDisk disk;
  make_log(disk);
  disk.erase(segment_paths(disk)[2]);
  const auto journal = open_at(disk, Lsn{30});
  ASSERT_FALSE(journal);
  EXPECT_EQ(journal.error().code, JournalErrorCode::corrupt);
  EXPECT_THAT(journal.error().what, HasSubstr("a segment file is"));
}

TEST(JournalOpen, JournalOfVersionOneIsReadAndContinued) {
  // Version 1 had no index: nothing at the file's end is kept for one, and the pages say 1.
  MemoryDisk disk;
  {
    Node node(disk);
    node.append("of the older release");
    node.commit();
  }
  for (const std::string& path : {superblock_name(0), superblock_name(1), segment_path(1)}) {
    Buffer content = disk.contents(path);
    store_le(content.data() + 4, std::uint32_t{1});
    std::fill(content.begin() + 344, content.begin() + kPageBytes, std::byte{0});
    store_le(content.data() + 8, checksum64(BytesView(content).subspan(16, kPageBytes - 16),
                                            load_le<std::uint64_t>(content.data())));
    disk.put(path, content);
  }
  {
    Node node(disk);
    EXPECT_EQ(node.bodies, std::vector<std::string>{"of the older release"});
    for (int i = 0; i < 14; ++i) node.append(std::string(9000, 'n'));
    node.commit();
    EXPECT_EQ(node.segments(), 3U);
  }
  const auto journal = open_at(disk, Lsn{15});
  ASSERT_TRUE(journal) << journal.error().what;
  EXPECT_EQ((*journal)->recovery().records_not_scanned, 5U) << "the first segment says nothing about its end";
  Buffer raw;
  EXPECT_EQ((*journal)->read(Lsn{1}, Lsn{15}, 1 << 20, raw).value(), Lsn{16});
}

}  // namespace
}  // namespace mainstay::journal
