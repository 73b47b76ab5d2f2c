#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "paging/page_format.h"
#include "paging/page_store.h"

namespace mainstay::paging {
namespace {

class SealedInMemory final : public PageStore::Sealed {
 public:
  Result<void, DiskError> sync() override { return {}; }
  const std::vector<File>& files() const override { return none_; }

 private:
  std::vector<File> none_;
};

/// Each page is a "file" of its own as far as its life is concerned. Checkpoints keep everything that was
/// released after the older of the two newest was sealed: a little more than they must.
class MemoryPageStore final : public PageStore {
 public:
  std::optional<PageRef> store(BytesView content) override {
    MS_ASSERT(!content.empty() && content.size() <= kPageBytesMax, "a page has 1 to kPageBytesMax bytes");
    const PageRef page{static_cast<std::uint32_t>(1 + (stored_ >> 32)), static_cast<std::uint32_t>(stored_),
                       static_cast<std::uint32_t>(content.size())};
    ++stored_;
    pages_.emplace(std::pair(page.file, page.offset), Page{to_buffer(content), 1});
    bytes_ += content.size();
    ++in_use_;
    return page;
  }

  void load(PageRef page, Buffer& into) override {
    const Buffer& content = find(page).content;
    into.assign(content.begin(), content.end());
  }

  void release(PageRef page) override {
    Page& released = find(page);
    MS_ASSERT(released.uses > 0, "a page is released once");
    --in_use_;
    if (--released.uses == 0) released_.emplace_back(seals_, std::pair(page.file, page.offset));
    remove_what_nobody_needs();
  }

  bool wants_moving(PageRef) const override { return false; }

  std::shared_ptr<Sealed> seal() override {
    auto sealed = std::make_shared<SealedInMemory>();
    sealed_.emplace_back(++seals_, sealed);
    return sealed;
  }

  void checkpoint_stored(const std::shared_ptr<Sealed>& sealed) override {
    for (const auto& [seal, known] : sealed_) {
      if (known.lock() != sealed) continue;
      MS_ASSERT(seal > newest_, "checkpoints are stored in the order of their seal()");
      previous_ = std::exchange(newest_, seal);
    }
    std::erase_if(sealed_, [&](const auto& known) { return known.first <= newest_; });
    remove_what_nobody_needs();
  }

  void adopt(PageRef page) override {
    ++find(page).uses;
    ++in_use_;
  }

  std::uint64_t disk_bytes() const override { return bytes_; }
  std::uint64_t pages_in_use() const override { return in_use_; }

 private:
  using Key = std::pair<std::uint32_t, std::uint32_t>;
  struct Page {
    Buffer content;
    std::uint64_t uses{};
  };

  Page& find(PageRef page) {
    const auto found = pages_.find({page.file, page.offset});
    if (found == pages_.end() || found->second.content.size() != page.bytes) {
      throw PageLost("page " + std::to_string(page.file) + ":" + std::to_string(page.offset) +
                     " in memory is not there");
    }
    return found->second;
  }

  /// A released page is needed while a checkpoint sealed before its release is kept or may yet be stored.
  void remove_what_nobody_needs() {
    std::erase_if(sealed_, [](const auto& known) { return known.second.expired(); });
    std::uint64_t oldest = previous_ != 0 ? previous_ : newest_;
    if (oldest == 0) oldest = sealed_.empty() ? UINT64_MAX : sealed_.front().first;
    for (; !released_.empty() && released_.front().first < oldest; released_.pop_front()) {
      const auto found = pages_.find(released_.front().second);
      if (found == pages_.end() || found->second.uses > 0) continue;
      bytes_ -= found->second.content.size();
      pages_.erase(found);
    }
  }

  std::map<Key, Page> pages_;
  /// With the number of seals before the release, which only grows.
  std::deque<std::pair<std::uint64_t, Key>> released_;
  std::vector<std::pair<std::uint64_t, std::weak_ptr<Sealed>>> sealed_;
  std::uint64_t stored_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t in_use_ = 0;
  std::uint64_t seals_ = 0;
  std::uint64_t newest_ = 0;
  std::uint64_t previous_ = 0;
};

}  // namespace

std::unique_ptr<PageStore> memory_page_store() {
  return std::make_unique<MemoryPageStore>();
}

}  // namespace mainstay::paging
