// The broker's containers: no allocation per message, and nothing about them depends on addresses or on the
// order in which a hash table happens to hold its entries.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "broker/hash_index.h"

namespace mainstay::broker {

/// Elements at stable places named by a small number. Places are reused, last freed first.
template <class T>
class Pool {
 public:
  std::uint32_t allocate() {
    if (!free_.empty()) {
      const std::uint32_t index = free_.back();
      free_.pop_back();
      (*this)[index] = T{};
      return index;
    }
    if (end_ % kPage == 0) pages_.push_back(std::make_unique<std::array<T, kPage>>());
    MS_ASSERT(end_ < kNone, "a pool is named by 32 bits");
    return end_++;
  }
  void release(std::uint32_t index) { free_.push_back(index); }
  T& operator[](std::uint32_t index) { return (*pages_[index / kPage])[index % kPage]; }
  const T& operator[](std::uint32_t index) const { return (*pages_[index / kPage])[index % kPage]; }
  /// One past the highest place ever used.
  [[nodiscard]] std::uint32_t end() const { return end_; }
  [[nodiscard]] std::size_t live() const { return end_ - free_.size(); }
  [[nodiscard]] std::size_t bytes() const {
    return pages_.size() * sizeof(std::array<T, kPage>) + free_.capacity() * sizeof(std::uint32_t);
  }

 private:
  static constexpr std::uint32_t kPage = 512;
  std::vector<std::unique_ptr<std::array<T, kPage>>> pages_;
  std::vector<std::uint32_t> free_;
  std::uint32_t end_ = 0;
};

/// First in, first out, in one growing block.
template <class T>
class Fifo {
 public:
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  T& front() { return slots_[first_]; }
  [[nodiscard]] const T& operator[](std::size_t i) const {
    return slots_[(first_ + i) & (slots_.size() - 1)];
  }
  void push(T value) {
    if (size_ == slots_.size()) {
      std::vector<T> larger(slots_.empty() ? 16 : slots_.size() * 2);
      for (std::size_t i = 0; i < size_; ++i)
        larger[i] = std::move(slots_[(first_ + i) & (slots_.size() - 1)]);
      slots_.swap(larger);
      first_ = 0;
    }
    slots_[(first_ + size_++) & (slots_.size() - 1)] = std::move(value);
  }
  void pop() {
    first_ = (first_ + 1) & (slots_.size() - 1);
    --size_;
  }
  /// Removes all equal elements, keeping the order of the others. O(size).
  void erase(const T& value) {
    for (std::size_t n = size_; n > 0; --n) {
      T one = std::move(front());
      pop();
      if (!(one == value)) push(std::move(one));
    }
  }

 private:
  std::vector<T> slots_;
  std::size_t first_ = 0, size_ = 0;
};

}  // namespace mainstay::broker
