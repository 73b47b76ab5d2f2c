// Taking back the end of a log: a follower whose log parts from its leader's gives up what the leader does
// not have (replication-protocol.md R6). What is taken back is kept in quarantine, never deleted.
#pragma once

#include <cstdint>
#include <string>

#include "base/disk.h"
#include "base/random.h"
#include "base/result.h"
#include "journal/journal.h"

namespace mainstay::journal {

struct CutReport {
  std::uint64_t records{};      ///< taken out of the log
  std::uint64_t bytes{};        ///< theirs, padding included
  std::string quarantine_file;  ///< holds them, whole, one behind the other; empty when there were none
};

/// Removes every record after `to` from the journal in `directory`, which nobody has open (`locked`
/// otherwise). Opens it first, with all that Journal::open() does and refuses. Then, without having changed
/// anything more: `not_found` when `to` is not in the log, `diverged` when another record is there,
/// `below_checkpoint` when a checkpoint holds the state behind `to`, `disk_full` when quarantine has no space
/// for the records.
///
/// After any other error and after a crash anywhere, the journal opens, ends at `to` or behind it, and has
/// lost no record that is not in quarantine: cut again. What then is still there goes to a quarantine file of
/// its own. Needs space for the records and for one segment. Takes as long as reading the records and writing
/// them and one segment.
///
/// LSNs that were taken back will be given to other records: whoever keeps LSNs of the log (checkpoints, page
/// stores, caches, epoch tables) has to forget those above `to`.
[[nodiscard]] Result<CutReport, JournalError> cut_after(Disk& disk, const std::string& directory,
                                                        const JournalOptions& options, Random& random,
                                                        LogPosition to);

}  // namespace mainstay::journal
