#include "journal/identity.h"

#include "journal/errors.h"

namespace mainstay::journal {

Result<Superblocks, JournalError> load_superblocks(Disk& disk, const std::string& directory) {
  Superblocks out;
  std::string damaged;
  for (unsigned copy = 0; copy < 2; ++copy) {
    const std::string path = join(directory, superblock_name(copy));
    const auto content = read_file(disk, path, kPageBytes);
    if (!content) {
      if (content.error().code != DiskErrorCode::not_found) {
        // Too long or unreadable: as good as damaged, the other copy decides.
        damaged = content.error().what;
      }
      out.repair = true;
      continue;
    }
    Superblock found;
    const PageStatus status = decode_superblock(*content, found);
    if (status == PageStatus::too_new) return too_new(disk.describe(path));
    if (status != PageStatus::ok) {
      damaged = disk.describe(path) + " is damaged";
      out.repair = true;
      continue;
    }
    if (!out.superblock) {
      out.superblock = found;
      continue;
    }
    if (!(out.superblock->identity == found.identity)) {
      return corrupt(disk.describe(path), "the two superblocks name different nodes or clusters");
    }
    if (out.superblock->in_use != found.in_use) {
      out.repair = true;
      out.superblock->in_use = true;
    }
  }
  if (!out.superblock && !damaged.empty()) {
    return corrupt(disk.describe(directory), "no superblock can be read (" + damaged + ")");
  }
  return out;
}

Result<void, JournalError> store_superblocks(Disk& disk, const std::string& directory,
                                             const Superblock& superblock) {
  const Page page = encode_superblock(superblock);
  for (unsigned copy = 0; copy < 2; ++copy) {
    if (const auto done = replace_file(disk, join(directory, superblock_name(copy)), page); !done) {
      return from_disk(done.error());
    }
  }
  return {};
}

Result<void, JournalError> check_identity(const std::string& where, const Identity& found,
                                          const JournalOptions& options) {
  if (!options.cluster.is_nil() && found.cluster != options.cluster) {
    return JournalError{JournalErrorCode::foreign,
                        where + " belongs to cluster " + found.cluster.text() + ", not to cluster " +
                            options.cluster.text() +
                            ". Point this node at its own directory, or at an empty one"};
  }
  if (!options.incarnation.is_nil() && found.incarnation != options.incarnation) {
    return JournalError{JournalErrorCode::foreign,
                        where + " has incarnation " + found.incarnation.text() + ", not " +
                            options.incarnation.text() +
                            ": it was copied here from elsewhere. Put the right directory back"};
  }
  if (!options.node.empty() && found.node != options.node) {
    return JournalError{JournalErrorCode::foreign,
                        where + " belongs to node \"" + found.node + "\", not to \"" + options.node +
                            "\". Point this node at its own directory, or at an empty one"};
  }
  return {};
}

}  // namespace mainstay::journal
