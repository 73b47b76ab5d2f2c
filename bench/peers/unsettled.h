// What a client still waits for: so that a confirm is counted for the message it belongs to, and once.
#pragma once

#include <cstdint>
#include <vector>

namespace mainstay::bench {

/// Deliveries without an outcome, by delivery-id: each gets exactly one.
class Unsettled {
 public:
  void add(std::uint32_t id);
  /// @return how many these were. Throws Trouble when one of them has none to get.
  std::uint64_t settle(std::uint32_t first, std::uint32_t last);
  [[nodiscard]] std::uint32_t count() const { return count_; }
  static constexpr std::uint32_t kMost = 1U << 16;

 private:
  std::vector<bool> open_ = std::vector<bool>(kMost);
  std::uint32_t count_ = 0;
};

}  // namespace mainstay::bench
