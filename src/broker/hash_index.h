// Finds 32-bit names by 64-bit hash. Open addressing, linear probing, 8 bytes a slot; deletion shifts back,
// so it never decays. It never stalls either: when it grows, each insertion moves a few slots. Several names
// may have the same hash.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "base/assert.h"

namespace mainstay::broker {

inline constexpr std::uint32_t kNone = 0xffffffffU;

/// Of message ids and session ids. In checkpoints and in the state hash: never to change.
[[nodiscard]] std::uint64_t id_hash(std::string_view id);

class HashIndex {
 public:
  /// A name of this hash (of its folding to 32 bits, rather) that `matches`; kNone when there is none.
  template <class Matches>
  std::uint32_t find(std::uint64_t hash, const Matches& matches) const {
    if (used_ == 0) return kNone;
    const std::uint32_t fragment = fold(hash);
    const std::uint32_t name = find_in(table_, fragment, matches);
    return name != kNone || old_.size == 0 ? name : find_in(old_, fragment, matches);
  }
  /// @param name  below kNone − 1
  void insert(std::uint64_t hash, std::uint32_t name) {
    MS_ASSERT(name < kGone - 1, "the highest names mean something else");
    if (old_.size != 0) move_some();
    if ((used_ + 1) * 4 > table_.size * 3) grow();
    put(Slot{fold(hash), name + 1});
    ++used_;
  }
  void erase(std::uint64_t hash, std::uint32_t name) {
    MS_ASSERT(used_ > 0, "only what was inserted is erased");
    const std::uint32_t fragment = fold(hash);
    if (const std::size_t at = place_of(table_, fragment, name); at != table_.size) {
      close_gap(at);
    } else {
      const std::size_t in_old = place_of(old_, fragment, name);
      MS_ASSERT(in_old != old_.size, "only what was inserted is erased");
      old_.slots[in_old].name = kGone;
    }
    if (--used_ == 0) {
      old_ = {};
      if (table_.size > 64) table_ = {};
    }
  }
  /// Room for this many, at once. Before the first insert().
  void reserve(std::uint64_t names) {
    if (names != 0) table_ = Table(std::bit_ceil(std::max<std::uint64_t>(names + names / 3 + 1, 16)));
  }
  void prefetch(std::uint64_t hash) const {
    if (table_.size != 0) __builtin_prefetch(&table_.slots[fold(hash) & (table_.size - 1)]);
  }
  [[nodiscard]] std::size_t size() const { return used_; }
  [[nodiscard]] std::size_t bytes() const { return (table_.size + old_.size) * sizeof(Slot); }

 private:
  struct Slot {
    std::uint32_t fragment = 0;
    std::uint32_t name = 0;  ///< one more than the name; 0 = free, kGone = was in a table that is being left
  };
  static constexpr std::uint32_t kGone = kNone;
  struct Free {
    void operator()(Slot* slots) const { std::free(slots); }
  };
  struct Table {
    Table() = default;
    // The system's zeros: a large table costs nothing before it is used.
    explicit Table(std::size_t n) : slots(static_cast<Slot*>(std::calloc(n, sizeof(Slot)))), size(n) {
      MS_ASSERT(slots != nullptr, "memory for an index");
    }
    Table(Table&& other) noexcept : slots(std::move(other.slots)), size(std::exchange(other.size, 0)) {}
    Table& operator=(Table&& other) noexcept {
      slots = std::move(other.slots);
      size = std::exchange(other.size, 0);
      return *this;
    }
    std::unique_ptr<Slot[], Free> slots;
    std::size_t size = 0;
  };
  static std::uint32_t fold(std::uint64_t hash) { return static_cast<std::uint32_t>(hash ^ (hash >> 32)); }

  template <class Matches>
  static std::uint32_t find_in(const Table& table, std::uint32_t fragment, const Matches& matches) {
    const std::size_t mask = table.size - 1;
    for (std::size_t at = fragment & mask;; at = (at + 1) & mask) {
      const Slot& slot = table.slots[at];
      if (slot.name == 0) return kNone;
      if (slot.fragment == fragment && slot.name != kGone && matches(slot.name - 1)) return slot.name - 1;
    }
  }
  static std::size_t place_of(const Table& table, std::uint32_t fragment, std::uint32_t name) {
    if (table.size == 0) return 0;
    const std::size_t mask = table.size - 1;
    for (std::size_t at = fragment & mask; table.slots[at].name != 0; at = (at + 1) & mask) {
      if (table.slots[at].name == name + 1) return at;
    }
    return table.size;
  }
  void put(Slot slot) {
    const std::size_t mask = table_.size - 1;
    std::size_t at = slot.fragment & mask;
    while (table_.slots[at].name != 0) at = (at + 1) & mask;
    table_.slots[at] = slot;
  }
  void close_gap(std::size_t hole) {
    const std::size_t mask = table_.size - 1;
    for (std::size_t at = (hole + 1) & mask; table_.slots[at].name != 0; at = (at + 1) & mask) {
      const std::size_t home = table_.slots[at].fragment & mask;
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        table_.slots[hole] = table_.slots[at];
        hole = at;
      }
    }
    table_.slots[hole].name = 0;
  }
  void grow() {
    // The table before has long been left: it moves faster than this one fills.
    MS_ASSERT(old_.size == 0, "one table at a time is left");
    const std::size_t size = table_.size == 0 ? 16 : table_.size * 2;
    old_ = std::move(table_);
    table_ = Table(size);
    moved_ = 0;
    if (size <= 1024) {
      while (old_.size != 0) move_some();
    }
  }
  void move_some() {
    constexpr std::size_t kStep = 16;
    const std::size_t end = std::min(moved_ + kStep, old_.size);
    for (; moved_ < end; ++moved_) {
      Slot& slot = old_.slots[moved_];
      if (slot.name == 0 || slot.name == kGone) continue;
      put(slot);
      slot.name = kGone;  // what lies behind it is still found
    }
    if (moved_ == old_.size) old_ = {};
  }

  Table table_, old_;
  std::size_t moved_ = 0;  ///< slots of old_ that have been looked at
  std::size_t used_ = 0;   ///< in both
};

}  // namespace mainstay::broker
