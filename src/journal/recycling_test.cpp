// Segments that are no longer needed become spares with their old records in them. These must never be taken
// for records of the log, whatever a crash leaves beside them. D10, D21.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/memory_disk.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

using testing::HasSubstr;

std::size_t files(const MemoryDisk& disk, const std::string& prefix) {
  const auto paths = disk.paths();
  return static_cast<std::size_t>(
      std::count_if(paths.begin(), paths.end(), [&](const std::string& p) { return p.starts_with(prefix); }));
}

std::string last_segment(const MemoryDisk& disk) {
  std::string last;
  for (const std::string& path : disk.paths()) {
    if (path.starts_with("segment-")) last = path;
  }
  return last;
}

SegmentHeader header_of(const MemoryDisk& disk, const std::string& path) {
  SegmentHeader header;
  EXPECT_EQ(decode_segment_header(BytesView(disk.contents(path)).first(kPageBytes), header), PageStatus::ok);
  return header;
}

/// Node::bodies of a journal whose first records were removed.
struct Rest {
  explicit Rest(MemoryDisk& disk) {
    const auto checkpoint = Journal::load_checkpoint(disk, "").value();
    SeededRandom random(9);
    auto opened = Journal::open(disk, "", small_segments(), random, checkpoint.lsn,
                                [this](const Record& record) { bodies.emplace_back(as_text(record.body)); });
    EXPECT_TRUE(opened) << opened.error().what;
    if (opened) journal = std::move(*opened);
  }
  void commit(const std::vector<std::string>& texts, bool sync = true) {
    LogBuilder builder(journal->written(), std::max(journal->recovery().epoch, Epoch{1}));
    for (const std::string& text : texts) builder.append(RecordType::message_stored, as_bytes(text));
    EXPECT_TRUE(journal->write(builder.take()));
    if (sync) {
      EXPECT_TRUE(journal->sync());
    }
  }
  std::vector<std::string> bodies;
  std::unique_ptr<Journal> journal;
};

/// A log whose newest segment lies over old records and holds `bodies`, all synced, with its marks, and
/// checkpoints just before them.
void make_recycled(MemoryDisk& disk, const std::vector<std::string>& bodies) {
  Node node(disk);
  std::string letters = "abcdefgh";
  for (int i = 0; i < 30; ++i) {
    node.append(std::string(9000, letters[static_cast<std::size_t>(i) % letters.size()]));
    node.commit();
  }
  const Lsn end = node.journal->durable().lsn;
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{end.value - 1}, as_bytes("older")));
  ASSERT_TRUE(node.journal->store_checkpoint(end, as_bytes("newer")));
  ASSERT_TRUE(node.journal->remove_before(end));
  ASSERT_EQ(files(disk, "spare-"), 1U);
  // Until the recycled file is in use.
  while (!header_of(disk, last_segment(disk)).recycled) {
    node.append(std::string(9000, 'z'));
    node.commit();
  }
  const Lsn now = node.journal->durable().lsn;
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{now.value - 1}, as_bytes("older")));
  ASSERT_TRUE(node.journal->store_checkpoint(now, as_bytes("newer")));
  for (const std::string& body : bodies) {
    node.append(body);
    node.commit();
  }
  ASSERT_TRUE(node.journal->sync());
}

TEST(JournalRecycling, RemovedSegmentsBecomeSparesAsFarAsTheyAreWanted) {
  MemoryDisk disk;
  Node node(disk, {.spare_segments = 3});
  for (int i = 0; i < 60; ++i) node.append(std::string(9000, 'r'));
  node.commit();
  const std::size_t before = node.segments();
  ASSERT_GT(before, 8U);
  const std::uint64_t room = node.journal->room();
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{59}, {}));
  ASSERT_TRUE(node.journal->store_checkpoint(Lsn{60}, {}));
  EXPECT_TRUE(node.journal->wants_spare());
  ASSERT_TRUE(node.journal->remove_before(Lsn{60}));
  EXPECT_EQ(node.segments(), 1U);
  EXPECT_EQ(files(disk, "spare-"), 3U) << "the others go back to the file system";
  EXPECT_EQ(node.journal->disk_bytes(), 2 * kPageBytes + 4 * (64U << 10));
  EXPECT_FALSE(node.journal->wants_spare());
  EXPECT_GT(node.journal->room(), room);
  const std::uint64_t creates = disk.counters().creates;
  const std::uint64_t written = disk.counters().bytes_written;
  for (int i = 0; i < 15; ++i) node.append(std::string(9000, 's'));
  node.commit();
  EXPECT_EQ(disk.counters().creates, creates);
  EXPECT_LT(disk.counters().bytes_written - written, 15U * 9100 + 4 * 13'000) << "no zeros are written";
}

TEST(JournalRecycling, AsManySegmentsAreKeptAsTheLogTookLately) {
  MemoryDisk disk;
  Node node(disk, {.spare_segments = 1, .spare_segments_max = 5});
  const auto grow_and_empty = [&](int segments) {
    const std::size_t wanted = node.segments() + static_cast<std::size_t>(segments);
    while (node.segments() < wanted) {
      node.append(std::string(9000, 'g'));
      node.commit();
      ASSERT_TRUE(node.journal->prepare_spare());
    }
    const Lsn end = node.journal->durable().lsn;
    ASSERT_TRUE(node.journal->store_checkpoint(Lsn{end.value - 1}, {}));
    ASSERT_TRUE(node.journal->store_checkpoint(end, {}));
    ASSERT_TRUE(node.journal->remove_before(end));
    ASSERT_EQ(node.segments(), 1U);
  };
  grow_and_empty(8);
  EXPECT_EQ(files(disk, "spare-"), 5U) << "no more than allowed";
  const std::uint64_t creates = disk.counters().creates;
  grow_and_empty(4);
  EXPECT_EQ(disk.counters().creates, creates + 2) << "two checkpoints, no segment";
  EXPECT_EQ(files(disk, "spare-"), 5U) << "the next burst may be as long as the first";
  for (int i = 0; i < 4; ++i) grow_and_empty(1);
  EXPECT_EQ(files(disk, "spare-"), 4U) << "less by one with each removal";
  for (int i = 0; i < 2; ++i) grow_and_empty(1);
  EXPECT_EQ(files(disk, "spare-"), 2U) << "what is not used up again and again goes";
}

TEST(JournalRecycling, OldRecordsBehindTheEndAreNoTornTail) {
  MemoryDisk disk;
  make_recycled(disk, {"one", "two"});
  disk.kill();
  const VerifyReport verified = verify(disk, "");
  EXPECT_TRUE(verified.ok) << verified.problems.front();
  EXPECT_EQ(verified.torn_bytes, 0U);
  {
    Rest rest(disk);
    EXPECT_EQ(rest.bodies, (std::vector<std::string>{"one", "two"}));
    EXPECT_EQ(rest.journal->recovery().torn_bytes, 0U);
    rest.commit({"three"});
  }
  EXPECT_EQ(files(disk, "quarantine/"), 0U);
  EXPECT_EQ(Rest(disk).bodies, (std::vector<std::string>{"one", "two", "three"}));
}

TEST(JournalRecycling, TornBatchOverOldRecordsIsCutAndKept) {
  MemoryDisk disk;
  make_recycled(disk, {"durable"});
  const std::string path = last_segment(disk);
  std::uint64_t begin = 0;
  {
    Rest rest(disk);
    begin = kRecordsAt + rest.journal->record_bytes_total();
    rest.commit({std::string(2000, '1'), std::string(2000, '2'), std::string(2000, '3')}, false);
  }
  disk.kill();
  // Of the first one a sector was lost: what the file held before shows there.
  const Buffer written = disk.contents(path);
  const auto at = static_cast<std::size_t>(
      std::search_n(written.begin(), written.end(), 500, std::byte{'1'}) - written.begin());
  disk.flip(path, at + 600, 0x7f);
  const VerifyReport verified = verify(disk, "");
  EXPECT_TRUE(verified.ok) << verified.problems.front();
  EXPECT_EQ(verified.torn_bytes, 3 * record_bytes(2000));
  Rest rest(disk);
  EXPECT_EQ(rest.bodies, (std::vector<std::string>{"durable"}));
  EXPECT_EQ(rest.journal->recovery().torn_bytes, 3 * record_bytes(2000));
  EXPECT_EQ(rest.journal->recovery().torn_records, 2U);
  const Buffer kept = disk.contents(rest.journal->recovery().quarantine_file);
  EXPECT_NE(as_text(kept).find(std::string(2000, '3')), std::string_view::npos);
  EXPECT_GT(begin, kRecordsAt);
}

TEST(JournalRecycling, DamageToADurableRecordOverOldOnesIsRefused) {
  const std::vector<std::string> bodies{"first payment", "second payment", "third payment"};
  for (std::size_t victim = 0; victim < bodies.size(); ++victim) {
    MemoryDisk disk;
    make_recycled(disk, bodies);
    const std::string path = last_segment(disk);
    const std::size_t body = as_text(disk.contents(path)).find(bodies[victim]);
    ASSERT_NE(body, std::string_view::npos);
    for (std::size_t at = body - kRecordHeaderBytes; at < body + bodies[victim].size(); at += 5) {
      SCOPED_TRACE("record " + std::to_string(victim) + " byte " + std::to_string(at));
      disk.flip(path, at, 0x10);
      const Buffer before = disk.contents(path);
      SeededRandom random(1);
      const auto opened =
          Journal::open(disk, "", small_segments(), random, Journal::load_checkpoint(disk, "")->lsn, {});
      ASSERT_FALSE(opened);
      EXPECT_EQ(opened.error().code, JournalErrorCode::corrupt);
      EXPECT_THAT(opened.error().what, HasSubstr("this record was durable"));
      EXPECT_FALSE(verify(disk, "").ok);
      EXPECT_EQ(disk.contents(path), before);
      disk.flip(path, at, 0x10);
    }
    EXPECT_EQ(Rest(disk).bodies, bodies);
  }
}

TEST(JournalRecycling, WhatACutBatchLeftNeverJoinsRecordsWrittenLater) {
  // Two records are written and not synced, the first is torn. The same first record is written again (a
  // standby is sent the same bytes): the second one, still there, would continue the chain.
  for (const bool recycled : {false, true}) {
    MemoryDisk disk;
    if (recycled) {
      make_recycled(disk, {"durable"});
    } else {
      Node node(disk);
      node.append("durable");
      node.commit();
    }
    {
      Rest rest(disk);
      rest.commit({"again the same", "never sent again"}, false);
    }
    disk.kill();
    const std::string path = last_segment(disk);
    disk.flip(path, as_text(disk.contents(path)).find("again the same"));
    {
      Rest rest(disk);
      EXPECT_EQ(rest.bodies, (std::vector<std::string>{"durable"}));
      EXPECT_EQ(rest.journal->recovery().torn_records, 1U);
      rest.commit({"again the same"});
    }
    disk.kill();
    EXPECT_EQ(Rest(disk).bodies, (std::vector<std::string>{"durable", "again the same"}));
  }
}

/// Calls back before each read of a file, and for each hint that memory may go.
class WatchedDisk final : public Disk {
 public:
  explicit WatchedDisk(Disk& of) : of_(of) {}
  std::function<void()> before_read;
  std::function<void(std::uint64_t, std::uint64_t)> not_read_soon;
  mutable int only_allocated = 0;  ///< calls of preallocate_unread()

  Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override {
    auto file = of_.open(path, mode);
    if (!file) return file.error();
    return std::unique_ptr<File>(new Watched(*this, std::move(*file)));
  }
  Result<std::vector<std::string>, DiskError> list(const std::string& at) override { return of_.list(at); }
  Result<void, DiskError> rename(const std::string& from, const std::string& to) override {
    return of_.rename(from, to);
  }
  Result<void, DiskError> remove(const std::string& path) override { return of_.remove(path); }
  Result<void, DiskError> make_directory(const std::string& path) override {
    return of_.make_directory(path);
  }
  Result<void, DiskError> sync_directory(const std::string& path) override {
    return of_.sync_directory(path);
  }
  Result<std::uint64_t, DiskError> free_bytes() override { return of_.free_bytes(); }
  Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override {
    return of_.lock(path);
  }
  std::string describe(const std::string& path) const override { return of_.describe(path); }

 private:
  class Watched final : public File {
   public:
    Watched(const WatchedDisk& disk, std::unique_ptr<File> of) : disk_(disk), of_(std::move(of)) {}
    Result<std::size_t, DiskError> read(std::uint64_t offset, std::span<std::byte> into) override {
      if (disk_.before_read) disk_.before_read();
      return of_->read(offset, into);
    }
    Result<void, DiskError> write(std::uint64_t offset, BytesView from) override {
      return of_->write(offset, from);
    }
    Result<void, DiskError> sync() override { return of_->sync(); }
    void not_read_soon(std::uint64_t offset, std::uint64_t bytes) override {
      if (disk_.not_read_soon) disk_.not_read_soon(offset, bytes);
    }
    Result<std::uint64_t, DiskError> size() override { return of_->size(); }
    Result<void, DiskError> truncate(std::uint64_t bytes) override { return of_->truncate(bytes); }
    Result<void, DiskError> preallocate(std::uint64_t bytes) override { return of_->preallocate(bytes); }
    Result<void, DiskError> preallocate_unread(std::uint64_t bytes) override {
      ++disk_.only_allocated;
      return of_->preallocate_unread(bytes);
    }

   private:
    const WatchedDisk& disk_;
    std::unique_ptr<File> of_;
  };
  Disk& of_;
};

TEST(JournalRecycling, SegmentThatIsBeingReadIsNotWrittenOver) {
  MemoryDisk memory;
  WatchedDisk disk(memory);
  SeededRandom random(1);
  const auto journal = Journal::open(disk, "", small_segments({.spare_segments = 3}), random, {}, {}).value();
  LogBuilder builder({}, Epoch{1});
  const auto commit = [&](int records) {
    for (int i = 0; i < records; ++i) {
      builder.append(RecordType::message_stored, as_bytes(std::string(9000, 'x')));
    }
    ASSERT_TRUE(journal->write_and_sync(builder.take()));
  };
  commit(30);
  bool removed = false;
  disk.before_read = [&] {
    if (std::exchange(removed, true)) return;
    // The reader has found its segment and is about to read: now all of it goes, and files are used again.
    ASSERT_TRUE(journal->store_checkpoint(Lsn{29}, {}));
    ASSERT_TRUE(journal->store_checkpoint(Lsn{30}, {}));
    ASSERT_TRUE(journal->remove_before(Lsn{30}));
    commit(20);
  };
  Buffer raw;
  const auto next = journal->read(Lsn{2}, Lsn{4}, 1 << 20, raw);
  ASSERT_TRUE(next) << next.error().what;
  EXPECT_EQ(next->value, 5U);
  EXPECT_EQ(raw.size(), 3 * record_bytes(9000));
  EXPECT_TRUE(removed);
  raw.clear();
  EXPECT_EQ(journal->read(Lsn{2}, Lsn{4}, 1 << 20, raw).error().code, JournalErrorCode::not_found);
}

TEST(JournalMemory, WhatNobodyReadsSoonIsLetGoOnceItIsDurableAndNothingElse) {
  MemoryDisk memory;
  WatchedDisk disk(memory);
  std::vector<std::pair<std::uint64_t, std::uint64_t>> let_go;  // begin, end
  disk.not_read_soon = [&](std::uint64_t offset, std::uint64_t bytes) {
    let_go.emplace_back(offset, offset + bytes);
  };
  SeededRandom random(1);
  const auto journal = Journal::open(disk, "", small_segments(), random, {}, {}).value();
  LogBuilder builder({}, Epoch{1});
  const auto write = [&](int records) {
    for (int i = 0; i < records; ++i)
      builder.append(RecordType::message_stored, as_bytes(std::string(9000, 'x')));
    ASSERT_TRUE(journal->write(builder.take()));
  };
  write(2);
  ASSERT_TRUE(journal->sync());
  EXPECT_TRUE(let_go.empty()) << "readers are expected";

  journal->expect(CatchUp::takes);
  write(2);
  EXPECT_TRUE(let_go.empty()) << "it is not durable yet";
  ASSERT_TRUE(journal->sync());
  ASSERT_EQ(let_go.size(), 1U);
  EXPECT_EQ(let_go[0].second - let_go[0].first, 2 * record_bytes(9000)) << "what was written before stays";

  write(30);  // into other segments
  ASSERT_TRUE(journal->sync());
  const auto [at, sealed] = *std::max_element(let_go.begin(), let_go.end(), [](const auto& a, const auto& b) {
    return a.second - a.first < b.second - b.first;
  });
  EXPECT_EQ(at, 0U) << "a segment that was begun meanwhile goes as a whole";
  EXPECT_GT(sealed, 9000U);

  journal->expect(CatchUp::none);
  let_go.clear();
  write(1);
  ASSERT_TRUE(journal->sync());
  EXPECT_TRUE(let_go.empty());
}

class CatchUpPart : public ::testing::TestWithParam<CatchUp> {};
INSTANTIATE_TEST_SUITE_P(JournalMemory, CatchUpPart, ::testing::Values(CatchUp::gives, CatchUp::takes));

TEST_P(CatchUpPart, SparesAreOnlyAllocatedMeanwhileAndReplacedAfterIt) {
  MemoryDisk memory;
  WatchedDisk disk(memory);
  SeededRandom random(1);
  const auto journal = Journal::open(disk, "", small_segments(), random, {}, {}).value();
  const auto spare = [&] {
    const auto names = memory.list("").value();
    std::vector<std::string> found;
    std::copy_if(names.begin(), names.end(), std::back_inserter(found),
                 [](const std::string& name) { return name.rfind("spare-", 0) == 0; });
    return found;
  };
  journal->expect(GetParam());
  ASSERT_TRUE(journal->prepare_spare().value());
  EXPECT_EQ(disk.only_allocated, 1);
  EXPECT_FALSE(journal->wants_spare());
  const auto before = spare();
  ASSERT_EQ(before.size(), 1U);

  journal->expect(CatchUp::none);
  EXPECT_TRUE(journal->wants_spare());
  ASSERT_TRUE(journal->prepare_spare().value());
  EXPECT_EQ(disk.only_allocated, 1) << "the new one is written";
  EXPECT_FALSE(journal->wants_spare());
  EXPECT_EQ(spare().size(), 1U);
  EXPECT_NE(spare(), before);
}

TEST(JournalRecycling, SpareOfAnotherJournalIsNotUsed) {
  MemoryDisk disk;
  MemoryDisk other;
  { Node node(other, {}, 99); }
  { Node node(disk); }
  disk.put("spare-50.log", other.contents(segment_path(1)));
  Node node(disk);
  EXPECT_FALSE(disk.exists("spare-50.log")) << "its records could have any LSN";
}

}  // namespace
}  // namespace mainstay::journal
