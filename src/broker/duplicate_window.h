// One queue's duplicate-detection window: entries in log-time order, first in, first out, in pages; in memory
// only an index from hash to entry number. An entry ends with its window, whatever became of the message.
#pragma once

#include <array>
#include <memory>
#include <string_view>

#include "broker/hash_index.h"
#include "broker/pager.h"

namespace mainstay::broker {

struct WindowEntry {
  std::uint64_t id_hash{};
  std::uint64_t lsn{};
  std::uint64_t sequence{};
  std::int64_t time_ms{};
  std::uint32_t text_at{}, text_bytes{};  ///< in the page's texts
};

struct WindowPage final : Page {
  static constexpr std::uint64_t kSlots = 64;

  void encode(Buffer& to) override;
  /// False when the bytes are not a window page. Checks form only.
  [[nodiscard]] bool decode(BytesView from);
  [[nodiscard]] std::string_view id(const WindowEntry& e) const {
    return as_text(BytesView(texts).subspan(e.text_at, e.text_bytes));
  }

  std::uint32_t count = 0;
  Buffer texts;
  std::array<WindowEntry, kSlots> slots;
};

class DuplicateWindow final : private PageOwner {
 public:
  static constexpr std::uint64_t kPage = WindowPage::kSlots;

  explicit DuplicateWindow(Pager& pager) : pager_(pager) {}

  /// nullptr when no entry has this id. Valid until the next trim().
  [[nodiscard]] const WindowEntry* find(std::string_view id, std::uint64_t hash) const;
  /// For Bug::duplicates_by_watermark only: an entry of the same series (what is before the last '-') with a
  /// higher number behind it.
  [[nodiscard]] const WindowEntry* find_later_of_series(std::string_view id) const;
  /// @param entry  its time is not before the last one's; its id is not there
  void push(const WindowEntry& entry, std::string_view id, std::uint64_t hash_of_entry);
  void pop(std::uint64_t hash_of_entry);

  [[nodiscard]] bool empty() const { return first_ == next_; }
  [[nodiscard]] std::uint64_t size() const { return next_ - first_; }
  [[nodiscard]] const WindowEntry& front() const { return at(first_); }
  [[nodiscard]] std::int64_t front_time_ms() const { return front_time_ms_; }  ///< without loading anything
  /// Entries are numbered without gaps from begin() to end().
  [[nodiscard]] std::uint64_t begin() const { return first_; }
  [[nodiscard]] std::uint64_t end() const { return next_; }
  [[nodiscard]] const WindowEntry& at(std::uint64_t number) const;
  [[nodiscard]] std::string_view id_at(std::uint64_t number) const;

  [[nodiscard]] std::size_t index_bytes() const { return index_.bytes(); }
  [[nodiscard]] std::size_t directory_bytes() const { return table_.bytes(); }
  [[nodiscard]] std::uint64_t indexed() const { return index_.size(); }

  // Checkpoints.
  [[nodiscard]] const PageTable& table() const { return table_; }
  /// Before adopt(): entries `first` to `next` − 1 are in the pages that follow.
  void begin_adopting(std::uint64_t first, std::uint64_t next);
  /// The entries of a page from `slot` on join the index. False when an id is there already.
  [[nodiscard]] bool index_page(PageEntry& entry, const WindowPage& page, std::size_t slot);

 private:
  // What the index calls an entry: its number modulo something below kNone, unique within the window.
  static constexpr std::uint64_t kNames = (std::uint64_t{1} << 32) - kPage;
  static std::uint32_t name_of(std::uint64_t number) { return static_cast<std::uint32_t>(number % kNames); }
  [[nodiscard]] std::uint64_t number_of(std::uint32_t name) const {
    const std::uint64_t first_name = first_ % kNames;
    return first_ + (name >= first_name ? name - first_name : name + kNames - first_name);
  }
  [[nodiscard]] WindowPage& page_of(std::uint64_t number) const;
  void forget(const Page& page) override;

  struct Hot {
    std::uint64_t number = ~std::uint64_t{0};
    WindowPage* page = nullptr;
  };
  Pager& pager_;
  PageTable table_;
  HashIndex index_;
  mutable std::array<Hot, 2> hot_;
  std::uint64_t first_ = 0, next_ = 0;
  std::int64_t front_time_ms_ = 0;
};

}  // namespace mainstay::broker
