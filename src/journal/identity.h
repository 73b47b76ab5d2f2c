// Whose directory this is: two checksummed superblock files. Private to the room.
#pragma once

#include <optional>
#include <string>

#include "base/disk.h"
#include "journal/format.h"
#include "journal/journal.h"

namespace mainstay::journal {

struct Superblocks {
  std::optional<Superblock> superblock;  ///< empty: neither copy is there
  bool repair = false;                   ///< one copy is missing, damaged or behind
};

/// Reads both copies. `corrupt` when something is there but no copy can be read, or the two contradict.
Result<Superblocks, JournalError> load_superblocks(Disk& disk, const std::string& directory);
/// Writes both copies, one after the other, each atomically and durably.
Result<void, JournalError> store_superblocks(Disk& disk, const std::string& directory,
                                             const Superblock& superblock);
/// `foreign` when the directory is not what the options ask for.
Result<void, JournalError> check_identity(const std::string& where, const Identity& found,
                                          const JournalOptions& options);

}  // namespace mainstay::journal
