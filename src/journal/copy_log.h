// A log for a new writer, made of that of a former one who may still be writing (a node that sleeps, a
// machine that was cut off): what is finished is shared, what may still be written to is copied. Whatever the
// former writer does from then on, it does to files that the new log does not have.
#pragma once

#include <cstdint>
#include <string>

#include "base/disk.h"
#include "base/result.h"
#include "journal/journal.h"

namespace mainstay::journal {

struct LogCopy {
  std::uint64_t linked{};        ///< files that have a name in both directories now
  std::uint64_t copied_bytes{};  ///< of the last segment
};

/// Puts into `to`, an empty directory, what makes `from`'s log a log: segments, checkpoints, quarantine and
/// the journal's superblocks. Every segment but the last, and every checkpoint, is the same file under a
/// second name (Disk::link); the last segment, as far as it has content, and the superblocks are new files.
/// Spares and files that were being made or given back are left behind. Durable when it returns. A `from`
/// without a journal gives an empty `to`.
///
/// The log in `to` has at least what was durable in `from` when this was called, and perhaps a torn end,
/// which opening it cuts as after a crash.
///
/// @pre whoever writes in `from` was opened with JournalOptions::reuse_segments = false.
/// Errors: `not_found` when files of `from` went while this looked at them: empty `to` and call again.
[[nodiscard]] Result<LogCopy, JournalError> copy_log(Disk& disk, const std::string& from,
                                                     const std::string& to);

}  // namespace mainstay::journal
