// Opening a journal: whose directory it is, then recovery, then a running DiskJournal.
#include "journal/journal.h"

#include <utility>

#include "base/assert.h"
#include "journal/checkpoint.h"
#include "journal/disk_journal.h"
#include "journal/errors.h"
#include "journal/format.h"
#include "journal/identity.h"
#include "journal/recovery.h"

namespace mainstay::journal {
namespace {

Result<void, JournalError> check_options(const JournalOptions& options) {
  if (options.segment_bytes < kSegmentBytesMin || options.segment_bytes > kSegmentBytesMax ||
      options.segment_bytes % kPageBytes != 0) {
    return JournalError{JournalErrorCode::io, "segment_bytes is " + std::to_string(options.segment_bytes) +
                                                  ": give a multiple of 4096 between 64 KiB and 1 GiB"};
  }
  if (options.node.size() > kNodeNameBytesMax) {
    return JournalError{JournalErrorCode::io, "the node's name is longer than 255 bytes"};
  }
  MS_ASSERT(options.reuse_segments || options.release_step_bytes == 0,
            "cutting a file that is no longer needed would cut it under its other name, too");
  return {};
}

}  // namespace

Result<std::unique_ptr<Journal>, JournalError> Journal::open(
    Disk& disk, const std::string& directory, const JournalOptions& options, Random& random, Lsn replay_after,
    const std::function<void(const Record&)>& replay) {
  if (const auto done = check_options(options); !done) return done.error();
  if (!directory.empty()) {
    if (const auto done = disk.make_directory(directory); !done) return from_disk(done.error());
    for (std::size_t slash = directory.rfind('/');; slash = directory.rfind('/', slash - 1)) {
      const std::string parent = slash == std::string::npos ? "" : directory.substr(0, slash);
      if (const auto done = disk.sync_directory(parent); !done) return from_disk(done.error());
      if (parent.empty()) break;
    }
  }
  auto lock = disk.lock(join(directory, "lock"));
  if (!lock) return from_disk(lock.error());

  auto found = load_superblocks(disk, directory);
  if (!found) return found.error();
  if (!found->superblock) {
    const auto names = disk.list(directory);
    if (!names) return from_disk(names.error());
    for (const std::string& name : *names) {
      if (parse_segment_name(name) || parse_checkpoint_name(name)) {
        return corrupt(disk.describe(directory), "there are journal files but no superblock");
      }
    }
    found->superblock =
        Superblock{{options.cluster.is_nil() ? random.uuid() : options.cluster,
                    options.incarnation.is_nil() ? random.uuid() : options.incarnation, options.node},
                   false};
    found->repair = true;
  }
  const Superblock superblock = *found->superblock;
  if (const auto done = check_identity(disk.describe(directory), superblock.identity, options); !done) {
    return done.error();
  }
  auto recovered = recover(disk, directory, superblock.identity, superblock.in_use, options.segment_bytes,
                           replay_after, replay);
  if (!recovered) return recovered.error();
  if (found->repair) {
    if (const auto done = store_superblocks(disk, directory, superblock); !done) return done.error();
  }
  auto journal =
      std::make_unique<DiskJournal>(disk, directory, options, superblock.identity, std::move(*lock));
  if (const auto done = journal->start(std::move(*recovered)); !done) return done.error();
  if (!superblock.in_use) {
    if (const auto done = store_superblocks(disk, directory, {superblock.identity, true}); !done) {
      return done.error();
    }
  }
  return std::unique_ptr<Journal>(std::move(journal));
}

Result<Journal::Checkpoint, JournalError> Journal::load_checkpoint(Disk& disk, const std::string& directory,
                                                                   std::size_t skip) {
  const auto names = disk.list(directory);
  if (!names) {
    if (names.error().code == DiskErrorCode::not_found) return Checkpoint{};
    return from_disk(names.error());
  }
  for (const Lsn lsn : checkpoints_in(*names)) {
    auto state = read_checkpoint_state(disk, directory, lsn);
    if (!state) return state.error();
    if (*state && skip-- == 0) return Checkpoint{lsn, std::move(**state)};
  }
  return Checkpoint{};
}

}  // namespace mainstay::journal
