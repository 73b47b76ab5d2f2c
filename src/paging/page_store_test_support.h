// Shared by the room's tests.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "base/memory_disk.h"
#include "base/random.h"
#include "paging/page_store.h"

namespace mainstay::paging {

inline constexpr const char* kDirectory = "group/pages";
inline constexpr PageStoreOptions kTiny{.file_bytes = 4096, .gather_bytes = 1024};

inline std::unique_ptr<PageStore> open_pages(MemoryDisk& disk, PageStoreOptions options = kTiny) {
  return open_page_store(disk, kDirectory, options).value();
}
inline Buffer random_page(Random& random, std::uint64_t bytes_max) {
  Buffer page(random.between(1, bytes_max));
  for (std::byte& b : page) b = static_cast<std::byte>(random.next());
  return page;
}
inline Buffer page_of(char letter, std::size_t bytes) {
  return Buffer(bytes, static_cast<std::byte>(letter));
}
inline Buffer load(PageStore& pages, PageRef page) {
  Buffer into;
  pages.load(page, into);
  return into;
}
/// A whole checkpoint, as the caller makes one.
inline void checkpoint(PageStore& pages) {
  const auto sealed = pages.seal();
  sealed->sync().value();
  pages.checkpoint_stored(sealed);
}
/// First seed and how many: MAINSTAY_SEED=n runs one. Printed.
struct Seeds {
  std::uint64_t first{};
  std::uint64_t count{};
};
inline Seeds seeds(std::uint64_t count) {
  const char* one = std::getenv("MAINSTAY_SEED");
  const Seeds out =
      one != nullptr ? Seeds{std::strtoull(one, nullptr, 10), 1} : Seeds{.first = 1, .count = count};
  std::printf("MAINSTAY_SEED=%llu to %llu\n", static_cast<unsigned long long>(out.first),
              static_cast<unsigned long long>(out.first + out.count - 1));
  return out;
}

}  // namespace mainstay::paging
