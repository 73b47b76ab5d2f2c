// What open() does with a directory that has an identity: look at all that decides, refuse what must be
// refused without having changed anything, then repair what a crash may leave. Private to the room.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/disk.h"
#include "journal/discarded_files.h"
#include "journal/journal.h"
#include "journal/segment.h"

namespace mainstay::journal {

struct Recovered {
  std::vector<std::shared_ptr<Segment>> segments;  ///< empty: a journal that was never used. Last one opened
  std::vector<Spare> spares;
  std::vector<DiscardedFile> discarded;
  std::uint64_t next_spare_number = 1;
  RecoveryReport report;
};

/// When it succeeds, everything in it is durable.
/// @param in_use  the superblock says that there were segments
Result<Recovered, JournalError> recover(Disk& disk, const std::string& directory, const Identity& identity,
                                        bool in_use, std::uint64_t spare_bytes, Lsn replay_after,
                                        const std::function<void(const Record&)>& replay);

}  // namespace mainstay::journal
