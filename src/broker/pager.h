// What the state has no room for in memory goes to a PageStore, page by page. Containers (paged_*.h) group
// their elements in pages; a directory entry of 64 bytes stays in memory for each page, its content comes and
// goes under one budget for the whole state.
//
// Content is evicted only by trim(), which is called between commands: references into pages stay valid
// within one. Anything that touches a page may load it, and throw paging::PageLost.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "broker/containers.h"
#include "paging/page_store.h"

namespace mainstay::broker {

struct Page;

/// What is known of a page without loading it.
struct alignas(64) PageEntry {
  static constexpr std::uint64_t kNoLsn = std::numeric_limits<std::uint64_t>::max();
  static constexpr std::int64_t kNever_ms = std::numeric_limits<std::int64_t>::max();

  std::uint64_t number{};
  Page* page = nullptr;                 ///< when in memory
  std::uint64_t sum = 0;                ///< wrapping sum of its elements' hashes
  std::uint64_t min_lsn = kNoLsn;       ///< messages: none is below; exact unless min_is_stale
  std::int64_t min_expiry = kNever_ms;  ///< messages: none expires, or is due, earlier
  paging::PageRef ref;                  ///< what is stored; none while the page in memory has changed since
  std::uint32_t index{};                ///< in the pager's pool
  std::uint8_t live = 0, dead = 0;      ///< elements; of these in the dead-letter queue
  std::uint8_t hidden_active = 0, hidden_dead = 0;  ///< of these, and of the others, deferred or scheduled
  std::uint8_t scheduled = 0;
  bool min_is_stale = false;  ///< only while in memory
  bool listed = false;        ///< sessions: among the pages with free places
};
static_assert(sizeof(PageEntry) <= 64, "memory per page that is not in memory is a promise");

/// A container, as the pager sees it.
class PageOwner {
 public:
  virtual void forget(const Page& page) = 0;

 protected:
  ~PageOwner() = default;
};

/// A page in memory.
struct Page {
  Page() = default;
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  virtual ~Page() = default;
  virtual void encode(Buffer& to) = 0;

  PageEntry* entry = nullptr;
  PageOwner* owner = nullptr;
  std::uint32_t frame = 0;
  std::uint32_t bytes = 0;  ///< counted against the budget
  bool changed = false;     ///< since it was stored
  bool used = false;        ///< since the clock came by
  bool came_back = false;   ///< it had left memory and was wanted again
};

class Pager {
 public:
  struct Counters {
    std::uint64_t loads = 0, stores = 0;
  };

  /// @param store  outlives this; nullptr: one in memory is made when it is needed
  /// @param budget_bytes  for pages as they come. @param hot_bytes  beside it, as far as pages that had left
  /// memory were wanted again: then what is in use is more than the budget, and not just long (the idea of
  /// 2Q, Johnson and Shasha 1994).
  Pager(paging::PageStore* store, std::size_t budget_bytes, std::size_t hot_bytes = 0)
      : store_(store), budget_(budget_bytes), hot_budget_(hot_bytes) {}
  ~Pager();
  Pager(const Pager&) = delete;
  Pager& operator=(const Pager&) = delete;

  [[nodiscard]] PageEntry& new_entry(std::uint64_t number);
  /// `page` is the entry's content from now on.
  void add(std::unique_ptr<Page> page, PageEntry& entry, PageOwner& owner, std::size_t bytes, bool changed);
  /// The stored content of an entry that is not in memory; valid until the next call.
  [[nodiscard]] BytesView fetch(const PageEntry& entry);
  /// Before any change of the page's content.
  void change(Page& page) {
    page.used = true;
    if (!page.changed) start_change(page);
  }
  void grow(Page& page, std::size_t bytes) {
    page.bytes += static_cast<std::uint32_t>(bytes);
    resident_ += bytes;
    if (page.came_back) hot_ += bytes;
  }
  void shrink(Page& page, std::size_t bytes) {
    page.bytes -= static_cast<std::uint32_t>(bytes);
    resident_ -= bytes;
    if (page.came_back) hot_ -= bytes;
  }
  /// The page has no content any more, in memory or stored.
  void clear(PageEntry& entry);
  void remove(PageEntry& entry);

  /// Safe point: nothing refers into pages. Evicts what is over the budget.
  void trim() {
    if (resident_ > budget_now() + stuck_) evict_over_budget();
  }
  /// Stores every changed page. False when the disk is full.
  [[nodiscard]] bool store_all();
  /// Stores up to about `bytes_max` of changed pages that are not in use, so that store_all() has less to do.
  std::size_t store_ahead(std::size_t bytes_max);
  /// Stores a page anew elsewhere when its place wants it. @return whether it did.
  bool move_if_wanted(PageEntry& entry);

  [[nodiscard]] paging::PageStore& store();
  [[nodiscard]] std::size_t resident_bytes() const { return resident_; }
  [[nodiscard]] std::size_t resident_pages() const { return frames_.size(); }
  [[nodiscard]] std::size_t entries() const { return entries_.live(); }
  [[nodiscard]] std::size_t directory_bytes() const {
    return entries_.bytes() + frames_.capacity() * sizeof(Page*);
  }
  [[nodiscard]] std::uint64_t disk_bytes() const { return store_ == nullptr ? 0 : store_->disk_bytes(); }
  /// The most that pages take between commands.
  [[nodiscard]] std::size_t budget_bytes() const { return budget_ + hot_budget_; }
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  void start_change(Page& page);
  [[nodiscard]] std::size_t budget_now() const { return budget_ + std::min(hot_, hot_budget_); }
  void evict_over_budget();
  void leave_memory(Page& page);
  [[nodiscard]] bool store(Page& page);

  paging::PageStore* store_;
  std::unique_ptr<paging::PageStore> own_store_;
  Pool<PageEntry> entries_;
  std::vector<Page*> frames_;           ///< owned
  std::size_t hand_ = 0;                ///< of the clock
  std::size_t resident_ = 0, hot_ = 0;  ///< bytes; of these, of pages that came back
  std::size_t budget_, hot_budget_;
  std::size_t stuck_ = 0;  ///< over the budget, because the disk is full
  Buffer scratch_;
  Counters counters_;
};

/// Entries of one container in order of page number. Numbers rise; any may go.
class PageTable {
 public:
  struct Slot {
    std::uint64_t number{};
    PageEntry* entry = nullptr;  ///< nullptr = gone
  };
  [[nodiscard]] PageEntry* find(std::uint64_t number) const {
    const std::size_t at = lower(number);
    return at < slots_.size() && slots_[at].number == number ? slots_[at].entry : nullptr;
  }
  /// First slot with this number or a higher one; it may be of a page that is gone.
  [[nodiscard]] std::size_t lower(std::uint64_t number) const;
  [[nodiscard]] std::size_t begin() const { return first_; }
  [[nodiscard]] std::size_t end() const { return slots_.size(); }
  [[nodiscard]] const Slot& operator[](std::size_t at) const { return slots_[at]; }
  [[nodiscard]] std::size_t size() const { return slots_.size() - first_ - gone_; }
  [[nodiscard]] PageEntry* front() const { return first_ == slots_.size() ? nullptr : slots_[first_].entry; }
  [[nodiscard]] PageEntry* back() const { return slots_.empty() ? nullptr : slots_.back().entry; }
  /// @param entry  its number is above all others
  void append(PageEntry& entry);
  void erase(std::uint64_t number);
  [[nodiscard]] std::size_t bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  // Neither the first nor the last slot is of a page that is gone.
  std::vector<Slot> slots_;
  std::size_t first_ = 0, gone_ = 0;
};

}  // namespace mainstay::broker
