// When to look which page of messages for expired ones, or for scheduled ones whose time has come: 16 bytes
// for a page that has such messages, nothing for a message. Volatile, the leader's: a page is looked at when
// its first message is due, then again when the next one is. What was due and stays, because it is locked, is
// watched anew when it is given back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "broker/message_ring.h"

namespace mainstay::broker {

class ExpiryWatch {
 public:
  explicit ExpiryWatch(MessageRing::Due what) : what_(what) {}
  /// Begins with what is there.
  void start(const MessageRing& ring) {
    heap_.clear();
    ring.for_each_page_due(what_,
                           [&](std::uint64_t page, std::int64_t at_ms) { heap_.emplace_back(at_ms, page); });
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  }
  /// A message that will be due is there, anew or again.
  void watch(std::uint64_t sequence, std::int64_t at_ms, const MessageRing& ring) {
    const std::uint64_t page = sequence / MessageRing::kPage;
    if (page == last_page_ && at_ms >= last_ms_) return;
    last_page_ = page;
    last_ms_ = at_ms;
    add(at_ms, page);
    if (heap_.size() > 2 * ring.pages() + 1024) tidy();
  }
  /// Nothing is due before.
  [[nodiscard]] std::int64_t earliest_ms() const {
    return heap_.empty() ? PageEntry::kNever_ms : heap_.front().first;
  }
  /// Appends messages that are due at `now_ms`, locked or not, page by page until there are `max` or
  /// more.
  /// @return whether there may be more
  [[nodiscard]] bool collect(const MessageRing& ring, std::int64_t now_ms, std::size_t max,
                             std::vector<std::uint64_t>& out) {
    const std::size_t enough = out.size() + max;
    while (!heap_.empty() && heap_.front().first <= now_ms) {
      if (out.size() >= enough) return true;
      const std::uint64_t page = heap_.front().second;
      std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
      heap_.pop_back();
      if (page == last_page_) last_page_ = kNoPage;
      const std::int64_t next_ms = ring.collect_due(what_, page, now_ms, out);
      if (next_ms != PageEntry::kNever_ms) add(next_ms, page);
    }
    return false;
  }

 private:
  static constexpr std::uint64_t kNoPage = ~std::uint64_t{0};
  void add(std::int64_t at_ms, std::uint64_t page) {
    heap_.emplace_back(at_ms, page);
    std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
  }
  /// One entry for a page, its earliest.
  void tidy() {
    std::sort(heap_.begin(), heap_.end(), [](const auto& a, const auto& b) {
      return a.second != b.second ? a.second < b.second : a.first < b.first;
    });
    heap_.erase(std::unique(heap_.begin(), heap_.end(),
                            [](const auto& a, const auto& b) { return a.second == b.second; }),
                heap_.end());
    std::make_heap(heap_.begin(), heap_.end(), std::greater<>());
  }

  MessageRing::Due what_;
  std::vector<std::pair<std::int64_t, std::uint64_t>> heap_;  ///< (when, page), earliest first
  std::uint64_t last_page_ = kNoPage;                         ///< watched last, and from when
  std::int64_t last_ms_ = 0;
};

}  // namespace mainstay::broker
