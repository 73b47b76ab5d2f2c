#include "node/latency_histogram.h"

#include <gtest/gtest.h>

namespace mainstay::node {
namespace {

TEST(LatencyHistogram, ABoundBelongsToItsBucket) {
  LatencyHistogram histogram;
  histogram.add(microseconds(16));
  histogram.add(Duration{16'001});
  histogram.add(microseconds(32));
  histogram.add(Duration{0});
  const auto buckets = histogram.cumulative();
  ASSERT_EQ(buckets.size(), 20U);
  EXPECT_DOUBLE_EQ(buckets[0].first, 16e-6);
  EXPECT_EQ(buckets[0].second, 2U);
  EXPECT_DOUBLE_EQ(buckets[1].first, 32e-6);
  EXPECT_EQ(buckets[1].second, 4U);
  EXPECT_EQ(buckets[19].second, 4U) << "cumulative";
}

TEST(LatencyHistogram, BoundsDoubleUpToEightSeconds) {
  const auto buckets = LatencyHistogram().cumulative();
  for (std::size_t i = 1; i < buckets.size(); ++i) {
    EXPECT_DOUBLE_EQ(buckets[i].first, 2 * buckets[i - 1].first);
  }
  EXPECT_GT(buckets.back().first, 8.0);
  EXPECT_LT(buckets.back().first, 9.0);
}

TEST(LatencyHistogram, WhatIsBeyondTheLastBoundCountsInTheTotalOnly) {
  LatencyHistogram histogram;
  histogram.add(seconds(60));
  histogram.add(milliseconds(1));
  EXPECT_EQ(histogram.cumulative().back().second, 1U);
  EXPECT_EQ(histogram.count(), 2U);
  EXPECT_DOUBLE_EQ(histogram.sum_seconds(), 60.001);
}

}  // namespace
}  // namespace mainstay::node
