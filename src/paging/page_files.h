// Page files as they lie on a disk, for tools that only look: nothing is written, made or removed, so it may
// be done beside a process that uses them (which may remove files meanwhile).
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/result.h"
#include "paging/page_store.h"

namespace mainstay::paging {

/// A page store to restore a state from, that can do nothing else: store() finds no room. What is adopted and
/// loaded is checked as open_page_store()'s does.
class PageFilesReader : public PageStore {
 public:
  /// Numbers of the files that hold an adopted page.
  [[nodiscard]] virtual const std::set<std::uint32_t>& used() const = 0;
};

struct PageFileSeen {
  std::uint32_t number{};
  std::string path;  ///< as the disk describes it
  std::uint64_t bytes{};
  std::uint64_t pages{};            ///< whole ones
  std::vector<std::string> damage;  ///< with path and offset. Behind a page without a header nothing is found
};

/// A reader of the page files in `directory`.
[[nodiscard]] std::unique_ptr<PageFilesReader> read_page_files(Disk& disk, const std::string& directory);
/// Every page file there, every page in it, in use or not; one by one, in order of number. A file whose last
/// write was cut off has damage at its end.
[[nodiscard]] Result<std::vector<PageFileSeen>, DiskError> scan_page_files(Disk& disk,
                                                                           const std::string& directory);

}  // namespace mainstay::paging
