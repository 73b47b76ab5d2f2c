#include "broker/pager.h"

#include <algorithm>

namespace mainstay::broker {

Pager::~Pager() {
  for (Page* page : frames_) delete page;
}

paging::PageStore& Pager::store() {
  if (store_ == nullptr) {
    own_store_ = paging::memory_page_store();
    store_ = own_store_.get();
  }
  return *store_;
}

PageEntry& Pager::new_entry(std::uint64_t number) {
  const std::uint32_t index = entries_.allocate();
  PageEntry& entry = entries_[index];
  entry.index = index;
  entry.number = number;
  return entry;
}

void Pager::add(std::unique_ptr<Page> page, PageEntry& entry, PageOwner& owner, std::size_t bytes,
                bool changed) {
  MS_ASSERT(entry.page == nullptr, "a page is in memory once");
  entry.page = page.get();
  page->entry = &entry;
  page->owner = &owner;
  page->frame = static_cast<std::uint32_t>(frames_.size());
  page->bytes = static_cast<std::uint32_t>(bytes);
  page->changed = changed;
  page->used = true;
  page->came_back = !changed;
  resident_ += bytes;
  if (page->came_back) hot_ += bytes;
  frames_.push_back(page.get());
  static_cast<void>(page.release());
}

BytesView Pager::fetch(const PageEntry& entry) {
  MS_ASSERT(entry.ref, "a page is in memory or stored");
  store().load(entry.ref, scratch_);
  ++counters_.loads;
  return scratch_;
}

void Pager::start_change(Page& page) {
  page.changed = true;
  if (page.entry->ref) {
    store().release(page.entry->ref);
    page.entry->ref = {};
  }
}

void Pager::leave_memory(Page& page) {
  page.owner->forget(page);
  page.entry->page = nullptr;
  resident_ -= page.bytes;
  if (page.came_back) hot_ -= page.bytes;
  frames_.back()->frame = page.frame;
  frames_[page.frame] = frames_.back();
  frames_.pop_back();
  delete &page;
}

void Pager::clear(PageEntry& entry) {
  if (entry.page != nullptr) leave_memory(*entry.page);
  if (entry.ref) store().release(entry.ref);
  entry.ref = {};
  // A disk that was full may have space again, and what could not leave memory is less now.
  if (stuck_ > 0 && resident_ <= budget_now()) stuck_ = 0;
}

void Pager::remove(PageEntry& entry) {
  clear(entry);
  entries_.release(entry.index);
}

bool Pager::store(Page& page) {
  scratch_.clear();
  page.encode(scratch_);
  const auto ref = store().store(scratch_);
  if (!ref) return false;
  ++counters_.stores;
  page.entry->ref = *ref;
  page.changed = false;
  return true;
}

void Pager::evict_over_budget() {
  bool full = false;
  // Twice around: the first time may only find that everything has been used.
  for (std::size_t looks = 2 * frames_.size() + 2; looks > 0 && resident_ > budget_now(); --looks) {
    if (hand_ >= frames_.size()) hand_ = 0;
    Page& page = *frames_[hand_];
    if (page.used) {
      page.used = false;
      ++hand_;
    } else if (page.changed && (full || !store(page))) {
      full = true;
      ++hand_;
    } else {
      leave_memory(page);
    }
  }
  // What cannot go stays in memory, and is not looked at again for every command.
  stuck_ = resident_ > budget_now() ? resident_ - budget_now() + resident_ / 32 : 0;
}

bool Pager::store_all() {
  for (Page* page : frames_) {
    if (page->changed && !store(*page)) return false;
  }
  return true;
}

std::size_t Pager::store_ahead(std::size_t bytes_max) {
  std::size_t done = 0;
  for (std::size_t i = 0; i < frames_.size() && done < bytes_max; ++i) {
    Page& page = *frames_[(hand_ + i) % frames_.size()];
    if (!page.changed) continue;
    if (page.used) {
      page.used = false;
      continue;
    }
    if (!store(page)) break;
    done += page.entry->ref.bytes;
  }
  return done;
}

bool Pager::move_if_wanted(PageEntry& entry) {
  if (!entry.ref || !store().wants_moving(entry.ref)) return false;
  store().load(entry.ref, scratch_);
  const auto ref = store().store(scratch_);
  if (!ref) return false;
  ++counters_.stores;
  store().release(entry.ref);
  entry.ref = *ref;
  return true;
}

std::size_t PageTable::lower(std::uint64_t number) const {
  if (first_ == slots_.size() || number <= slots_[first_].number) return first_;
  // Without holes the place follows from the number; with holes it is before that.
  const std::uint64_t distance = number - slots_[first_].number;
  const std::size_t guess =
      first_ + static_cast<std::size_t>(std::min<std::uint64_t>(distance, slots_.size() - first_));
  if (guess < slots_.size() && slots_[guess].number == number) return guess;
  const auto found = std::lower_bound(slots_.begin() + static_cast<std::ptrdiff_t>(first_),
                                      slots_.begin() + static_cast<std::ptrdiff_t>(guess), number,
                                      [](const Slot& slot, std::uint64_t n) { return slot.number < n; });
  return static_cast<std::size_t>(found - slots_.begin());
}

void PageTable::append(PageEntry& entry) {
  MS_ASSERT(slots_.empty() || slots_.back().number < entry.number, "page numbers only rise");
  slots_.push_back({entry.number, &entry});
}

void PageTable::erase(std::uint64_t number) {
  const std::size_t at = lower(number);
  MS_ASSERT(at < slots_.size() && slots_[at].number == number && slots_[at].entry != nullptr,
            "only a page that is there goes");
  slots_[at].entry = nullptr;
  ++gone_;
  while (first_ < slots_.size() && slots_[first_].entry == nullptr) {
    ++first_;
    --gone_;
  }
  while (slots_.size() > first_ && slots_.back().entry == nullptr) {
    slots_.pop_back();
    --gone_;
  }
  if (first_ == slots_.size()) {
    slots_.clear();
    first_ = 0;
    if (slots_.capacity() > 64) slots_.shrink_to_fit();
  } else if (first_ + gone_ > (slots_.size() - first_) / 4 + 64) {
    std::erase_if(slots_, [](const Slot& slot) { return slot.entry == nullptr; });
    first_ = gone_ = 0;
    if (slots_.capacity() > 4 * slots_.size() + 64) slots_.shrink_to_fit();
  }
}

}  // namespace mainstay::broker
