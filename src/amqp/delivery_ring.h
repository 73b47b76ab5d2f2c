// The unsettled deliveries of one session in one direction, by their dense number.
//
// A ring of slots from the oldest unsettled delivery to the newest. A few that stay unsettled for long while
// many pass would make the ring long: then the old half's survivors move to a short sorted list. So memory
// follows the number of unsettled deliveries, not their spread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace mainstay::amqp {

/// @tparam Entry  has `bool live` (false when default-constructed).
template <class Entry>
class DeliveryRing {
 public:
  /// Numbers begin at `first`.
  explicit DeliveryRing(std::uint64_t first) : base_(first), next_(first) {}

  [[nodiscard]] std::uint64_t next() const { return next_; }
  [[nodiscard]] std::uint32_t live() const { return live_; }
  [[nodiscard]] std::size_t memory_bytes() const {
    return slots_.capacity() * sizeof(Entry) + stragglers_.capacity() * sizeof(stragglers_[0]);
  }

  /// Gives the entry the next number. A dead one only uses the number up.
  std::uint64_t push(const Entry& entry) {
    if (!entry.live && base_ == next_) {
      ++base_;
      return next_++;
    }
    if (next_ - base_ == slots_.size()) make_room();
    slots_[index(next_)] = entry;
    if (entry.live) ++live_;
    return next_++;
  }

  /// nullptr when settled, or never there.
  [[nodiscard]] Entry* find(std::uint64_t number) {
    if (number >= base_) {
      if (number >= next_) return nullptr;
      Entry& entry = slots_[index(number)];
      return entry.live ? &entry : nullptr;
    }
    const auto at = straggler(number);
    return at != stragglers_.end() && at->first == number ? &at->second : nullptr;
  }

  void erase(std::uint64_t number) {
    if (number >= base_) {
      Entry& entry = slots_[index(number)];
      MS_ASSERT(number < next_ && entry.live, "a delivery is settled once");
      entry.live = false;
      --live_;
      while (base_ != next_ && !slots_[index(base_)].live) ++base_;
      return;
    }
    const auto at = straggler(number);
    MS_ASSERT(at != stragglers_.end() && at->first == number, "a delivery is settled once");
    stragglers_.erase(at);
    --live_;
  }

  /// Calls visit(number) for the unsettled deliveries of [first, last], oldest first. `visit` may erase and
  /// push, and returns false to stop.
  template <class F>
  void visit(std::uint64_t first, std::uint64_t last, F&& visit) {
    if (first < base_ && !stragglers_.empty()) {
      std::vector<std::uint64_t> old;
      for (auto at = straggler(first); at != stragglers_.end() && at->first <= last; ++at) {
        old.push_back(at->first);
      }
      for (const auto number : old) {
        if (find(number) != nullptr && !visit(number)) return;
      }
    }
    const std::uint64_t end = std::min(last + 1, next_);
    for (std::uint64_t number = std::max(first, base_); number < end; ++number) {
      if (find(number) != nullptr && !visit(number)) return;
    }
  }

 private:
  static constexpr std::size_t kSlotsMin = 16;
  static constexpr std::size_t kSlotsSparse = 1024;

  [[nodiscard]] std::size_t index(std::uint64_t number) const {
    return static_cast<std::size_t>(number) & (slots_.size() - 1);
  }
  auto straggler(std::uint64_t number) {
    return std::lower_bound(stragglers_.begin(), stragglers_.end(), number,
                            [](const auto& held, std::uint64_t n) { return held.first < n; });
  }

  void make_room() {
    const std::size_t held = slots_.size();
    const std::size_t in_ring = live_ - stragglers_.size();
    if (held >= kSlotsSparse && in_ring < held / 4) {
      const std::uint64_t middle = base_ + held / 2;
      for (; base_ != middle; ++base_) {
        Entry& entry = slots_[index(base_)];
        if (entry.live) stragglers_.emplace_back(base_, entry);
        entry.live = false;
      }
      while (base_ != next_ && !slots_[index(base_)].live) ++base_;
      return;
    }
    std::vector<Entry> grown(std::max(held * 2, kSlotsMin));
    for (std::uint64_t number = base_; number != next_; ++number) {
      grown[static_cast<std::size_t>(number) & (grown.size() - 1)] = slots_[index(number)];
    }
    slots_ = std::move(grown);
  }

  std::vector<Entry> slots_;                                 ///< size is a power of two
  std::vector<std::pair<std::uint64_t, Entry>> stragglers_;  ///< live, sorted, all below base_
  std::uint64_t base_;
  std::uint64_t next_;
  std::uint32_t live_ = 0;
};

}  // namespace mainstay::amqp
