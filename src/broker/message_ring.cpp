#include "broker/message_ring.h"

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "broker/effects.h"
#include "broker/page_codec.h"

namespace mainstay::broker {

namespace {

// docs/formats/effects.md lists the page byte by byte.
constexpr std::uint8_t kFormat = 1, kFormatWithStates = 4;
constexpr std::uint8_t kHasId = 1, kHasSession = 2, kExpires = 4, kAnnotated = 8, kMoved = 16, kCounted = 32,
                       kHasPrevious = 64, kHasNext = 128;
constexpr std::size_t kMessageBytesMax = 90;  // without annotations

constexpr std::size_t kPageOverhead = sizeof(MessagePage) + 32;  // the allocator's and the frame

}  // namespace

void MessagePage::encode(Buffer& to) {
  std::uint64_t scheduled = 0, renumbered = 0;
  for (std::uint64_t rest = live; rest != 0; rest &= rest - 1) {
    const auto slot = static_cast<unsigned>(std::countr_zero(rest));
    if (slots[slot].state == MessageState::scheduled) scheduled |= std::uint64_t{1} << slot;
    if (slots[slot].renumbered_by != 0) renumbered |= std::uint64_t{1} << slot;
  }
  const bool with_states = (hidden | renumbered) != 0;
  Packer out(to);
  out.room(64 + kSlots * kMessageBytesMax);
  out.u8(with_states ? kFormatWithStates : kFormat);
  out.u64(live);
  out.u64(in_dead);
  if (with_states) {
    out.u64(hidden);
    out.u64(scheduled);
    out.u64(renumbered);
  }
  std::uint64_t lsn = 0, enqueued = 0;
  std::uint64_t min_lsn = PageEntry::kNoLsn;
  std::int64_t min_expiry = PageEntry::kNever_ms;
  for (std::uint64_t rest = live; rest != 0; rest &= rest - 1) {
    const auto slot = static_cast<unsigned>(std::countr_zero(rest));
    const Message& m = slots[slot];
    const std::uint64_t sequence = entry->number * kSlots + slot;
    out.room(kMessageBytesMax);
    out.u8(static_cast<std::uint8_t>(
        (m.id_hash != 0 ? kHasId : 0U) | (m.session != kNone ? kHasSession : 0U) |
        (m.expires_ms != 0 ? kExpires : 0U) | (m.annotated ? kAnnotated : 0U) | (m.moved ? kMoved : 0U) |
        (m.delivery_count != 0 ? kCounted : 0U) | (m.session_previous != 0 ? kHasPrevious : 0U) |
        (m.session_next != 0 ? kHasNext : 0U)));
    out.varint(delta(lsn, m.lsn));
    out.varint(delta(enqueued, static_cast<std::uint64_t>(m.enqueued_ms)));
    out.varint(m.payload_bytes);
    if (m.id_hash != 0) out.u64(m.id_hash);
    if (m.session != kNone) out.varint(m.session);
    if (m.expires_ms != 0) {
      out.varint(delta(static_cast<std::uint64_t>(m.enqueued_ms), static_cast<std::uint64_t>(m.expires_ms)));
    }
    min_expiry = std::min(min_expiry, m.due_ms());
    if (m.renumbered_by != 0) out.varint(m.renumbered_by);
    if (m.delivery_count != 0) out.varint(m.delivery_count);
    if (m.session_previous != 0) out.varint(sequence - m.session_previous);
    if (m.session_next != 0) out.varint(m.session_next - sequence);
    if (m.annotated) {
      const Annotation& a = *annotation(slot);
      out.sized(as_bytes(a.reason));
      out.sized(as_bytes(a.description));
      out.sized(a.properties);
    }
    lsn = m.lsn;
    enqueued = static_cast<std::uint64_t>(m.enqueued_ms);
    min_lsn = std::min(min_lsn, m.lsn);
  }
  entry->min_lsn = min_lsn;
  entry->min_expiry = min_expiry;
  entry->min_is_stale = false;
}

bool MessagePage::decode(BytesView from, std::uint64_t number) {
  Unpacker in(from);
  const std::uint8_t format = in.u8();
  if (format != kFormat && format != kFormatWithStates) return false;
  annotations.clear();
  live = in.u64();
  in_dead = in.u64();
  if (live == 0 || (in_dead & ~live) != 0) return false;
  hidden = 0;
  std::uint64_t scheduled = 0, renumbered = 0;
  if (format == kFormatWithStates) {
    hidden = in.u64();
    scheduled = in.u64();
    renumbered = in.u64();
    if (((hidden | renumbered) & ~live) != 0 || (scheduled & ~(hidden & ~in_dead)) != 0 ||
        (scheduled & renumbered) != 0) {
      return false;
    }
  }
  std::uint64_t lsn = 0, enqueued = 0;
  for (std::uint64_t rest = live; rest != 0; rest &= rest - 1) {
    const auto slot = static_cast<unsigned>(std::countr_zero(rest));
    Message& m = slots[slot];
    m = Message{};
    const std::uint64_t sequence = number * kSlots + slot;
    const std::uint8_t flags = in.u8();
    lsn = apply_delta(lsn, in.varint());
    enqueued = apply_delta(enqueued, in.varint());
    m.lsn = lsn;
    m.enqueued_ms = static_cast<std::int64_t>(enqueued);
    const std::uint64_t payload_bytes = in.varint();
    if (payload_bytes > journal::kBodyBytesMax) return false;
    m.payload_bytes = static_cast<std::uint32_t>(payload_bytes);
    m.place = ((in_dead >> slot) & 1) != 0 ? SubQueue::dead_letter : SubQueue::active;
    if (((hidden >> slot) & 1) != 0) {
      m.state = ((scheduled >> slot) & 1) != 0 ? MessageState::scheduled : MessageState::deferred;
    }
    if ((flags & kHasId) != 0) {
      m.id_hash = in.u64();
      if (m.id_hash == 0) return false;
    }
    if ((flags & kHasSession) != 0) {
      const std::uint64_t session = in.varint();
      if (session >= kNone) return false;
      m.session = static_cast<std::uint32_t>(session);
    }
    if ((flags & kExpires) != 0) {
      m.expires_ms = static_cast<std::int64_t>(apply_delta(enqueued, in.varint()));
      if (m.expires_ms <= 0 || m.expires_ms > kTimeMax_ms) return false;
    }
    if (((renumbered >> slot) & 1) != 0) {
      const std::uint64_t back = in.varint();
      if (back == 0 || back >= sequence || back > Message::kRenumberedByMax) return false;
      m.renumbered_by = back & Message::kRenumberedByMax;
    }
    if ((flags & kCounted) != 0) {
      const std::uint64_t count = in.varint();
      if (count == 0 || count > 0xffff) return false;
      m.delivery_count = static_cast<std::uint16_t>(count);
    }
    if ((flags & kHasPrevious) != 0) {
      const std::uint64_t back = in.varint();
      if (back == 0 || back >= sequence) return false;
      m.session_previous = sequence - back;
    }
    if ((flags & kHasNext) != 0) {
      const std::uint64_t on = in.varint();
      if (on == 0 || on > ~std::uint64_t{0} - sequence) return false;
      m.session_next = sequence + on;
    }
    m.moved = (flags & kMoved) != 0;
    if ((flags & kAnnotated) != 0) {
      m.annotated = true;
      Annotation a;
      a.reason = as_text(in.sized());
      a.description = as_text(in.sized());
      a.properties = to_buffer(in.sized());
      annotations.emplace_back(static_cast<std::uint8_t>(slot), std::move(a));
    }
    if (!in.ok()) return false;
  }
  return in.finished();
}

const Annotation* MessagePage::annotation(std::size_t slot) const {
  for (const auto& [at, a] : annotations) {
    if (at == slot) return &a;
  }
  return nullptr;
}

std::size_t MessagePage::annotation_bytes() const {
  std::size_t total = 0;
  for (const auto& [at, a] : annotations) total += a.bytes();
  return total;
}

MessagePage* MessageRing::find_page(std::uint64_t number) const {
  PageEntry* entry = table_.find(number);
  return entry == nullptr ? nullptr : &load(*entry);
}

MessagePage& MessageRing::load(PageEntry& entry) const {
  MessagePage* page = static_cast<MessagePage*>(entry.page);
  if (page == nullptr) {
    auto fresh = std::make_unique<MessagePage>();
    if (!fresh->decode(pager_.fetch(entry), entry.number)) {
      throw paging::PageLost("a page of messages from " + std::to_string(entry.number * kPage) +
                             " on is not what was stored");
    }
    page = fresh.get();
    pager_.add(std::move(fresh), entry, *const_cast<MessageRing*>(this),
               kPageOverhead + page->annotation_bytes(), false);
  }
  page->used = true;
  hot_[entry.number % kHot] = {entry.number, page};
  return *page;
}

void MessageRing::forget(const Page& page) {
  Hot& hot = hot_[page.entry->number % kHot];
  if (hot.number == page.entry->number) hot = {};
}

Message& MessageRing::add(std::uint64_t sequence, std::uint64_t lsn, std::int64_t expires_ms) {
  const std::uint64_t number = sequence / kPage;
  MessagePage* page = page_of(number);
  if (page == nullptr) {
    auto fresh = std::make_unique<MessagePage>();
    page = fresh.get();
    PageEntry& entry = pager_.new_entry(number);
    pager_.add(std::move(fresh), entry, *this, kPageOverhead, true);
    table_.append(entry);
    add_bound({lsn, number});
    hot_[number % kHot] = {number, page};
  } else {
    pager_.change(*page);
  }
  MS_ASSERT((page->live >> (sequence % kPage)) == 0, "sequence numbers only rise");
  page->live |= std::uint64_t{1} << (sequence % kPage);
  PageEntry& entry = *page->entry;
  ++entry.live;
  // What was scheduled comes with the record it was scheduled by, older than its neighbours.
  if (lsn < entry.min_lsn && entry.min_lsn != PageEntry::kNoLsn) add_bound({lsn, number});
  entry.min_lsn = std::min(entry.min_lsn, lsn);
  if (expires_ms != 0) entry.min_expiry = std::min(entry.min_expiry, expires_ms);
  ++size_;
  Message& message = page->slots[sequence % kPage];  // never used before: as it was made
  message.lsn = lsn;
  message.expires_ms = expires_ms;
  return message;
}

void MessageRing::remove(std::uint64_t sequence, std::uint64_t hash) {
  MessagePage* page = page_of(sequence / kPage);
  MS_ASSERT(page != nullptr && has(*page, sequence), "only what is there is removed");
  PageEntry& entry = *page->entry;
  --size_;
  if (entry.live == 1) {
    table_.erase(entry.number);
    pager_.remove(entry);
    return;
  }
  pager_.change(*page);
  const std::uint64_t bit = std::uint64_t{1} << (sequence % kPage);
  Message& message = page->slots[sequence % kPage];
  page->live &= ~bit;
  --entry.live;
  if ((page->hidden & bit) != 0) show(*page, message);
  if ((page->in_dead & bit) != 0) {
    page->in_dead &= ~bit;
    --entry.dead;
  }
  entry.sum -= hash;
  if (message.lsn == entry.min_lsn) entry.min_is_stale = true;
  if (message.annotated) {
    for (auto at = page->annotations.begin(); at != page->annotations.end(); ++at) {
      if (at->first != sequence % kPage) continue;
      pager_.shrink(*page, at->second.bytes());
      page->annotations.erase(at);
      break;
    }
  }
}

void MessageRing::show(MessagePage& page, Message& message) {
  PageEntry& entry = *page.entry;
  page.hidden &= ~(std::uint64_t{1} << (&message - page.slots.data()));
  --(message.place == SubQueue::active ? entry.hidden_active : entry.hidden_dead);
  if (message.state == MessageState::scheduled) --entry.scheduled;
  message.state = MessageState::active;
}

void MessageRing::hide(std::uint64_t sequence, MessageState state) {
  MessagePage* page = page_of(sequence / kPage);
  MS_ASSERT(page != nullptr && has(*page, sequence), "only what is there is hidden");
  pager_.change(*page);
  Message& message = page->slots[sequence % kPage];
  MS_ASSERT(!message.hidden() && state != MessageState::active, "a message is hidden once");
  message.state = state;
  page->hidden |= std::uint64_t{1} << (sequence % kPage);
  PageEntry& entry = *page->entry;
  ++(message.place == SubQueue::active ? entry.hidden_active : entry.hidden_dead);
  if (state == MessageState::scheduled) ++entry.scheduled;
  entry.min_expiry = std::min(entry.min_expiry, message.due_ms());
}

void MessageRing::bury(std::uint64_t sequence) {
  MessagePage* page = page_of(sequence / kPage);
  MS_ASSERT(page != nullptr && has(*page, sequence), "only what is there is moved");
  pager_.change(*page);
  Message& message = page->slots[sequence % kPage];
  if (message.hidden()) show(*page, message);
  message.place = SubQueue::dead_letter;
  message.expires_ms = 0;
  page->in_dead |= std::uint64_t{1} << (sequence % kPage);
  ++page->entry->dead;
}

void MessageRing::set_lsn(std::uint64_t sequence, std::uint64_t lsn) {
  Message* message = edit(sequence);
  PageEntry& entry = *page_of(sequence / kPage)->entry;
  if (message->lsn == entry.min_lsn) entry.min_is_stale = true;
  message->lsn = lsn;
  message->moved = true;
}

const Annotation* MessageRing::annotation(std::uint64_t sequence) const {
  const MessagePage* page = page_of(sequence / kPage);
  return page == nullptr ? nullptr : page->annotation(sequence % kPage);
}

Annotation& MessageRing::annotate(std::uint64_t sequence) {
  MessagePage* page = page_of(sequence / kPage);
  MS_ASSERT(page != nullptr && has(*page, sequence), "only what is there is annotated");
  pager_.change(*page);
  const auto slot = static_cast<std::uint8_t>(sequence % kPage);
  page->slots[slot].annotated = true;
  for (auto& [at, a] : page->annotations) {
    if (at == slot) return a;
  }
  page->annotations.emplace_back(slot, Annotation{});
  pager_.grow(*page, page->annotations.back().second.bytes());
  return page->annotations.back().second;
}

void MessageRing::annotation_grew(std::uint64_t sequence, std::size_t bytes_before) {
  MessagePage* page = page_of(sequence / kPage);
  pager_.shrink(*page, bytes_before);
  pager_.grow(*page, page->annotation(sequence % kPage)->bytes());
}

template <class Has, class Bits>
std::uint64_t MessageRing::next_of(std::uint64_t from, const Has& has_some, const Bits& bits) const {
  const std::uint64_t number = from / kPage;
  for (std::size_t at = table_.lower(number); at < table_.end(); ++at) {
    PageEntry* entry = table_[at].entry;
    if (entry == nullptr || !has_some(*entry)) continue;
    std::uint64_t found = bits(load(*entry));
    if (entry->number == number) found &= ~std::uint64_t{0} << (from % kPage);
    if (found != 0) return entry->number * kPage + static_cast<unsigned>(std::countr_zero(found));
  }
  return 0;
}

std::uint64_t MessageRing::next(std::uint64_t from) const {
  return next_of(
      from, [](const PageEntry&) { return true; }, [](const MessagePage& page) { return page.live; });
}

std::uint64_t MessageRing::next_active_slowly(std::uint64_t from) const {
  return next_of(
      from, [](const PageEntry& entry) { return entry.live != entry.dead + entry.hidden_active; },
      [](const MessagePage& page) { return page.live & ~(page.in_dead | page.hidden); });
}

std::uint64_t MessageRing::next_dead(std::uint64_t from) const {
  return next_of(
      from, [](const PageEntry& entry) { return entry.dead != entry.hidden_dead; },
      [](const MessagePage& page) { return page.in_dead & ~page.hidden; });
}

std::uint64_t MessageRing::next_in(SubQueue place, std::uint64_t from) const {
  const bool dead = place == SubQueue::dead_letter;
  return next_of(
      from, [dead](const PageEntry& entry) { return entry.dead != (dead ? 0 : entry.live); },
      [dead](const MessagePage& page) { return dead ? page.in_dead : page.live & ~page.in_dead; });
}

void MessageRing::refresh_min_lsn(PageEntry& entry) const {
  if (!entry.min_is_stale) return;
  const auto& page = static_cast<const MessagePage&>(*entry.page);  // what has changed is in memory
  entry.min_lsn = PageEntry::kNoLsn;
  for (std::uint64_t rest = page.live; rest != 0; rest &= rest - 1) {
    entry.min_lsn = std::min(entry.min_lsn, page.slots[static_cast<unsigned>(std::countr_zero(rest))].lsn);
  }
  entry.min_is_stale = false;
}

void MessageRing::push_bound(Bound bound) const {
  bounds_.push_back(bound);
  std::push_heap(bounds_.begin(), bounds_.end(), std::greater<>());
}

/// Once per page. Those of pages that are gone are let go when they are as many as the others: O(1) each.
void MessageRing::add_bound(Bound bound) {
  constexpr std::size_t kLeast = 64;
  if (bounds_.size() >= kLeast && bounds_.size() >= 2 * table_.size()) {
    bounds_.clear();
    for (std::size_t at = table_.begin(); at < table_.end(); ++at) {
      const PageEntry* entry = table_[at].entry;
      if (entry != nullptr && entry->number != bound.page) bounds_.push_back({entry->min_lsn, entry->number});
    }
    std::make_heap(bounds_.begin(), bounds_.end(), std::greater<>());
  }
  push_bound(bound);
}

PageEntry* MessageRing::oldest_page() const {
  while (!bounds_.empty()) {
    const Bound lowest = bounds_.front();
    PageEntry* entry = table_.find(lowest.page);
    ++looked_at_;
    if (entry != nullptr) {
      refresh_min_lsn(*entry);
      if (entry->min_lsn == lowest.lsn) return entry;
    }
    std::pop_heap(bounds_.begin(), bounds_.end(), std::greater<>());
    bounds_.pop_back();
    if (entry != nullptr) push_bound({entry->min_lsn, entry->number});
  }
  return nullptr;
}

std::uint64_t MessageRing::min_lsn() const {
  const PageEntry* oldest = oldest_page();
  return oldest == nullptr ? PageEntry::kNoLsn : oldest->min_lsn;
}

void MessageRing::collect_older_than(std::uint64_t lsn, std::size_t max, std::vector<Old>& out) const {
  std::set<std::uint64_t> pages;
  std::vector<Bound> seen;
  while (max > 0) {
    PageEntry* entry = oldest_page();
    if (entry == nullptr || entry->min_lsn >= lsn) break;
    const Bound bound = bounds_.front();
    std::pop_heap(bounds_.begin(), bounds_.end(), std::greater<>());
    bounds_.pop_back();
    if (!pages.insert(bound.page).second) continue;  // another bound of it, told when it came back or aged
    seen.push_back(bound);
    const MessagePage& page = load(*entry);
    for (std::uint64_t rest = page.live; rest != 0 && max > 0; rest &= rest - 1) {
      const auto slot = static_cast<unsigned>(std::countr_zero(rest));
      if (page.slots[slot].lsn >= lsn) continue;
      out.push_back({entry->number * kPage + slot, page.slots[slot].lsn});
      --max;
    }
  }
  for (const Bound& bound : seen) push_bound(bound);
}

void MessageRing::check_bounds() const {
  std::map<std::uint64_t, std::uint64_t> of;
  for (const Bound& bound : bounds_) {
    const auto [known, first] = of.emplace(bound.page, bound.lsn);
    if (!first) known->second = std::min(known->second, bound.lsn);
  }
  MS_ASSERT(bounds_.size() <= 64 + 2 * std::max<std::size_t>(table_.size(), 64), "bounds are few");
  for (std::size_t at = table_.begin(); at < table_.end(); ++at) {
    const PageEntry* entry = table_[at].entry;
    if (entry == nullptr) continue;
    const auto found = of.find(entry->number);
    MS_ASSERT(found != of.end() && found->second <= entry->min_lsn,
              "a page's bound is not above its messages");
  }
}

std::int64_t MessageRing::collect_due(Due what, std::uint64_t page_number, std::int64_t now_ms,
                                      std::vector<std::uint64_t>& out) const {
  std::int64_t next = PageEntry::kNever_ms;
  const PageEntry* entry = table_.find(page_number);
  if (entry == nullptr) return next;
  if (entry->min_expiry > now_ms) return entry->min_expiry;
  const MessagePage& page = *page_of(page_number);
  for (std::uint64_t rest = page.live; rest != 0; rest &= rest - 1) {
    const auto slot = static_cast<unsigned>(std::countr_zero(rest));
    const Message& message = page.slots[slot];
    if ((message.state == MessageState::scheduled) != (what == Due::is_enqueued)) continue;
    const std::int64_t due = message.due_ms();
    if (due <= now_ms)
      out.push_back(page_number * kPage + slot);
    else
      next = std::min(next, due);
  }
  return next;
}

}  // namespace mainstay::broker
