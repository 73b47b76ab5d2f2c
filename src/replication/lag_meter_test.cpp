#include "replication/lag_meter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <vector>

#include "base/random.h"

namespace mainstay::replication {
namespace {

TEST(LagMeter, CountsRecordsBytesAndTheOldestAge) {
  LagMeter meter(Lsn{10});
  EXPECT_EQ(meter.oldest_age(Instant{99}).ns, 0);
  const std::vector<std::uint32_t> first{100, 200};
  const std::vector<std::uint32_t> second{50};
  meter.committed(first, Instant{1'000});
  meter.committed(second, Instant{5'000});
  EXPECT_EQ(meter.records(), 3U);
  EXPECT_EQ(meter.bytes(), 350U);
  EXPECT_EQ(meter.oldest_age(Instant{6'000}).ns, 5'000);
  meter.durable_there(Lsn{11});
  EXPECT_EQ(meter.bytes(), 250U);
  EXPECT_EQ(meter.oldest_age(Instant{6'000}).ns, 5'000)
      << "the second record of the first commit is still here only";
  meter.durable_there(Lsn{12});
  EXPECT_EQ(meter.oldest_age(Instant{6'000}).ns, 1'000);
  meter.durable_there(Lsn{11});
  EXPECT_EQ(meter.records(), 1U) << "an old acknowledgement changes nothing";
  meter.durable_there(Lsn{13});
  EXPECT_EQ(meter.records(), 0U);
  EXPECT_EQ(meter.oldest_age(Instant{7'000}).ns, 0);
}

TEST(LagMeter, StandbyFurtherBehindThanAssumedIsCountedFromThen) {
  LagMeter meter(Lsn{10});
  const std::vector<std::uint32_t> now{64};
  const std::vector<std::uint32_t> earlier{10, 20, 30};
  meter.committed(now, Instant{500});
  meter.behind(earlier, Instant{100});
  EXPECT_EQ(meter.there(), Lsn{7});
  EXPECT_EQ(meter.records(), 4U);
  EXPECT_EQ(meter.bytes(), 124U);
  EXPECT_EQ(meter.oldest_age(Instant{600}).ns, 500);
  meter.durable_there(Lsn{10});
  EXPECT_EQ(meter.oldest_age(Instant{600}).ns, 100);
}

TEST(LagMeter, StandbyThatLostWhatItHadIsCountedAgain) {
  LagMeter meter(Lsn{10});
  const std::vector<std::uint32_t> now{100, 300, 200};
  meter.committed(now, Instant{500});
  meter.durable_there(Lsn{11});
  EXPECT_EQ(meter.bytes(), 500U);
  const std::vector<std::uint32_t> again{70, 100};
  meter.behind(again, Instant{100});
  EXPECT_EQ(meter.there(), Lsn{9});
  EXPECT_EQ(meter.records(), 4U);
  EXPECT_EQ(meter.bytes(), 670U);
  meter.durable_there(Lsn{11});
  EXPECT_EQ(meter.bytes(), 500U);
  EXPECT_EQ(meter.oldest_age(Instant{600}).ns, 100);
}

TEST(LagMeter, RecordsKnownOnlyAsASumCountInFullUntilTheyMustBeLess) {
  LagMeter meter(Lsn{1'000'000});
  const std::vector<std::uint32_t> now{64};
  meter.committed(now, Instant{500});
  meter.behind_at_most(1'000, 100'000, Instant{100});
  EXPECT_EQ(meter.records(), 1'001U);
  EXPECT_EQ(meter.bytes(), 100'064U);
  meter.durable_there(Lsn{999'999});
  EXPECT_EQ(meter.bytes(), 100'064U) << "the last one may be the large one";
  meter.durable_there(Lsn{1'000'000});
  EXPECT_EQ(meter.bytes(), 64U);
}

/// What is lagging, counted record by record.
class Counted {
 public:
  void committed(std::span<const std::uint32_t> sizes, std::int64_t at) {
    for (const auto size : sizes) all_.push_back({size, at}), bytes_ += size;
  }
  void durable_there(std::uint64_t count) {
    for (; there_ < count; ++there_) bytes_ -= all_[there_].bytes;
  }
  [[nodiscard]] std::uint64_t there() const { return there_; }
  [[nodiscard]] std::uint64_t records() const { return all_.size() - there_; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  [[nodiscard]] std::int64_t age(std::int64_t now) const {
    return there_ < all_.size() ? now - all_[there_].at : 0;
  }
  [[nodiscard]] std::int64_t age_of(std::uint64_t record, std::int64_t now) const {
    return now - all_[record].at;
  }

 private:
  struct Known {
    std::uint32_t bytes;
    std::int64_t at;
  };
  std::vector<Known> all_;
  std::uint64_t there_ = 0, bytes_ = 0;
};

TEST(LagMeter, IsExactWhenTheOtherRegionHasWholeCommits) {
  constexpr std::uint64_t kSeed = 20240917;
  SCOPED_TRACE(kSeed);
  SeededRandom random(kSeed);
  LagMeter meter(Lsn{0});
  Counted counted;
  std::vector<std::uint64_t> ends{0};
  std::size_t there = 0;
  std::int64_t now = 0;
  for (int round = 0; round < 3000; ++round) {
    now += static_cast<std::int64_t>(random.below(1000));
    if (random.chance(1, 2)) {
      std::vector<std::uint32_t> sizes(random.below(5));
      for (auto& size : sizes) size = static_cast<std::uint32_t>(48 + random.below(2000));
      counted.committed(sizes, now);
      meter.committed(sizes, Instant{now});
      ends.push_back(ends.back() + sizes.size());
    } else {
      there += random.below(std::min<std::size_t>(ends.size() - there, 40));
      counted.durable_there(ends[there]);
      meter.durable_there(Lsn{ends[there]});
    }
    ASSERT_LT(meter.records(), 512U) << "else commits are joined";
    ASSERT_EQ(meter.records(), counted.records());
    ASSERT_EQ(meter.bytes(), counted.bytes());
    ASSERT_EQ(meter.oldest_age(Instant{now}).ns, counted.age(now));
  }
}

// The lag grows and shrinks by far more than there are blocks; the other region has anything.
TEST(LagMeter, NeverTellsLessThanThereIsAndLittleMore) {
  constexpr std::uint64_t kSeed = 20240918;
  SCOPED_TRACE(kSeed);
  SeededRandom random(kSeed);
  LagMeter meter(Lsn{0});
  Counted counted;
  constexpr std::uint64_t kCommitMax = 20;
  constexpr std::uint32_t kBytesMax = 2048;
  std::int64_t now = 0;
  std::uint64_t most_lagging = 0, joined = 0;
  bool away = true;
  for (int round = 0; round < 40'000; ++round) {
    now += static_cast<std::int64_t>(random.below(1000));
    if (round % 5'000 == 0) away = !away;
    std::vector<std::uint32_t> sizes(1 + random.below(kCommitMax));
    for (auto& size : sizes) size = static_cast<std::uint32_t>(48 + random.below(kBytesMax - 48));
    counted.committed(sizes, now);
    meter.committed(sizes, Instant{now});
    most_lagging = std::max(most_lagging, meter.records());
    if (!away) {
      counted.durable_there(counted.there() +
                            random.below(std::min<std::uint64_t>(counted.records(), 60) + 1));
      meter.durable_there(Lsn{counted.there()});
    }
    const std::uint64_t block = std::max(kCommitMax, most_lagging / 512);
    ASSERT_LE(meter.blocks(), LagMeter::kBlocksMax);
    ASSERT_EQ(meter.records(), counted.records());
    ASSERT_GE(meter.bytes(), counted.bytes());
    ASSERT_LE(meter.bytes(), counted.bytes() + block * kBytesMax);
    const std::int64_t age = meter.oldest_age(Instant{now}).ns;
    ASSERT_GE(age, counted.age(now));
    const std::uint64_t oldest_counted = counted.there() - std::min(counted.there(), block);
    if (counted.records() != 0) {
      ASSERT_LE(age, counted.age_of(oldest_counted, now));
    }
    if (meter.blocks() > 1 && meter.bytes() != counted.bytes()) ++joined;
  }
  EXPECT_GT(most_lagging, 20'000U);
  EXPECT_GT(joined, 100U) << "the approximation was not met";
}

TEST(LagMeter, HundredMillionLaggingRecordsNeedNoMoreMemoryThanSome) {
  constexpr std::uint64_t kRecords = 100'000'000;
  std::vector<std::uint32_t> sizes(1'000);
  std::uint64_t commit_bytes = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    sizes[i] = static_cast<std::uint32_t>(100 + i);
    commit_bytes += sizes[i];
  }
  LagMeter meter(Lsn{0});
  std::int64_t now = 0;
  std::size_t most_blocks = 0;
  for (std::uint64_t done = 0; done < kRecords; done += sizes.size()) {
    meter.committed(sizes, Instant{++now});
    most_blocks = std::max(most_blocks, meter.blocks());
  }
  EXPECT_LE(most_blocks, LagMeter::kBlocksMax);
  EXPECT_EQ(meter.records(), kRecords);
  EXPECT_EQ(meter.bytes(), kRecords / sizes.size() * commit_bytes);
  EXPECT_EQ(meter.oldest_age(Instant{now}).ns, now - 1);
  // It catches up: at every tenth the figures are the true ones, with at most 1/512 of the lag on top.
  for (std::uint64_t tenth = 1; tenth < 10; ++tenth) {
    const std::uint64_t there = kRecords / 10 * tenth;
    meter.durable_there(Lsn{there});
    const std::uint64_t bytes = (kRecords - there) / sizes.size() * commit_bytes;
    EXPECT_GE(meter.bytes(), bytes);
    EXPECT_LE(meter.bytes(), bytes + kRecords / 512 * sizes.back());
    const std::int64_t age = now - 1 - static_cast<std::int64_t>(there / sizes.size());
    EXPECT_GE(meter.oldest_age(Instant{now}).ns, age);
    EXPECT_LE(meter.oldest_age(Instant{now}).ns,
              age + static_cast<std::int64_t>(kRecords / 512 / sizes.size()));
  }
  meter.durable_there(Lsn{kRecords});
  EXPECT_EQ(meter.bytes(), 0U);
  EXPECT_EQ(meter.blocks(), 0U);
}

}  // namespace
}  // namespace mainstay::replication
