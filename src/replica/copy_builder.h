// A full copy of another node's log and state (group/full_copy.h) as it grows on this node's disk, beside the
// log it has, and how it takes that one's place.
//
//   copy/plan    what it consists of; a copy without one is none
//   copy/root    the checkpoint's content, until it is stored as a checkpoint
//   copy/new/    a data directory like the node's own, with an incarnation of its own
//   installing   there: the copy is whole and checked, and takes the place of what is here. Only forward
//   setting-aside  there: what is here goes into the directory of quarantine/ that it names. Only forward
//
// Blocking; one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/disk.h"
#include "base/random.h"
#include "base/result.h"
#include "group/full_copy.h"
#include "journal/journal.h"

namespace mainstay::replica {

class CopyBuilder {
 public:
  /// Removes what is left of an earlier copy and begins one. Fails when the disk has no space for all of it.
  [[nodiscard]] static Result<std::unique_ptr<CopyBuilder>, Failure> begin(
      Disk& disk, const group::CopyPlan& plan, const journal::JournalOptions& options, Random& random);
  /// Goes on with what is there: nullptr when there is nothing that could be gone on with.
  [[nodiscard]] static Result<std::unique_ptr<CopyBuilder>, Failure> resume(
      Disk& disk, const journal::JournalOptions& options, Random& random);
  ~CopyBuilder();

  [[nodiscard]] const group::CopyPlan& plan() const;
  [[nodiscard]] group::CopyPlace place() const;  ///< what it lacks next
  /// What belongs at place(). Records are checked against the log they continue; all else by finish().
  /// @return the next place
  [[nodiscard]] Result<group::CopyPlace, Failure> put(const group::CopyPlace& at, BytesView bytes);
  /// @pre nothing is lacking. Reads all of it back: every record with its place in the chain up to the plan's
  /// end, every page, and the state's hash. Then it may be installed. Takes as long as reading it.
  [[nodiscard]] Result<void, Failure> finish();

 private:
  struct Impl;
  explicit CopyBuilder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Removes copy/, whatever is in it. Not while a CopyBuilder is there.
[[nodiscard]] Result<void, Failure> forget_copy(Disk& disk);

/// After CopyBuilder::finish(), with nobody using the directory: takes over what this node has promised, and
/// decides that the copy takes the place of what is here. From here on finish_install() must come before
/// anything else, also after a crash.
[[nodiscard]] Result<void, Failure> begin_install(Disk& disk);

struct Installed {
  Lsn end{};                      ///< of the copy
  std::uint64_t removed_files{};  ///< of the log and state that were here
};
/// At each start, before the directory is looked at. Nothing: there was nothing to install. Removes the log
/// and state that were here: @pre of begin_install() is that all of it is a prefix of the leader's. Other
/// files (quarantine, strangers') stay. A crash at any moment is mended by the next call.
[[nodiscard]] Result<std::optional<Installed>, Failure> finish_install(Disk& disk);

/// Whether damage is why a recovery failed: the log is damaged, or so is the state and no checkpoint can be
/// used. Reads all of both; changes nothing.
[[nodiscard]] bool is_damaged(Disk& disk);

struct SetAside {
  std::string directory;  ///< where all of it is now: quarantine/damaged-<n>
};
/// Moves the log, the state and the promises that are here into a directory of quarantine/, and leaves
/// everything else: what remains is a new disk. For a log that is damaged before good records while others
/// have it. Decided by one small file, `setting-aside`: from there on only forward, also after a crash.
[[nodiscard]] Result<SetAside, Failure> set_aside(Disk& disk);
/// At each start, before the directory is looked at. Nothing: nothing was being set aside. What a crash has
/// left of a log would be whole to look at, and lack its beginning.
[[nodiscard]] Result<std::optional<SetAside>, Failure> finish_set_aside(Disk& disk);

}  // namespace mainstay::replica
