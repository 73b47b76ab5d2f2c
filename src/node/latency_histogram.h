// Latencies in logarithmic buckets from 16 µs to about 8 s. Fixed memory, no allocation. One strand.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/clock.h"

namespace mainstay::node {

class LatencyHistogram {
 public:
  void add(Duration latency) {
    ++count_;
    sum_seconds_ += latency.seconds();
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (latency <= bound(i)) {
        ++counts_[i];
        return;
      }
    }
  }
  /// Upper bounds in seconds with cumulative counts, as Prometheus wants them.
  [[nodiscard]] std::vector<std::pair<double, std::uint64_t>> cumulative() const {
    std::vector<std::pair<double, std::uint64_t>> out;
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      total += counts_[i];
      out.emplace_back(bound(i).seconds(), total);
    }
    return out;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] double sum_seconds() const { return sum_seconds_; }

 private:
  static constexpr Duration bound(std::size_t i) { return microseconds(std::int64_t{16} << i); }
  std::array<std::uint64_t, 20> counts_{};
  std::uint64_t count_ = 0;
  double sum_seconds_ = 0;
};

}  // namespace mainstay::node
