#include "journal/begin.h"

#include "base/assert.h"
#include "journal/errors.h"
#include "journal/format.h"
#include "journal/identity.h"

namespace mainstay::journal {

Result<void, JournalError> begin_after(Disk& disk, const std::string& directory,
                                       const JournalOptions& options, Random& random, LogPosition before) {
  MS_ASSERT(!options.cluster.is_nil(), "a log that is copied is of a cluster that is known");
  if (const auto done = disk.make_directory(directory); !done) return from_disk(done.error());
  for (std::string at = directory; !at.empty();) {
    const std::size_t slash = at.rfind('/');
    at = slash == std::string::npos ? "" : at.substr(0, slash);
    if (const auto done = disk.sync_directory(at); !done) return from_disk(done.error());
  }
  const auto names = disk.list(directory);
  if (!names) return from_disk(names.error());
  for (const std::string& name : *names) {
    if (is_journal_file(name)) {
      return JournalError{JournalErrorCode::foreign,
                          disk.describe(directory) + " holds a journal already (" + name + ")"};
    }
  }
  const Identity identity{options.cluster, random.uuid(), options.node};
  SegmentHeader header;
  header.identity = identity;
  header.first = before.lsn.next();
  header.hash_before = before.hash;
  header.segment_bytes = options.segment_bytes;
  header.index_bytes = index_bytes(options.segment_bytes);
  const std::string path = join(directory, segment_name(header.first));
  const std::string fresh = path + ".new";
  const auto file = disk.open(fresh, OpenMode::create);
  if (!file) return from_disk(file.error());
  if (const auto done = (*file)->preallocate(options.segment_bytes); !done) return from_disk(done.error());
  if (const auto done = (*file)->write(0, encode_segment_header(header)); !done) {
    return from_disk(done.error());
  }
  if (const auto done = (*file)->sync(); !done) return sync_failed(done.error());
  // The superblocks first: a segment without them is refused, they without a segment are a new journal's,
  // which must not begin with another record.
  if (const auto done = store_superblocks(disk, directory, {identity, true}); !done) return done.error();
  if (const auto done = disk.rename(fresh, path); !done) return from_disk(done.error());
  if (const auto done = disk.sync_directory(directory); !done) return sync_failed(done.error());
  return {};
}

bool is_journal_file(std::string_view name) {
  return parse_segment_name(name) || parse_checkpoint_name(name) || parse_spare_name(name) ||
         name == superblock_name(0) || name == superblock_name(1) || is_unfinished(name) ||
         is_discarded(name);
}

}  // namespace mainstay::journal
