#include "node/body_cache.h"

#include <gtest/gtest.h>

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

TEST(BodyCache, FindsEveryRecordOfEveryBatch) {
  BodyCache cache(1U << 20);
  Log log;
  EXPECT_EQ(body(cache, 1), "absent");
  for (const int records : {1, 5, 2}) cache.add(log.batch(records));
  for (std::uint64_t lsn = 1; lsn <= 8; ++lsn) EXPECT_EQ(body(cache, lsn), Log::body_of(lsn, 40)) << lsn;
  EXPECT_EQ(body(cache, 0), "absent");
  EXPECT_EQ(body(cache, 9), "absent");
}

TEST(BodyCache, TheOldestBatchesGoFirstAndTheBoundHolds) {
  Log log;
  const std::size_t record = journal::record_bytes(200);
  BodyCache cache(record * 10);
  for (int i = 0; i < 20; ++i) {
    cache.add(log.batch(3, 200));
    EXPECT_LE(cache.bytes(), record * 10);
  }
  EXPECT_EQ(cache.bytes(), record * 9);
  EXPECT_EQ(body(cache, 51), "absent");
  for (std::uint64_t lsn = 52; lsn <= 60; ++lsn) EXPECT_EQ(body(cache, lsn), Log::body_of(lsn, 200)) << lsn;
}

TEST(BodyCache, ABatchLargerThanAllOfItLeavesNoGapBehind) {
  Log log;
  BodyCache cache(1000);
  cache.add(log.batch(1, 100));
  cache.add(log.batch(1, 5000));
  EXPECT_EQ(body(cache, 2), "absent");
  cache.add(log.batch(1, 100));
  EXPECT_EQ(body(cache, 1), "absent");
  EXPECT_EQ(body(cache, 2), "absent");
  EXPECT_EQ(body(cache, 3), Log::body_of(3, 100));
  EXPECT_LE(cache.bytes(), 1000U);
}

TEST(BodyCache, AGapStartsItAnew) {
  Log log;
  BodyCache cache(1U << 20);
  cache.add(log.batch(4));
  Log later(10);
  cache.add(later.batch(2));
  EXPECT_EQ(body(cache, 4), "absent");
  EXPECT_EQ(body(cache, 7), "absent");
  EXPECT_EQ(body(cache, 11), Log::body_of(11, 40));
  EXPECT_EQ(body(cache, 12), Log::body_of(12, 40));
  EXPECT_EQ(cache.bytes(), 2 * journal::record_bytes(40));
}

TEST(BodyCache, HoldsNothingWhenSwitchedOffAndIgnoresEmptyBatches) {
  Log log;
  BodyCache off(0);
  off.add(log.batch(3));
  EXPECT_EQ(body(off, 1), "absent");
  BodyCache cache(1U << 20);
  cache.add(log.batch(1));
  cache.add(journal::Batch{});
  EXPECT_EQ(body(cache, 4), Log::body_of(4, 40));
}

}  // namespace
}  // namespace mainstay::node
