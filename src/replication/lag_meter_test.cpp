#include "replication/lag_meter.h"

#include <gtest/gtest.h>

#include <numeric>
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

// The meter against the obvious O(n) one.
TEST(LagMeter, AgreesWithCountingEverythingEachTime) {
  constexpr std::uint64_t kSeed = 20240917;
  SCOPED_TRACE(kSeed);
  SeededRandom random(kSeed);
  LagMeter meter(Lsn{0});
  struct Known {
    std::uint32_t bytes;
    std::int64_t at;
  };
  std::vector<Known> all;
  std::uint64_t there = 0;
  std::int64_t now = 0;
  for (int round = 0; round < 3000; ++round) {
    now += static_cast<std::int64_t>(random.below(1000));
    if (random.chance(1, 2)) {
      std::vector<std::uint32_t> sizes(random.below(5));
      for (auto& size : sizes) size = static_cast<std::uint32_t>(48 + random.below(2000));
      for (const auto size : sizes) all.push_back({size, now});
      meter.committed(sizes, Instant{now});
    } else if (there < all.size()) {
      there += random.below(all.size() - there + 1);
      meter.durable_there(Lsn{there});
    }
    std::uint64_t bytes = 0;
    for (std::size_t i = there; i < all.size(); ++i) bytes += all[i].bytes;
    ASSERT_EQ(meter.bytes(), bytes);
    ASSERT_EQ(meter.records(), all.size() - there);
    ASSERT_EQ(meter.oldest_age(Instant{now}).ns, there < all.size() ? now - all[there].at : 0);
  }
}

}  // namespace
}  // namespace mainstay::replication
