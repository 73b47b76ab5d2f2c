// What stands behind the last record of the log after a crash, and how it is put away. Private to the room.
#pragma once

#include <cstdint>
#include <string>

#include "base/disk.h"
#include "journal/format.h"
#include "journal/journal.h"

namespace mainstay::journal {

/// The last segment behind its last record.
struct Tail {
  std::uint64_t begin{};
  /// Behind the last byte that is not zero; `begin` when all are.
  std::uint64_t content_end{};
  /// Bytes from `begin` on that a batch may have left: all content in a file that held zeros; in a recycled
  /// one up to the last trace of a record that is not an old one.
  Buffer torn;
};
Result<Tail, JournalError> examine_tail(File& file, const SegmentHeader& header, std::uint64_t begin);

/// Overwrites with zeros what is not zero. Not synced.
Result<void, JournalError> clear_range(File& file, std::uint64_t begin, std::uint64_t end);
/// Writes what stands there once more. Not synced.
Result<void, JournalError> rewrite_range(File& file, std::uint64_t begin, std::uint64_t end);

/// Makes the quarantine directory, durably. @return a path in it whose name begins with `name` and is free.
Result<std::string, JournalError> quarantine_path(Disk& disk, const std::string& directory,
                                                  const std::string& name);
/// Puts bytes durably into a new file of the quarantine directory whose name begins with `name`. @return its
/// path.
Result<std::string, JournalError> quarantine(Disk& disk, const std::string& directory,
                                             const std::string& name, BytesView bytes);

/// Reads a file from `offset` to its end or `bytes`, whichever is first.
Result<Buffer, JournalError> read_range(File& file, std::uint64_t offset, std::uint64_t bytes);

}  // namespace mainstay::journal
