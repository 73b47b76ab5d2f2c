// Which of many numbered things is due next. Not a public header.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace mainstay::broker {

/// At most one time per id, earliest first; ids are dense from 0. A binary heap that knows where each id is:
/// O(log n) to arm, O(1) to look, 4 bytes per id that has none.
template <class Time>
class TimerHeap {
 public:
  struct Timer {
    Time at{};
    std::uint32_t id{};
    /// Equal times by id: what is due together is run in the same order everywhere.
    friend bool operator<(const Timer& a, const Timer& b) {
      return a.at < b.at || (!(b.at < a.at) && a.id < b.id);
    }
  };

  [[nodiscard]] bool empty() const { return heap_.empty(); }
  [[nodiscard]] const Timer& first() const { return heap_.front(); }
  [[nodiscard]] bool armed(std::uint32_t id) const { return id < places_.size() && places_[id] != kNowhere; }
  [[nodiscard]] Time at(std::uint32_t id) const { return heap_[places_[id]].at; }

  /// Due at `at`, or when it was due before, whichever is earlier.
  void arm(std::uint32_t id, Time at) {
    if (!armed(id)) {
      if (id >= places_.size()) places_.resize(std::size_t{id} + 1, kNowhere);
      heap_.push_back({at, id});
      places_[id] = static_cast<std::uint32_t>(heap_.size() - 1);
    } else if (at < heap_[places_[id]].at) {
      heap_[places_[id]].at = at;
    } else {
      return;
    }
    rise(places_[id]);
  }
  void pop() {
    MS_ASSERT(!heap_.empty(), "only what is armed is taken");
    places_[heap_.front().id] = kNowhere;
    const Timer last = heap_.back();
    heap_.pop_back();
    if (heap_.empty()) return;
    heap_.front() = last;
    places_[last.id] = 0;
    sink(0);
  }

 private:
  static constexpr std::uint32_t kNowhere = 0xffffffffU;
  void exchange(std::size_t a, std::size_t b) {
    std::swap(heap_[a], heap_[b]);
    places_[heap_[a].id] = static_cast<std::uint32_t>(a);
    places_[heap_[b].id] = static_cast<std::uint32_t>(b);
  }
  void rise(std::size_t at) {
    for (; at > 0 && heap_[at] < heap_[(at - 1) / 2]; at = (at - 1) / 2) exchange(at, (at - 1) / 2);
  }
  void sink(std::size_t at) {
    for (;;) {
      std::size_t least = at;
      for (const std::size_t child : {2 * at + 1, 2 * at + 2}) {
        if (child < heap_.size() && heap_[child] < heap_[least]) least = child;
      }
      if (least == at) return;
      exchange(at, least);
      at = least;
    }
  }

  std::vector<Timer> heap_;
  std::vector<std::uint32_t> places_;
};

}  // namespace mainstay::broker
