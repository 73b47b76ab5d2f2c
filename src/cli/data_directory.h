// A data directory that a command looks into, and, when it is a store that nodes share, the claim in it that
// has the content.
#pragma once

#include <memory>
#include <string>

#include "base/disk.h"
#include "base/result.h"

namespace mainstay::cli {

struct DataDirectory {
  std::string shown;           ///< where the content is: what was given, or a claim below it
  std::unique_ptr<Disk> disk;  ///< rooted there
  /// Of a shared store, which must not change hands meanwhile. A node's own directory is not locked: whoever
  /// looks changes nothing in it.
  std::unique_ptr<DiskLock> lock;
};
/// Refused when a node or a tool holds the lock of a shared store.
[[nodiscard]] Result<DataDirectory, Failure> open_data_directory(const std::string& directory);

}  // namespace mainstay::cli
