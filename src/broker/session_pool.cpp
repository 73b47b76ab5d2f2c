#include "broker/session_pool.h"

#include <bit>

#include "broker/effects.h"
#include "broker/page_codec.h"

namespace mainstay::broker {

namespace {

constexpr std::uint8_t kFormat = 3, kFormatWithApart = 5;
constexpr std::size_t kPageOverhead = sizeof(SessionPage) + 32;

std::size_t outside_bytes(const std::string& text) {
  return text.capacity() > 15 ? text.capacity() + 17 : 0;
}

}  // namespace

void SessionPage::encode(Buffer& to) {
  bool apart = false;
  for (const Session& s : slots) apart = apart || s.apart != 0;
  Packer out(to);
  out.room(16);
  out.u8(apart ? kFormatWithApart : kFormat);
  out.u64(live);
  for (std::uint64_t rest = live; rest != 0; rest &= rest - 1) {
    const Session& s = slots[static_cast<unsigned>(std::countr_zero(rest))];
    out.room(4 * kVarintBytesMax);
    out.varint(s.head);
    out.varint(s.tail - s.head);
    out.varint(s.count);
    if (apart) out.varint(s.apart);
    out.sized(as_bytes(s.id));
  }
}

bool SessionPage::decode(BytesView from) {
  Unpacker in(from);
  const std::uint8_t format = in.u8();
  if (format != kFormat && format != kFormatWithApart) return false;
  live = in.u64();
  if (live == 0) return false;
  for (std::uint64_t rest = live; rest != 0; rest &= rest - 1) {
    Session& s = slots[static_cast<unsigned>(std::countr_zero(rest))];
    s.head = in.varint();
    s.tail = s.head + in.varint();
    const std::uint64_t count = in.varint();
    const std::uint64_t apart = format == kFormatWithApart ? in.varint() : 0;
    s.id = as_text(in.sized());
    if (!in.ok() || s.tail < s.head || count >= kNone || apart >= kNone || (count == 0) != (s.head == 0) ||
        (count == 0 && (s.tail != 0 || apart == 0)) || s.id.size() > kIdBytesMax) {
      return false;
    }
    s.count = static_cast<std::uint32_t>(count);
    s.apart = static_cast<std::uint32_t>(apart);
    s.id_hash = id_hash(s.id);
  }
  return in.finished();
}

std::size_t SessionPage::text_bytes() const {
  std::size_t total = 0;
  for (const Session& s : slots) total += outside_bytes(s.id);
  return total;
}

SessionPage* SessionPool::page_of(std::uint32_t number) const {
  if (number >= pages_.size()) return nullptr;
  PageEntry& entry = *pages_[number];
  auto* page = static_cast<SessionPage*>(entry.page);
  if (page == nullptr) {
    if (!entry.ref) return nullptr;
    auto fresh = std::make_unique<SessionPage>();
    page = fresh.get();
    if (!page->decode(pager_.fetch(entry))) {
      throw paging::PageLost("a page of sessions is not what was stored");
    }
    pager_.add(std::move(fresh), entry, *const_cast<SessionPool*>(this), kPageOverhead + page->text_bytes(),
               false);
  }
  page->used = true;
  return page;
}

void SessionPool::forget(const Page&) {}

const Session& SessionPool::operator[](std::uint32_t index) const {
  static const Session none;
  const SessionPage* page = page_of(index / kPage);
  return page == nullptr ? none : page->slots[index % kPage];
}

Session& SessionPool::edit(std::uint32_t index) {
  SessionPage* page = page_of(index / kPage);
  MS_ASSERT(page != nullptr, "only a session that is there changes");
  pager_.change(*page);
  return page->slots[index % kPage];
}

std::uint32_t SessionPool::find(std::string_view id, std::uint64_t hash) const {
  return index_.find(hash, [&](std::uint32_t index) {
    const Session& session = (*this)[index];
    return session.id_hash == hash && session.id == id;
  });
}

void SessionPool::list(PageEntry& entry) {
  if (entry.listed || entry.live == kPage) return;
  entry.listed = true;
  free_.push_back(static_cast<std::uint32_t>(entry.number));
}

std::uint32_t SessionPool::add(std::string_view id, std::uint64_t hash) {
  while (!free_.empty() && pages_[free_.back()]->live == kPage) {
    pages_[free_.back()]->listed = false;
    free_.pop_back();
  }
  if (free_.empty()) {
    MS_ASSERT(pages_.size() < kNone / kPage - 1, "sessions are named by 32 bits");
    pages_.push_back(&pager_.new_entry(pages_.size()));
    list(*pages_.back());
  }
  const std::uint32_t number = free_.back();
  PageEntry& entry = *pages_[number];
  SessionPage* page = page_of(number);
  if (page == nullptr) {
    auto fresh = std::make_unique<SessionPage>();
    page = fresh.get();
    pager_.add(std::move(fresh), entry, *this, kPageOverhead, true);
  }
  pager_.change(*page);
  const auto slot = static_cast<std::uint32_t>(std::countr_one(page->live));
  page->live |= std::uint64_t{1} << slot;
  ++entry.live;
  Session& session = page->slots[slot];
  session = {};
  session.id_hash = hash;
  session.id = id;
  pager_.grow(*page, outside_bytes(session.id));
  const std::uint32_t index = number * kPage + slot;
  index_.insert(hash, index);
  return index;
}

void SessionPool::remove(std::uint32_t index) {
  SessionPage* page = page_of(index / kPage);
  MS_ASSERT(page != nullptr && ((page->live >> (index % kPage)) & 1) != 0,
            "only a session that is there goes");
  Session& session = page->slots[index % kPage];
  PageEntry& entry = *page->entry;
  index_.erase(session.id_hash, index);
  if (--entry.live == 0) {
    pager_.clear(entry);
  } else {
    pager_.change(*page);
    pager_.shrink(*page, outside_bytes(session.id));
    session = {};
    page->live &= ~(std::uint64_t{1} << (index % kPage));
  }
  list(entry);
}

bool SessionPool::adopt(PageEntry& entry, const SessionPage* page) {
  pages_.push_back(&entry);
  list(entry);
  if (page == nullptr) return true;
  for (std::uint64_t rest = page->live; rest != 0; rest &= rest - 1) {
    const auto slot = static_cast<unsigned>(std::countr_zero(rest));
    const Session& session = page->slots[slot];
    bool twice = false;
    index_.find(session.id_hash, [&](std::uint32_t index) {
      twice = index / kPage == entry.number ? page->slots[index % kPage].id == session.id
                                            : (*this)[index].id == session.id;
      return twice;
    });
    if (twice) return false;
    index_.insert(session.id_hash, static_cast<std::uint32_t>(entry.number) * kPage + slot);
  }
  return true;
}

}  // namespace mainstay::broker
