#include "node/body_cache.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "journal/record.h"

namespace mainstay::node {
namespace {

/// Batches as the journal's builder makes them.
class Log {
 public:
  explicit Log(std::uint64_t after = 0) : builder_({Lsn{after}, 0}, Epoch{1}) {}
  journal::Batch batch(int records, std::size_t body_bytes = 40) {
    for (int i = 0; i < records; ++i) {
      const std::string body = body_of(builder_.end().lsn.value + 1, body_bytes);
      builder_.append(journal::RecordType::message_stored, as_bytes(body));
    }
    return builder_.take();
  }
  static std::string body_of(std::uint64_t lsn, std::size_t bytes) {
    std::string body = "body of " + std::to_string(lsn);
    body.resize(bytes, '.');
    return body;
  }

 private:
  journal::LogBuilder builder_;
};

/// The body of a record found whole; "absent" else.
std::string body(const BodyCache& cache, std::uint64_t lsn) {
  const auto raw = cache.find(Lsn{lsn});
  if (!raw) return "absent";
  journal::Record record;
  if (journal::decode_record(*raw, record) != journal::DecodeStatus::ok) return "damaged";
  if (record.raw.size() != raw->size()) return "more than one record";
  if (record.header.lsn.value != lsn) return "LSN " + std::to_string(record.header.lsn.value);
  return std::string(as_text(record.body));
}

void add(BodyCache& cache, journal::Batch batch) {
  cache.add(batch);
}

TEST(BodyCache, FindsEveryRecordOfEveryBatch) {
  BodyCache cache(1U << 20);
  Log log;
  EXPECT_EQ(body(cache, 1), "absent");
  for (const int records : {1, 5, 2}) add(cache, log.batch(records));
  for (std::uint64_t lsn = 1; lsn <= 8; ++lsn) EXPECT_EQ(body(cache, lsn), Log::body_of(lsn, 40)) << lsn;
  EXPECT_EQ(body(cache, 0), "absent");
  EXPECT_EQ(body(cache, 9), "absent");
}

TEST(BodyCache, TheOldestGoFirstAndTheBoundHoldsForMemory) {
  for (const int records : {1, 3, 700}) {  // copied into parts, and moved
    Log log;
    constexpr std::uint64_t kBytes = 1U << 20;
    BodyCache cache(kBytes);
    std::uint64_t lsn = 0;
    while (lsn < 20'000) {
      add(cache, log.batch(records, 200));
      lsn += static_cast<std::uint64_t>(records);
      ASSERT_LE(cache.bytes(), kBytes);
    }
    std::uint64_t here = 0;
    for (; body(cache, lsn) != "absent"; --lsn, ++here) ASSERT_EQ(body(cache, lsn), Log::body_of(lsn, 200));
    EXPECT_GT(here * journal::record_bytes(200), kBytes / 3) << records;
    for (; lsn > 0; --lsn) ASSERT_EQ(body(cache, lsn), "absent");
  }
}

TEST(BodyCache, ABatchThatFillsItsBufferIsMovedAndMemoryOfADroppedOneComesBack) {
  Log log;
  BodyCache cache(500'000);
  std::set<const std::byte*> moved_in;
  for (int i = 0; i < 10; ++i) {
    journal::Batch batch = log.batch(400, 200);
    batch.bytes.shrink_to_fit();
    const std::byte* at = batch.bytes.data();
    moved_in.insert(at);
    const Lsn lsn = batch.first;
    cache.add(batch);
    EXPECT_EQ(cache.find(lsn)->data(), at) << "no copy";
    if (cache.find(Lsn{1})) continue;
    batch = log.batch(400, 200);
    batch.bytes.shrink_to_fit();
    cache.add(batch);
    EXPECT_TRUE(moved_in.contains(batch.bytes.data()));
    return;
  }
  FAIL() << "nothing was dropped";
}

TEST(BodyCache, SmallBatchesInLargeBuffersTakeOnlyTheirOwnSize) {
  Log log;
  BodyCache cache(1U << 20);
  for (int i = 0; i < 100; ++i) {
    journal::Batch batch = log.batch(1, 200);
    batch.bytes.reserve(1U << 20);
    cache.add(batch);
  }
  for (std::uint64_t lsn = 1; lsn <= 100; ++lsn) EXPECT_EQ(body(cache, lsn), Log::body_of(lsn, 200));
}

TEST(BodyCache, ABatchLargerThanAllOfItLeavesNoGapBehind) {
  Log log;
  BodyCache cache(1000);
  add(cache, log.batch(1, 100));
  add(cache, log.batch(1, 5000));
  EXPECT_EQ(body(cache, 2), "absent");
  add(cache, log.batch(1, 100));
  EXPECT_EQ(body(cache, 1), "absent");
  EXPECT_EQ(body(cache, 2), "absent");
  EXPECT_EQ(body(cache, 3), Log::body_of(3, 100));
  EXPECT_LE(cache.bytes(), 1000U);
}

TEST(BodyCache, AGapStartsItAnew) {
  Log log;
  BodyCache cache(1U << 20);
  add(cache, log.batch(4));
  Log later(10);
  add(cache, later.batch(2));
  EXPECT_EQ(body(cache, 4), "absent");
  EXPECT_EQ(body(cache, 7), "absent");
  EXPECT_EQ(body(cache, 11), Log::body_of(11, 40));
  EXPECT_EQ(body(cache, 12), Log::body_of(12, 40));
  EXPECT_LE(cache.bytes(), (128U << 10) + 64);
}

TEST(BodyCache, HoldsNothingWhenSwitchedOffAndIgnoresEmptyBatches) {
  Log log;
  BodyCache off(0);
  add(off, log.batch(3));
  EXPECT_EQ(body(off, 1), "absent");
  BodyCache cache(1U << 20);
  add(cache, log.batch(1));
  add(cache, journal::Batch{});
  EXPECT_EQ(body(cache, 4), Log::body_of(4, 40));
}

}  // namespace
}  // namespace mainstay::node
