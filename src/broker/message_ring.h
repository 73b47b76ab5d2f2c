// The messages of one queue by sequence number, 64 to a page; pages that are not in use may be on disk.
#pragma once

#include <array>
#include <bit>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "broker/pager.h"
#include "broker/types.h"

namespace mainstay::broker {

/// What few messages have: reasons and modified properties.
struct Annotation {
  std::string reason, description;
  Buffer properties;
  [[nodiscard]] std::size_t bytes() const {
    return sizeof(Annotation) + 16 + reason.capacity() + description.capacity() + properties.capacity();
  }
};

struct Message {
  std::uint64_t lsn{};
  std::int64_t enqueued_ms{};                        ///< scheduled: when it is due
  std::int64_t expires_ms{};                         ///< scheduled: if it is there when it is due
  std::uint64_t id_hash{};                           ///< 0 = no id
  std::uint64_t session_previous{}, session_next{};  ///< sequence numbers, 0 = none
  std::uint32_t payload_bytes{};
  std::uint32_t session = kNone;  ///< in Queue::sessions; in its list while neither deferred nor scheduled
  std::uint16_t delivery_count{};
  SubQueue place : 1 {};
  bool annotated : 1 = false;  ///< has an entry in Queue::annotations
  bool moved : 1 = false;      ///< `lsn` is of a later record than the one it came with
  MessageState state : 2 {};
  /// Its sequence number less the one under which it was scheduled, or the most that has room; 0 = it was
  /// not.
  std::uint64_t renumbered_by : 43 = 0;

  static constexpr std::uint64_t kRenumberedByMax = (std::uint64_t{1} << 43) - 1;
  [[nodiscard]] std::uint64_t scheduled_as(std::uint64_t sequence) const {
    return renumbered_by == 0 || renumbered_by == kRenumberedByMax ? 0 : sequence - renumbered_by;
  }
  [[nodiscard]] bool hidden() const { return state != MessageState::active; }
  /// When something is due to happen to it by time alone.
  [[nodiscard]] std::int64_t due_ms() const {
    if (state == MessageState::scheduled) return enqueued_ms;
    return expires_ms == 0 || state == MessageState::deferred ? PageEntry::kNever_ms : expires_ms;
  }
};
static_assert(sizeof(Message) == 64, "memory per message of a page in memory is a promise");

/// Its delivery count when a delivery fails or ends in deferral. Deliveries out of a dead-letter queue do not
/// count; only deferred messages are delivered so often that the count ends.
inline constexpr std::uint32_t kCountMax = 0xffff;
[[nodiscard]] inline std::uint32_t count_after(const Message& message) {
  const std::uint32_t count = message.delivery_count;
  return message.place == SubQueue::active && count < kCountMax ? count + 1 : count;
}

struct MessagePage final : Page {
  static constexpr std::uint64_t kSlots = 64;

  void encode(Buffer& to) override;
  /// False when the bytes are not a message page of this number: `this` is then useless. Checks form, not
  /// whether the messages fit the state.
  [[nodiscard]] bool decode(BytesView from, std::uint64_t number);
  [[nodiscard]] const Annotation* annotation(std::size_t slot) const;
  [[nodiscard]] std::size_t annotation_bytes() const;

  std::uint64_t live = 0;     ///< one bit per slot
  std::uint64_t in_dead = 0;  ///< of these, the ones in the dead-letter queue
  std::uint64_t hidden = 0;   ///< of all, the deferred and the scheduled ones
  std::vector<std::pair<std::uint8_t, Annotation>> annotations;  ///< by slot, unordered
  alignas(64) std::array<Message, kSlots> slots;
};

class MessageRing final : private PageOwner {
 public:
  static constexpr std::uint64_t kPage = MessagePage::kSlots;

  explicit MessageRing(Pager& pager) : pager_(pager) {}

  [[nodiscard]] const Message* find(std::uint64_t sequence) const {
    const MessagePage* page = page_of(sequence / kPage);
    return page != nullptr && has(*page, sequence) ? &page->slots[sequence % kPage] : nullptr;
  }
  /// For changing it; not its place, which is bury()'s.
  [[nodiscard]] Message* edit(std::uint64_t sequence) {
    MessagePage* page = page_of(sequence / kPage);
    if (page == nullptr || !has(*page, sequence)) return nullptr;
    pager_.change(*page);
    return &page->slots[sequence % kPage];
  }
  /// @param sequence  above all that were ever added.
  Message& add(std::uint64_t sequence, std::uint64_t lsn, std::int64_t expires_ms);
  /// @param hash  that it has added to its page's sum
  void remove(std::uint64_t sequence, std::uint64_t hash);
  /// Moves it to the dead-letter queue, where nothing expires; a deferred one is not deferred any more.
  void bury(std::uint64_t sequence);
  /// An active message is deferred or scheduled from now on.
  void hide(std::uint64_t sequence, MessageState state);
  void set_lsn(std::uint64_t sequence, std::uint64_t lsn);
  void add_to_sum(std::uint64_t sequence, std::uint64_t change) {
    page_of(sequence / kPage)->entry->sum += change;
  }

  [[nodiscard]] const Annotation* annotation(std::uint64_t sequence) const;
  [[nodiscard]] Annotation& annotate(std::uint64_t sequence);
  /// After a change through annotate().
  void annotation_grew(std::uint64_t sequence, std::size_t bytes_before);

  /// Smallest sequence number ≥ `from` that is there (active; dead-lettered; either of these or hidden); 0
  /// when none. Pages without any are passed over unloaded.
  [[nodiscard]] std::uint64_t next(std::uint64_t from) const;
  [[nodiscard]] std::uint64_t next_active(std::uint64_t from) const {
    if (const MessagePage* page = hot_page(from / kPage)) {
      const std::uint64_t rest = (page->live & ~(page->in_dead | page->hidden)) >> (from % kPage);
      if (rest != 0) return from + static_cast<unsigned>(std::countr_zero(rest));
    }
    return next_active_slowly(from);
  }
  [[nodiscard]] std::uint64_t next_dead(std::uint64_t from) const;
  /// Of one place, hidden or not.
  [[nodiscard]] std::uint64_t next_in(SubQueue place, std::uint64_t from) const;
  [[nodiscard]] std::uint64_t first() const { return next(0); }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  [[nodiscard]] std::size_t pages() const { return table_.size(); }
  [[nodiscard]] std::size_t directory_bytes() const {
    return table_.bytes() + bounds_.capacity() * sizeof(Bound);
  }

  // Towards the processor, if they are in memory and were found lately; nothing is changed by it. First the
  // message's place and its page's bits, then, when those are there, what is known of the page.
  void prefetch(std::uint64_t sequence) const {
    const Hot& hot = hot_[sequence / kPage % kHot];
    if (hot.number != sequence / kPage) return;
    __builtin_prefetch(hot.page);
    __builtin_prefetch(&hot.page->slots[sequence % kPage]);
  }
  void prefetch_entry(std::uint64_t sequence) const {
    const Hot& hot = hot_[sequence / kPage % kHot];
    if (hot.number == sequence / kPage) __builtin_prefetch(hot.page->entry);
  }

  /// PageEntry::kNoLsn when empty. Looks at as many pages as have changed their oldest message since it was
  /// asked, not at all of them.
  [[nodiscard]] std::uint64_t min_lsn() const;
  struct Old {
    std::uint64_t sequence{}, lsn{};
  };
  /// Messages with an LSN below `lsn`, at most `max` more in `out`, page by page, that with the oldest
  /// message first. Looks at no more pages than these lie in and min_lsn() would.
  void collect_older_than(std::uint64_t lsn, std::size_t max, std::vector<Old>& out) const;
  /// Pages looked at by these two, ever.
  [[nodiscard]] std::uint64_t pages_looked_at() const { return looked_at_; }
  /// Aborts unless each page has a bound that is not above its messages' LSNs. O(pages): tests.
  void check_bounds() const;

  /// What time alone does to a message.
  enum class Due : std::uint8_t { expires, is_enqueued };
  /// f(page number, nothing is due in it before) for each page in which something is.
  template <class F>
  void for_each_page_due(Due what, const F& f) const {
    for (std::size_t at = table_.begin(); at < table_.end(); ++at) {
      const PageEntry* entry = table_[at].entry;
      if (entry == nullptr || entry->min_expiry == PageEntry::kNever_ms) continue;
      if (entry->scheduled == (what == Due::expires ? entry->live : 0)) continue;
      f(entry->number, entry->min_expiry);
    }
  }
  /// Appends what is due at `now_ms` of one page. @return when the next of that page is after now;
  /// PageEntry::kNever_ms when none is.
  [[nodiscard]] std::int64_t collect_due(Due what, std::uint64_t page_number, std::int64_t now_ms,
                                         std::vector<std::uint64_t>& out) const;

  /// For checkpoints: entries in order, and back. `live` is counted by the caller.
  [[nodiscard]] const PageTable& table() const { return table_; }
  void adopt(PageEntry& entry) {
    table_.append(entry);
    add_bound({entry.min_lsn, entry.number});
    size_ += entry.live;
  }
  /// Exact again where it was not.
  void refresh_min_lsn(PageEntry& entry) const;

 private:
  static bool has(const MessagePage& page, std::uint64_t sequence) {
    return ((page.live >> (sequence % kPage)) & 1) != 0;
  }
  [[nodiscard]] MessagePage* hot_page(std::uint64_t number) const {
    const Hot& hot = hot_[number % kHot];
    if (hot.number != number) return nullptr;
    hot.page->used = true;
    return hot.page;
  }
  [[nodiscard]] MessagePage* page_of(std::uint64_t number) const {
    MessagePage* page = hot_page(number);
    return page != nullptr ? page : find_page(number);
  }
  [[nodiscard]] MessagePage* find_page(std::uint64_t number) const;
  [[nodiscard]] MessagePage& load(PageEntry& entry) const;
  [[nodiscard]] std::uint64_t next_active_slowly(std::uint64_t from) const;
  template <class Has, class Bits>
  [[nodiscard]] std::uint64_t next_of(std::uint64_t from, const Has& has, const Bits& bits) const;
  void forget(const Page& page) override;
  static void show(MessagePage& page, Message& message);

  /// No message of the page has an LSN below. Within the life of a page that rises, and so does not have to
  /// be told, but for a scheduled message that is activated: what is in the heap may be too low, and of pages
  /// that are gone.
  struct Bound {
    std::uint64_t lsn{}, page{};
    friend constexpr auto operator<=>(const Bound&, const Bound&) = default;
  };
  void add_bound(Bound bound);
  void push_bound(Bound bound) const;
  /// Makes the lowest bound exact. @return its page; nullptr when there is none.
  [[nodiscard]] PageEntry* oldest_page() const;

  // Pages found lately: head, tail and what is between are nearly always here.
  static constexpr std::uint64_t kHot = 4;
  static constexpr std::uint64_t kNoPage = ~std::uint64_t{0};
  struct Hot {
    std::uint64_t number = kNoPage;
    MessagePage* page = nullptr;
  };
  Pager& pager_;
  PageTable table_;
  /// Heap, lowest first: at least one of each page, and of some that are gone, or were and came back.
  mutable std::vector<Bound> bounds_;
  mutable std::uint64_t looked_at_ = 0;
  mutable std::array<Hot, kHot> hot_;
  std::uint64_t size_ = 0;
};

}  // namespace mainstay::broker
