// From files to a replica's parts: checkpoint with its pages, tail of the log, highest term seen. Used by the
// node, the simulator and the offline tools. Blocking; one thread at a time.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/disk.h"
#include "base/random.h"
#include "base/result.h"
#include "broker/state.h"
#include "journal/journal.h"
#include "paging/page_store.h"

namespace mainstay::replica {

struct Recovered {
  std::unique_ptr<journal::Journal> journal;
  std::unique_ptr<paging::PageStore> pages;  ///< outlives the state
  broker::State state;                       ///< all of the log applied
  RegionTerm last_term{};                    ///< highest of the stored term and of the log
  bool ends_sealed = false;                  ///< the last record is a seal
  Lsn checkpoint{};                          ///< that was used; 0 = none
  std::string not_used;                      ///< why newer ones were not, in words; empty when the newest was
};

/// Opens the journal in `directory` and the page store in `directory`/pages, restores the newest checkpoint
/// that can be and applies the log after it. When none can be, the log must be there from its beginning.
/// @param each  sees every record after the checkpoint, before it is applied; may be empty
[[nodiscard]] Result<Recovered, Failure> recover(Disk& disk, const std::string& directory,
                                                 const journal::JournalOptions& options, Random& random,
                                                 const std::function<void(const journal::Record&)>& each = {},
                                                 broker::StateLimits limits = {},
                                                 paging::PageStoreOptions pages = {});

/// The highest term this node has seen, kept in `directory`/term: a small file with a checksum, replaced
/// atomically; where there is no space for another file, overwritten. A node that forgot a higher term could
/// lead in it a second time.
[[nodiscard]] Result<void, Failure> store_term(Disk& disk, const std::string& directory, RegionTerm term);
/// 0 when never stored; a damaged file is an error. What it reads need not be durable: recover() stores it
/// again.
[[nodiscard]] Result<RegionTerm, Failure> load_term(Disk& disk, const std::string& directory);

}  // namespace mainstay::replica
