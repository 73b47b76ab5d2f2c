// Offline check of the state's pages: is each checkpoint, with every page it refers to, one that a start
// could use? Nothing is changed. Beside a running node, which stores checkpoints and removes files meanwhile,
// it is done again when the newest checkpoint is another one afterwards.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/ids.h"

namespace mainstay::replica {

struct PagesReport {
  bool ok = false;              ///< every checkpoint can be restored
  Lsn checkpoint{};             ///< the newest; 0 = none
  std::uint64_t checkpoints{};  ///< that can be restored
  std::uint64_t pages{};        ///< that the newest refers to
  std::uint64_t files{}, bytes{};
  std::vector<std::string> problems;  ///< what is damaged or missing, and what that means for the next start
  /// Files that no checkpoint refers to, and damage where none refers to: left by a crash or not removed yet,
  /// harmless. Empty when a checkpoint cannot be restored: what it refers to is unknown then.
  std::vector<std::string> unused;
};
/// Of the node whose journal is in `directory`; checkpoints that are damaged themselves are
/// journal::verify()'s to tell.
[[nodiscard]] PagesReport verify_pages(Disk& disk, const std::string& directory);

}  // namespace mainstay::replica
