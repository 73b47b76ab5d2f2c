// Making a journal that does not begin with the first record of its log: a node that gets a copy of another
// node's state needs only the records that the state still refers to, and those after it.
#pragma once

#include "base/disk.h"
#include "base/random.h"
#include "base/result.h"
#include "journal/journal.h"

namespace mainstay::journal {

/// Makes a journal in `directory` whose next record follows `before`, with an incarnation of its own. Durable
/// when it returns. Open it with `replay_after` ≥ before.lsn. The directory is made if need be and must hold
/// no journal (`foreign` otherwise, and nothing is changed). After another error or a crash it holds either
/// no journal, or one that is whole; or files that Journal::open() refuses: remove them and begin again.
[[nodiscard]] Result<void, JournalError> begin_after(Disk& disk, const std::string& directory,
                                                     const JournalOptions& options, Random& random,
                                                     LogPosition before);

/// Whether a file of this name in a journal's directory belongs to the journal: segments, checkpoints,
/// spares, superblocks, and what is on its way to become or to have been one.
[[nodiscard]] bool is_journal_file(std::string_view name);

}  // namespace mainstay::journal
