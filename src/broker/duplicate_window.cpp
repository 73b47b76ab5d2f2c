#include "broker/duplicate_window.h"

#include "broker/effects.h"
#include "broker/page_codec.h"

namespace mainstay::broker {

namespace {

constexpr std::uint8_t kFormat = 2;
constexpr std::size_t kPageOverhead = sizeof(WindowPage) + 32;

}  // namespace

void WindowPage::encode(Buffer& to) {
  Packer out(to);
  out.room(8);
  out.u8(kFormat);
  out.varint(count);
  std::uint64_t lsn = 0, sequence = 0, time = 0;
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    const WindowEntry& e = slots[slot];
    out.room(3 * kVarintBytesMax);
    out.varint(delta(lsn, e.lsn));
    out.varint(delta(sequence, e.sequence));
    out.varint(delta(time, static_cast<std::uint64_t>(e.time_ms)));
    out.sized(BytesView(texts).subspan(e.text_at, e.text_bytes));
    lsn = e.lsn;
    sequence = e.sequence;
    time = static_cast<std::uint64_t>(e.time_ms);
  }
}

bool WindowPage::decode(BytesView from) {
  Unpacker in(from);
  if (in.u8() != kFormat) return false;
  const std::uint64_t entries = in.varint();
  if (entries == 0 || entries > kSlots) return false;
  count = static_cast<std::uint32_t>(entries);
  texts.clear();
  texts.reserve(from.size());
  std::uint64_t lsn = 0, sequence = 0, time = 0;
  for (std::uint32_t slot = 0; slot < count; ++slot) {
    WindowEntry& e = slots[slot];
    e.lsn = lsn = apply_delta(lsn, in.varint());
    e.sequence = sequence = apply_delta(sequence, in.varint());
    time = apply_delta(time, in.varint());
    e.time_ms = static_cast<std::int64_t>(time);
    const BytesView text = in.sized();
    if (!in.ok() || text.empty() || text.size() > kIdBytesMax) return false;
    e.text_at = static_cast<std::uint32_t>(texts.size());
    e.text_bytes = static_cast<std::uint32_t>(text.size());
    e.id_hash = id_hash(as_text(text));
    texts.insert(texts.end(), text.begin(), text.end());
  }
  return in.finished();
}

WindowPage& DuplicateWindow::page_of(std::uint64_t number) const {
  const std::uint64_t page_number = number / kPage;
  Hot& hot = hot_[page_number % hot_.size()];
  if (hot.number == page_number) {
    hot.page->used = true;
    return *hot.page;
  }
  PageEntry* entry = table_.find(page_number);
  MS_ASSERT(entry != nullptr, "an entry of the window is in a page");
  auto* page = static_cast<WindowPage*>(entry->page);
  if (page == nullptr) {
    auto fresh = std::make_unique<WindowPage>();
    page = fresh.get();
    if (!page->decode(pager_.fetch(*entry))) {
      throw paging::PageLost("a page of a duplicate-detection window is not what was stored");
    }
    pager_.add(std::move(fresh), *entry, *const_cast<DuplicateWindow*>(this),
               kPageOverhead + page->texts.capacity(), false);
  }
  page->used = true;
  hot = {page_number, page};
  return *page;
}

void DuplicateWindow::forget(const Page& page) {
  Hot& hot = hot_[page.entry->number % hot_.size()];
  if (hot.number == page.entry->number) hot = {};
}

const WindowEntry& DuplicateWindow::at(std::uint64_t number) const {
  return page_of(number).slots[number % kPage];
}

std::string_view DuplicateWindow::id_at(std::uint64_t number) const {
  const WindowPage& page = page_of(number);
  return page.id(page.slots[number % kPage]);
}

const WindowEntry* DuplicateWindow::find(std::string_view id, std::uint64_t hash) const {
  const WindowEntry* found = nullptr;
  index_.find(hash, [&](std::uint32_t name) {
    const std::uint64_t number = number_of(name);
    const WindowPage& page = page_of(number);
    const WindowEntry& entry = page.slots[number % kPage];
    if (entry.id_hash != hash || page.id(entry) != id) return false;
    found = &entry;
    return true;
  });
  return found;
}

const WindowEntry* DuplicateWindow::find_later_of_series(std::string_view id) const {
  const auto dash = id.rfind('-');
  const std::string_view series = id.substr(0, dash);
  const std::string_view number = dash == std::string_view::npos ? "" : id.substr(dash);
  for (std::uint64_t at = first_; at != next_; ++at) {
    const std::string_view other = id_at(at);
    const auto length = std::pair(other.size(), number.size() + series.size());
    if (other.substr(0, other.rfind('-')) != series) continue;
    if (length.first > length.second || (length.first == length.second && other > id)) return &this->at(at);
  }
  return nullptr;
}

void DuplicateWindow::push(const WindowEntry& entry, std::string_view id, std::uint64_t hash_of_entry) {
  MS_ASSERT(size() < kNames, "the index names as many entries");
  if (empty()) front_time_ms_ = entry.time_ms;
  WindowPage* page = nullptr;
  if (next_ % kPage == 0) {
    auto fresh = std::make_unique<WindowPage>();
    page = fresh.get();
    page->texts.reserve(kPage * id.size());
    PageEntry& in = pager_.new_entry(next_ / kPage);
    pager_.add(std::move(fresh), in, *this, kPageOverhead + page->texts.capacity(), true);
    table_.append(in);
    hot_[in.number % hot_.size()] = {in.number, page};
  } else {
    page = &page_of(next_);
    pager_.change(*page);
  }
  WindowEntry& slot = page->slots[next_ % kPage];
  slot = entry;
  slot.text_at = static_cast<std::uint32_t>(page->texts.size());
  slot.text_bytes = static_cast<std::uint32_t>(id.size());
  const std::size_t before = page->texts.capacity();
  const BytesView text = as_bytes(id);
  page->texts.insert(page->texts.end(), text.begin(), text.end());
  if (page->texts.capacity() != before) pager_.grow(*page, page->texts.capacity() - before);
  ++page->count;
  ++page->entry->live;
  page->entry->sum += hash_of_entry;
  index_.insert(entry.id_hash, name_of(next_));
  ++next_;
}

void DuplicateWindow::pop(std::uint64_t hash_of_entry) {
  WindowPage& page = page_of(first_);
  index_.erase(page.slots[first_ % kPage].id_hash, name_of(first_));
  PageEntry& entry = *page.entry;
  // The page's content stays as it is: where the window begins is known outside.
  entry.sum -= hash_of_entry;
  --entry.live;
  ++first_;
  if (entry.live == 0) {
    table_.erase(entry.number);
    pager_.remove(entry);
    if (first_ == next_) first_ = next_ = (next_ + kPage - 1) / kPage * kPage;
  }
  if (!empty()) front_time_ms_ = front().time_ms;
}

void DuplicateWindow::begin_adopting(std::uint64_t first, std::uint64_t next) {
  first_ = first;
  next_ = next;
  index_.reserve(next - first);
}

bool DuplicateWindow::index_page(PageEntry& entry, const WindowPage& page, std::size_t slot) {
  for (std::size_t s = slot; s < page.count; ++s) index_.prefetch(page.slots[s].id_hash);
  for (std::size_t s = slot; s < page.count; ++s) {
    const WindowEntry& one = page.slots[s];
    const std::uint64_t number = entry.number * kPage + s;
    bool twice = false;
    index_.find(one.id_hash, [&](std::uint32_t name) {
      const std::uint64_t other = number_of(name);
      // Of this page or of one that was adopted before.
      twice = other / kPage == entry.number ? page.id(page.slots[other % kPage]) == page.id(one)
                                            : id_at(other) == page.id(one);
      return twice;
    });
    if (twice) return false;
    index_.insert(one.id_hash, name_of(number));
    if (number == first_) front_time_ms_ = one.time_ms;
  }
  table_.append(entry);
  return true;
}

}  // namespace mainstay::broker
