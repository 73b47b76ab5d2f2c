// The sessions of one queue that have messages: named by a small number, 64 to a page. In memory for each
// only its place in the index.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/hash_index.h"
#include "broker/pager.h"

namespace mainstay::broker {

struct Session {
  std::uint64_t id_hash{};
  std::uint64_t head{}, tail{};  ///< sequence numbers; 0 while the list is empty
  std::string id;
  std::uint32_t count = 0;  ///< messages in its list
  std::uint32_t apart = 0;  ///< its deferred and scheduled ones, which are not
  [[nodiscard]] std::uint64_t messages() const { return std::uint64_t{count} + apart; }
};

struct SessionPage final : Page {
  static constexpr std::uint32_t kSlots = 64;

  void encode(Buffer& to) override;
  /// False when the bytes are not a page of sessions. Checks form only.
  [[nodiscard]] bool decode(BytesView from);
  [[nodiscard]] std::size_t text_bytes() const;

  std::uint64_t live = 0;  ///< one bit per slot
  alignas(64) std::array<Session, kSlots> slots;
};
static_assert(sizeof(Session) == 64, "a session is one line of the processor's cache");

class SessionPool final : private PageOwner {
 public:
  static constexpr std::uint32_t kPage = SessionPage::kSlots;

  explicit SessionPool(Pager& pager) : pager_(pager) {}

  /// Of a place nothing is in: a session without messages. Valid until the next trim().
  [[nodiscard]] const Session& operator[](std::uint32_t index) const;
  [[nodiscard]] Session& edit(std::uint32_t index);
  [[nodiscard]] std::uint32_t find(std::string_view id, std::uint64_t hash) const;
  std::uint32_t add(std::string_view id, std::uint64_t hash);
  void remove(std::uint32_t index);
  /// One past the highest place ever used.
  [[nodiscard]] std::uint32_t end() const { return static_cast<std::uint32_t>(pages_.size() * kPage); }
  [[nodiscard]] std::size_t live() const { return index_.size(); }
  [[nodiscard]] std::size_t index_bytes() const { return index_.bytes(); }
  [[nodiscard]] std::size_t directory_bytes() const {
    return pages_.capacity() * sizeof(PageEntry*) + free_.capacity() * sizeof(std::uint32_t);
  }

  // Towards the processor, step by step, each when what the one before asked for is there. They change
  // nothing.
  void prefetch_index(std::uint64_t hash) const {
    index_.prefetch(hash);
    __builtin_prefetch(pages_.data());
  }
  /// The session of this hash as far as the index tells without a look at it; kNone when there is none.
  [[nodiscard]] std::uint32_t likely(std::uint64_t hash) const {
    return index_.find(hash, [](std::uint32_t) { return true; });
  }
  void prefetch_entry(std::uint32_t index) const {
    if (index / kPage < pages_.size()) __builtin_prefetch(pages_[index / kPage]);
  }
  void prefetch(std::uint32_t index) const {
    const SessionPage* page = near_page(index);
    if (page == nullptr) return;
    __builtin_prefetch(page);
    __builtin_prefetch(&page->slots[index % kPage]);
  }
  /// Its last message; 0 when it has none or its page is not in memory.
  [[nodiscard]] std::uint64_t tail_if_near(std::uint32_t index) const {
    const SessionPage* page = near_page(index);
    return page == nullptr ? 0 : page->slots[index % kPage].tail;
  }

  // Checkpoints: one entry for each page number, without content where no session is.
  [[nodiscard]] const std::vector<PageEntry*>& pages() const { return pages_; }
  void begin_adopting(std::uint64_t sessions) { index_.reserve(sessions); }
  /// The next page number's entry; `page` is nullptr for one without content. False when an id is there
  /// already.
  [[nodiscard]] bool adopt(PageEntry& entry, const SessionPage* page);

 private:
  [[nodiscard]] const SessionPage* near_page(std::uint32_t index) const {
    return index / kPage < pages_.size() ? static_cast<const SessionPage*>(pages_[index / kPage]->page)
                                         : nullptr;
  }
  [[nodiscard]] SessionPage* page_of(std::uint32_t number) const;
  void list(PageEntry& entry);
  void forget(const Page& page) override;

  Pager& pager_;
  std::vector<PageEntry*> pages_;    ///< by page number
  std::vector<std::uint32_t> free_;  ///< pages with free places, the one to fill next last
  HashIndex index_;
};

}  // namespace mainstay::broker
