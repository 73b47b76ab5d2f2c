// What may run beside the writer does: readers, and the thread that makes spares, stores checkpoints and
// removes segments. Run under ThreadSanitizer these tests look for races; anywhere they check what is read.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/memory_disk.h"
#include "journal/journal.h"
#include "journal/journal_test_support.h"

namespace mainstay::journal {
namespace {

TEST(JournalThreads, WriterReadersAndUpkeepDoNotDisturbEachOther) {
  MemoryDisk disk;
  Node node(disk, {.spare_segments = 2});
  node.append("first");
  node.commit();
  Journal& journal = *node.journal;
  std::atomic<bool> done = false;
  std::atomic<std::uint64_t> checkpoints = 0;
  std::atomic<std::uint64_t> reads = 0;
  std::atomic<std::uint64_t> too_late = 0;

  std::thread upkeep([&] {
    SeededRandom random(5);
    Buffer state(100'000, std::byte{1});
    while (!done) {
      if (journal.wants_spare() && random.chance(1, 2)) {
        EXPECT_TRUE(journal.prepare_spare());
      }
      const Lsn at = journal.durable().lsn;
      const auto stored = journal.store_checkpoint(at, state);
      EXPECT_TRUE(stored) << stored.error().what;
      const auto removed = journal.remove_before(at);
      EXPECT_TRUE(removed) << removed.error().what;
      EXPECT_GT(journal.disk_bytes(), 0U);
      ++checkpoints;
    }
  });
  std::vector<std::thread> readers;
  for (std::uint64_t seed = 1; seed <= 2; ++seed) {
    readers.emplace_back([&, seed] {
      SeededRandom random(seed);
      Buffer raw;
      while (!done) {
        const Lsn end = journal.durable().lsn;
        // Near the front too, where segments are being taken away.
        const Lsn from{end.value - random.below(std::min<std::uint64_t>(end.value, 120))};
        raw.clear();
        const auto next = journal.read(from, end, random.below(40'000), raw);
        if (!next) {
          // Gone is an answer; a recycled file's new content would be `corrupt`.
          EXPECT_EQ(next.error().code, JournalErrorCode::not_found) << next.error().what;
          ++too_late;
          continue;
        }
        Lsn lsn = from;
        Record record;
        for (std::size_t at = 0; at < raw.size(); at += record.raw.size(), lsn = lsn.next()) {
          ASSERT_EQ(decode_record(BytesView(raw).subspan(at), record), DecodeStatus::ok);
          ASSERT_EQ(record.header.lsn, lsn);
        }
        EXPECT_EQ(lsn, *next);
        EXPECT_GT(journal.room(), 0U);
        ++reads;
      }
    });
  }
  Batch batch;
  for (int i = 0; i < 400 || checkpoints < 20 || reads < 100; ++i) {
    for (int n = 0; n < 4; ++n) node.append(std::string(static_cast<std::size_t>(500 * (1 + i % 7)), 'w'));
    batch = node.log->take(std::move(batch));
    const auto written = journal.write_and_sync(batch);
    ASSERT_TRUE(written) << written.error().what;
  }
  done = true;
  upkeep.join();
  for (std::thread& reader : readers) reader.join();
  const LogPosition end = journal.durable();
  EXPECT_EQ(end, node.log->end());
  node.reset();
  disk.crash_losing_unsynced();
  const auto checkpoint = Journal::load_checkpoint(disk, "").value();
  SeededRandom random(1);
  const auto again = Journal::open(disk, "", small_segments(), random, checkpoint.lsn, {});
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ((*again)->recovery().end, end);
  EXPECT_TRUE(verify(disk, "").ok);
}

TEST(JournalThreads, FailureOfOneThreadStopsTheOthers) {
  MemoryDisk disk;
  Node node(disk);
  node.append("first");
  node.commit();
  std::thread upkeep([&] {
    disk.fail_next_sync();  // of either thread
    static_cast<void>(node.journal->prepare_spare());
  });
  while (node.journal->sync()) {
    node.append("more");
    if (!node.journal->write(node.log->take())) break;
  }
  upkeep.join();
  EXPECT_EQ(node.journal->sync().error().code, JournalErrorCode::sync_failed);
  EXPECT_EQ(node.journal->prepare_spare().error().code, JournalErrorCode::sync_failed);
  EXPECT_EQ(node.journal->remove_before(Lsn{1}).error().code, JournalErrorCode::sync_failed);
}

}  // namespace
}  // namespace mainstay::journal
