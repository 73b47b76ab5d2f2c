// Checkpoints: state at an LSN, in a file of its own beside the log. Private to the room.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "journal/journal.h"

namespace mainstay::journal {

/// First 64 bytes of the file, with a checksum of their own: recovery compares the log with them without
/// reading the state.
struct CheckpointHead {
  LogPosition at{};
  std::uint64_t state_bytes{};
  std::uint64_t state_checksum{};
};

/// LSNs of the checkpoint files, newest first.
std::vector<Lsn> checkpoints_in(const std::vector<std::string>& names);
/// Empty when the file's head is damaged.
Result<std::optional<CheckpointHead>, JournalError> read_checkpoint_head(Disk& disk,
                                                                         const std::string& directory,
                                                                         Lsn lsn);
/// Empty when anything in the file is damaged.
Result<std::optional<Buffer>, JournalError> read_checkpoint_state(Disk& disk, const std::string& directory,
                                                                  Lsn lsn);
Result<void, JournalError> write_checkpoint(Disk& disk, const std::string& directory, LogPosition at,
                                            BytesView state);

}  // namespace mainstay::journal
