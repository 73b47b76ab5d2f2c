#include "replica/log_cleaner.h"

#include <gtest/gtest.h>

namespace mainstay::replica {
namespace {

constexpr std::uint64_t kSegment = 1 << 20;

/// A log of records of 1 KiB each.
struct Log {
  LogCleaner cleaner{Lsn{1}, Lsn{0}, 0};
  LogCleaner::Input input;
  std::uint64_t lsn = 0;

  Log() {
    input.segment_bytes = kSegment;
    input.room = 64 << 20;
    input.reserve_bytes = 4 << 20;
    input.oldest_needed = Lsn{1};
    input.live_bytes = 1 << 10;
  }
  void append(std::uint64_t records) {
    for (; records > 0; --records) {
      ++lsn;
      cleaner.appended(Lsn{lsn}, lsn << 10, kSegment);
    }
  }
  LogCleaner::Plan plan(Duration later = milliseconds(100)) {
    input.now = input.now + later;
    return cleaner.plan(input);
  }
};

TEST(LogCleaner, BytesFromAPlaceAreThoseAppendedSince) {
  Log log;
  EXPECT_EQ(log.cleaner.bytes_from(Lsn{1}), 0U);
  log.append(10'000);
  EXPECT_EQ(log.cleaner.bytes_from(Lsn{1}), 10'000U << 10);
  EXPECT_EQ(log.cleaner.bytes_from(Lsn{5'001}), 5'000U << 10);
  EXPECT_EQ(log.cleaner.bytes_from(Lsn{10'000}), 1U << 10);
  EXPECT_EQ(log.cleaner.bytes_from(Lsn{10'001}), 0U);
  const LogCleaner found(Lsn{1'001}, Lsn{2'000}, 1'000U << 10);
  EXPECT_EQ(found.bytes_from(Lsn{1'501}), 500U << 10) << "a log that was found is taken as even";
}

TEST(LogCleaner, RoundBeginsAboveFourSegmentsAndEndsAtHalf) {
  Log log;
  log.append(4096);
  EXPECT_EQ(log.plan().bytes, 0U);
  EXPECT_FALSE(log.cleaner.cleaning());
  log.append(1);
  const auto plan = log.plan();
  EXPECT_TRUE(plan.began);
  EXPECT_GT(plan.bytes, 0U);
  EXPECT_GT(plan.before, Lsn{1});
  EXPECT_NEAR(static_cast<double>(plan.before.value), 2049, 2) << "the newest two segments stay as they are";
  log.input.oldest_needed = Lsn{1500};
  EXPECT_FALSE(log.plan().ended);
  log.input.oldest_needed = plan.before;
  EXPECT_TRUE(log.plan().ended);
  EXPECT_FALSE(log.plan().began);
}

TEST(LogCleaner, ABacklogIsNotCleanedWhileHalfOfItIsLive) {
  Log log;
  log.append(100'000);
  log.input.live_bytes = 50'000U << 10;
  EXPECT_EQ(log.plan().bytes, 0U);
  log.input.live_bytes = 49'000U << 10;
  const auto plan = log.plan();
  EXPECT_GT(plan.bytes, 0U);
  EXPECT_NEAR(static_cast<double>(plan.before.value), 51'001, 2) << "what fits in the live bytes stays";
}

TEST(LogCleaner, BudgetIsAShareOfWhatIsAppendedAndAMinimumPerSecond) {
  Log log;
  log.append(10'000);
  const auto first = log.plan();
  EXPECT_EQ(first.bytes, static_cast<std::size_t>(LogCleaner::kStepBytesMax));
  log.cleaner.moved(first.bytes);
  EXPECT_EQ(log.plan(Duration{}).bytes, 0U) << "no time has passed and nothing was appended";
  EXPECT_EQ(log.plan(milliseconds(10)).bytes, 41'943U) << "4 MiB a second";
  log.cleaner.moved(41'943 + 100'000);  // one message was larger
  EXPECT_EQ(log.plan(milliseconds(10)).bytes, 0U);
  log.append(1024);
  EXPECT_EQ(log.plan(Duration{}).bytes, (256U << 10) - 100'000 + 41'943);
  EXPECT_EQ(log.plan(seconds(100)).bytes, static_cast<std::size_t>(LogCleaner::kStepBytesMax));
}

TEST(LogCleaner, PublishesThatWaitGoFirstButAFullDiskIsFreedInSmallSteps) {
  Log log;
  log.append(10'000);
  log.input.publishes_held = true;
  EXPECT_EQ(log.plan().bytes, 0U);
  log.input.publishes_held = false;
  log.input.room = log.input.reserve_bytes;
  EXPECT_EQ(log.plan().bytes, 0U) << "the reserve is for settlements";
  log.input.publishes_held = log.input.disk_full = true;
  EXPECT_EQ(log.plan().bytes, static_cast<std::size_t>(LogCleaner::kStepBytesDiskFull));
  log.input.room = log.input.reserve_bytes / 2;
  EXPECT_EQ(log.plan().bytes, 0U) << "half of it stays whatever happens";
}

TEST(LogCleaner, AFullDiskIsCleanedDownToASegment) {
  Log log;
  log.append(2048);
  EXPECT_EQ(log.plan().bytes, 0U);
  log.input.disk_full = true;
  EXPECT_GT(log.plan().bytes, 0U);
}

}  // namespace
}  // namespace mainstay::replica
