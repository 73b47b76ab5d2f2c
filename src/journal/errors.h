// Wording of the room's errors in one place. Private to the room.
#pragma once

#include <string>

#include "base/disk.h"
#include "journal/journal.h"

namespace mainstay::journal {

JournalError from_disk(const DiskError& error);
/// After this nothing more is written.
JournalError sync_failed(const DiskError& error);
/// Names file, offset and LSN, and says what to do.
JournalError corrupt(const std::string& file, std::uint64_t offset, Lsn lsn, const std::string& reason);
/// The same for a file as a whole.
JournalError corrupt(const std::string& file, const std::string& reason);
JournalError too_new(const std::string& file);

}  // namespace mainstay::journal
