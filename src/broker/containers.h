// The broker's containers: no allocation per message, and nothing about them depends on addresses or on the
// order in which a hash table happens to hold its entries.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/bytes.h"
#include "base/checksum.h"

namespace mainstay::broker {

inline constexpr std::uint32_t kNone = 0xffffffffU;

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

 private:
  static constexpr std::uint32_t kPage = 512;
  std::vector<std::unique_ptr<std::array<T, kPage>>> pages_;
  std::vector<std::uint32_t> free_;
  std::uint32_t end_ = 0;
};

/// Finds 32-bit names by 64-bit hash. Open addressing, linear probing, deletion by shifting back: no
/// tombstones, so it never decays. Several names may have the same hash.
class HashIndex {
 public:
  template <class Matches>
  [[nodiscard]] std::uint32_t find(std::uint64_t hash, const Matches& matches) const {
    if (used_ == 0) return kNone;
    const std::uint32_t fragment = fold(hash);
    for (std::size_t at = fragment & mask();; at = (at + 1) & mask()) {
      const Slot& slot = slots_[at];
      if (slot.name == kNone) return kNone;
      if (slot.fragment == fragment && matches(slot.name)) return slot.name;
    }
  }
  void insert(std::uint64_t hash, std::uint32_t name) {
    if ((used_ + 1) * 4 > slots_.size() * 3) grow();
    place(Slot{fold(hash), name});
    ++used_;
  }
  void erase(std::uint64_t hash, std::uint32_t name) {
    MS_ASSERT(used_ > 0, "only what was inserted is erased");
    std::size_t hole = fold(hash) & mask();
    while (slots_[hole].name != name) {
      MS_ASSERT(slots_[hole].name != kNone, "only what was inserted is erased");
      hole = (hole + 1) & mask();
    }
    for (std::size_t at = (hole + 1) & mask(); slots_[at].name != kNone; at = (at + 1) & mask()) {
      const std::size_t home = slots_[at].fragment & mask();
      if (((at - home) & mask()) >= ((at - hole) & mask())) {
        slots_[hole] = slots_[at];
        hole = at;
      }
    }
    slots_[hole].name = kNone;
    --used_;
  }
  [[nodiscard]] std::size_t size() const { return used_; }

 private:
  struct Slot {
    std::uint32_t fragment = 0;
    std::uint32_t name = kNone;
  };
  static std::uint32_t fold(std::uint64_t hash) { return static_cast<std::uint32_t>(hash ^ (hash >> 32)); }
  [[nodiscard]] std::size_t mask() const { return slots_.size() - 1; }
  void place(Slot slot) {
    std::size_t at = slot.fragment & mask();
    while (slots_[at].name != kNone) at = (at + 1) & mask();
    slots_[at] = slot;
  }
  void grow() {
    std::vector<Slot> old(slots_.empty() ? 16 : slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.name != kNone) place(slot);
    }
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

/// Short texts (message ids, session ids) by 32-bit handle. Handle 0 is the empty text.
class TextArena {
 public:
  std::uint32_t add(std::string_view text) {
    if (text.empty()) return 0;
    MS_ASSERT(text.size() <= kTextMax, "ids are bounded before they get here");
    const std::size_t units = units_for(text.size());
    std::uint32_t handle = free_[units];
    if (handle != 0) {
      free_[units] = load_le<std::uint32_t>(at(handle));
    } else {
      if (pages_.empty() || used_units_ + units > kPageUnits) {
        pages_.push_back(std::make_unique<std::array<std::byte, kPageUnits * kUnit>>());
        used_units_ = pages_.size() == 1 ? 1 : 0;
      }
      handle = static_cast<std::uint32_t>((pages_.size() - 1) * kPageUnits + used_units_);
      used_units_ += units;
    }
    std::byte* block = at(handle);
    store_le(block, static_cast<std::uint16_t>(text.size()));
    std::memcpy(block + 2, text.data(), text.size());
    return handle;
  }
  void remove(std::uint32_t handle) {
    if (handle == 0) return;
    std::byte* block = at(handle);
    const std::size_t units = units_for(load_le<std::uint16_t>(block));
    store_le(block, free_[units]);
    free_[units] = handle;
  }
  [[nodiscard]] std::string_view get(std::uint32_t handle) const {
    if (handle == 0) return {};
    const std::byte* block = const_cast<TextArena*>(this)->at(handle);
    return {reinterpret_cast<const char*>(block + 2), load_le<std::uint16_t>(block)};
  }
  static constexpr std::size_t kTextMax = 1024;

 private:
  static constexpr std::size_t kUnit = 8, kPageUnits = 8192;
  static std::size_t units_for(std::size_t bytes) { return (bytes + 2 + kUnit - 1) / kUnit; }
  std::byte* at(std::uint32_t handle) {
    return pages_[handle / kPageUnits]->data() + std::size_t{handle % kPageUnits} * kUnit;
  }
  std::vector<std::unique_ptr<std::array<std::byte, kPageUnits * kUnit>>> pages_;
  std::size_t used_units_ = 0;
  std::array<std::uint32_t, (kTextMax + 2) / kUnit + 2> free_{};
};

/// Elements by sequence number, added in rising order, removed in any. Pages of 64 that are dropped when
/// empty: a few old messages that stay do not hold the memory of all that came after them.
template <class T>
class SequenceRing {
 public:
  SequenceRing() = default;
  SequenceRing(SequenceRing&&) noexcept = default;
  SequenceRing& operator=(SequenceRing&&) noexcept = default;

  [[nodiscard]] T* find(std::uint64_t sequence) {
    Page* page = page_of(sequence / kPage);
    return page != nullptr && page->has(sequence) ? &page->slots[sequence % kPage] : nullptr;
  }
  [[nodiscard]] const T* find(std::uint64_t sequence) const {
    return const_cast<SequenceRing*>(this)->find(sequence);
  }
  /// @param sequence  above all that were ever added.
  T& add(std::uint64_t sequence) {
    const std::uint64_t number = sequence / kPage;
    if (tail_ == kNone || pages_[tail_]->number != number) {
      const std::uint32_t fresh = pages_.allocate();
      if (pages_[fresh] == nullptr) pages_[fresh] = std::make_unique<Page>();
      Page& page = *pages_[fresh];
      page.number = number;
      page.live = 0;
      page.previous = tail_;
      page.next = kNone;
      if (tail_ != kNone) {
        MS_ASSERT(pages_[tail_]->number < number, "sequence numbers only rise");
        pages_[tail_]->next = fresh;
      } else {
        head_ = fresh;
      }
      tail_ = fresh;
      index_.insert(mix64(number, 0), fresh);
    }
    Page& page = *pages_[tail_];
    MS_ASSERT((page.live >> (sequence % kPage)) == 0, "sequence numbers only rise");
    page.live |= std::uint64_t{1} << (sequence % kPage);
    ++size_;
    T& slot = page.slots[sequence % kPage];
    slot = T{};
    return slot;
  }
  void remove(std::uint64_t sequence) {
    Page* page = page_of(sequence / kPage);
    MS_ASSERT(page != nullptr && page->has(sequence), "only what is there is removed");
    page->live &= ~(std::uint64_t{1} << (sequence % kPage));
    --size_;
    if (page->live == 0) drop(sequence / kPage);
  }
  /// Smallest sequence number ≥ `from` that is there; 0 when none. Constant time when `from`'s page is there.
  [[nodiscard]] std::uint64_t next(std::uint64_t from) const {
    const std::uint64_t number = from / kPage;
    std::uint32_t at = kNone;
    if (tail_ == kNone || number > pages_[tail_]->number) return 0;
    const Page* page = const_cast<SequenceRing*>(this)->page_of(number);
    if (page != nullptr) {
      const std::uint64_t rest = page->live >> (from % kPage);
      if (rest != 0) return from + static_cast<unsigned>(std::countr_zero(rest));
      at = page->next;
    } else {
      for (at = head_; pages_[at]->number < number;) at = pages_[at]->next;
    }
    if (at == kNone) return 0;
    return pages_[at]->number * kPage + static_cast<unsigned>(std::countr_zero(pages_[at]->live));
  }
  [[nodiscard]] std::uint64_t first() const {
    return head_ == kNone ? 0 : next(pages_[head_]->number * kPage);
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::size_t pages() const { return index_.size(); }

 private:
  static constexpr std::uint64_t kPage = 64;
  struct Page {
    std::uint64_t number{};
    std::uint64_t live{};  ///< one bit per slot
    std::uint32_t previous = kNone, next = kNone;
    std::array<T, kPage> slots;
    [[nodiscard]] bool has(std::uint64_t sequence) const { return ((live >> (sequence % kPage)) & 1) != 0; }
  };
  // Pages are heap blocks kept for reuse up to a few: a queue that empties gives its memory back.
  struct PageStore {
    std::vector<std::unique_ptr<Page>> slots;
    std::vector<std::uint32_t> free;
    std::uint32_t kept = 0;
    std::uint32_t allocate() {
      if (free.empty()) {
        slots.emplace_back();
        return static_cast<std::uint32_t>(slots.size() - 1);
      }
      const std::uint32_t index = free.back();
      free.pop_back();
      if (slots[index] != nullptr) --kept;
      return index;
    }
    void release(std::uint32_t index) {
      if (kept < 64)
        ++kept;
      else
        slots[index].reset();
      free.push_back(index);
    }
    std::unique_ptr<Page>& operator[](std::uint32_t index) { return slots[index]; }
    const std::unique_ptr<Page>& operator[](std::uint32_t index) const { return slots[index]; }
  };

  Page* page_of(std::uint64_t number) {
    if (tail_ == kNone) return nullptr;
    if (pages_[tail_]->number == number) return pages_[tail_].get();
    if (pages_[head_]->number == number) return pages_[head_].get();
    if (recent_ != kNone && pages_[recent_]->number == number) return pages_[recent_].get();
    const std::uint32_t at =
        index_.find(mix64(number, 0), [&](std::uint32_t page) { return pages_[page]->number == number; });
    if (at == kNone) return nullptr;
    recent_ = at;
    return pages_[at].get();
  }
  void drop(std::uint64_t number) {
    const std::uint32_t at =
        index_.find(mix64(number, 0), [&](std::uint32_t page) { return pages_[page]->number == number; });
    Page& page = *pages_[at];
    (page.previous == kNone ? head_ : pages_[page.previous]->next) = page.next;
    (page.next == kNone ? tail_ : pages_[page.next]->previous) = page.previous;
    if (recent_ == at) recent_ = kNone;
    index_.erase(mix64(number, 0), at);
    pages_.release(at);
  }

  PageStore pages_;
  HashIndex index_;
  std::uint32_t head_ = kNone, tail_ = kNone;
  std::uint32_t recent_ = kNone;
  std::uint64_t size_ = 0;
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
