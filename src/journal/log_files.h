// A log as it lies on a disk, for tools that only look at parts of it: takes no lock and changes nothing.
// verify() reads everything and goes on behind damage; this reads what it is asked for, and stops at damage.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/result.h"
#include "journal/journal.h"

namespace mainstay::journal {

/// A value; refers to the disk, which outlives it. Any thread.
class LogFiles {
 public:
  /// Looks at superblocks and segment headers. `not_found` when there is no journal in `directory` ("" = the
  /// disk's root).
  [[nodiscard]] static Result<LogFiles, JournalError> look(Disk& disk, std::string directory);

  [[nodiscard]] const Uuid& cluster() const { return cluster_; }
  [[nodiscard]] const Uuid& incarnation() const { return incarnation_; }
  [[nodiscard]] const std::string& node() const { return node_; }
  /// What the oldest record present follows, and that its hash chain begins with. {0, 0} when the log begins
  /// with its first record, or has no segment yet.
  [[nodiscard]] LogPosition before() const;

  /// Gives the records `first` to `last` in order, each checked: checksum, place, chain. Ends early, and
  /// well, when `each` returns false. Views are valid during the call only. Memory: one record or 1 MiB.
  /// `not_found` when the log does not have all of them, or its files went meanwhile (a node runs on them);
  /// `corrupt` when one is damaged: those before it have been given.
  [[nodiscard]] Result<void, JournalError> walk(Lsn first, Lsn last,
                                                const std::function<bool(const Record&)>& each) const;

 private:
  struct Part {
    Lsn first{};  ///< by the file's name
    LogPosition before;
    bool whole = false;  ///< its header can be read and is of this journal
  };
  LogFiles(Disk& disk, std::string directory) : disk_(&disk), directory_(std::move(directory)) {}

  Disk* disk_;
  std::string directory_;
  Uuid cluster_, incarnation_;
  std::string node_;
  std::vector<Part> parts_;  // oldest first
};

}  // namespace mainstay::journal
