// Any bytes as a checkpoint's pages and root: refused, or a state that holds together and can be stored and
// restored again. Input: pages as (length u16, content)…, a length of 0, then the root. The root names page
// number n as offset n of file 1.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/assert.h"
#include "broker/state.h"

using namespace mainstay;

namespace {

class Pages final : public paging::PageStore {
 public:
  std::optional<paging::PageRef> store(BytesView content) override {
    pages_.push_back(to_buffer(content));
    return paging::PageRef{1, static_cast<std::uint32_t>(pages_.size()),
                           static_cast<std::uint32_t>(content.size())};
  }
  void load(paging::PageRef page, Buffer& into) override {
    if (page.file != 1 || page.offset == 0 || page.offset > pages_.size() ||
        pages_[page.offset - 1].size() != page.bytes) {
      throw paging::PageLost("no such page");
    }
    into = pages_[page.offset - 1];
  }
  void release(paging::PageRef) override {}
  [[nodiscard]] bool wants_moving(paging::PageRef) const override { return false; }
  std::shared_ptr<Sealed> seal() override { return nullptr; }
  void checkpoint_stored(const std::shared_ptr<Sealed>&) override {}
  void adopt(paging::PageRef) override {}
  [[nodiscard]] std::uint64_t disk_bytes() const override { return 0; }
  [[nodiscard]] std::uint64_t pages_in_use() const override { return 0; }

 private:
  std::vector<Buffer> pages_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ByteReader reader(std::as_bytes(std::span(data, size)));
  Pages pages;
  for (;;) {
    const std::size_t length = std::min<std::size_t>(reader.u16_le(), reader.remaining());
    if (length == 0) break;
    static_cast<void>(pages.store(reader.bytes(length)));
  }
  const broker::StateLimits limits{std::size_t{8} << 10};
  auto restored = broker::State::restore(reader.bytes(reader.remaining()), pages, limits);
  if (restored.has_value()) {
    restored->check_invariants();
    const auto checkpoint = restored->checkpoint();
    MS_ASSERT(checkpoint.has_value(), "pages in memory have room");
    const auto again = broker::State::restore(checkpoint->root, pages, limits);
    MS_ASSERT(again.has_value() && again->hash() == restored->hash(), "an equal state restores again");
  }
  return 0;
}
