// The archive: a copy of every message outside the broker, stored before it is sent, so that what a lost
// region still held can be sent again. A directory shared by the processes of one machine.
//
// Layout: `YYYY/MM/DD/<writer>-t<term>-<n>.pack`, each written by one process, append-only, in frames of one
// stored batch (zstd, checksummed). `index.sqlite` finds entries by id and key; it is derived from the packs
// and brings itself up to date from them when opened, so a process may be killed at any instant: a torn frame
// at a pack's end was never reported as stored and is ignored for good, because nobody appends to another
// process's pack.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "ledger/sqlite_database.h"
#include "pipeline/files.h"

namespace mainstay::pipeline {

struct ArchiveEntry {
  std::string id;  ///< message id, unique in the archive
  std::string idempotency_key, content_digest, ordering_key;
  std::string source;        ///< where it came from: "file#item"
  std::uint64_t ingest = 0;  ///< order of arrival, see first_ingest()
  RegionTerm term;
  Buffer message;  ///< as sent, encoded
};

/// What the index knows of an entry: everything but the message.
struct ArchiveRow {
  std::string id, idempotency_key, content_digest, ordering_key, source;
  std::uint64_t ingest = 0;
  RegionTerm term;
};

struct ArchiveCheck {
  std::uint64_t packs = 0, entries = 0;
  std::uint64_t torn_packs = 0;       ///< packs with an unfinished frame at their end: normal after a crash
  std::vector<std::string> problems;  ///< damage: which pack, where
};

/// One thread per instance.
class Archive {
 public:
  /// Opens or creates. @param writer  name of this process in pack names; letters, digits, '-', '_', '.'.
  static Result<std::unique_ptr<Archive>, Failure> open(const std::string& directory,
                                                        const std::string& writer);

  /// Stores the entries whose id is not there yet, durably, before it returns. Entries of one call keep their
  /// order.
  Result<void, Failure> store(const std::vector<ArchiveEntry>& entries, WallTime now);
  Result<std::optional<ArchiveRow>, Failure> find(std::string_view id);
  /// The first entry that was stored with this idempotency key: another digest than yours means a conflict.
  Result<std::optional<ArchiveRow>, Failure> find_key(std::string_view idempotency_key);
  /// Reads and verifies an entry. An id that is not there is an error.
  Result<ArchiveEntry, Failure> read(std::string_view id);
  /// All entries in order of arrival. Return false to stop. The callback may call read().
  Result<void, Failure> for_each(const std::function<bool(const ArchiveRow&)>& each);
  Result<std::uint64_t, Failure> count();
  /// Indexes what other processes have stored and not (or not yet) indexed.
  Result<void, Failure> refresh();
  /// Reads every frame of every pack. An unreadable directory is an error; damage is told in the result.
  Result<ArchiveCheck, Failure> verify();

  struct Limits {
    std::uint64_t pack_bytes = 64U << 20;  ///< a larger pack is finished and a new one begun
  };
  Limits limits;

 private:
  Archive(std::string directory, std::string writer, std::unique_ptr<ledger::SqliteDatabase> index)
      : directory_(std::move(directory)), writer_(std::move(writer)), index_(std::move(index)) {}
  struct Frame {
    std::uint64_t offset = 0;
    std::vector<ArchiveEntry> entries;
  };
  Result<void, ledger::SqliteError> prepare();
  Result<void, Failure> roll_pack(const std::string& date, RegionTerm term);
  Result<void, Failure> index_frames(const std::string& pack, const std::vector<Frame>& frames,
                                     std::uint64_t end);
  Result<std::vector<std::string>, Failure> pack_names();
  /// Whole frames from `offset` on; `end` is set behind the last.
  Result<std::vector<Frame>, Failure> read_frames(const std::string& pack, std::uint64_t offset,
                                                  std::uint64_t& end, std::uint64_t& size);

  std::string directory_, writer_;
  std::unique_ptr<ledger::SqliteDatabase> index_;
  ledger::SqliteStatement find_, find_key_, locate_, add_pack_, pack_id_, add_entry_, set_indexed_, indexed_,
      count_;
  files::AppendFile pack_;
  std::string pack_name_;  ///< relative to the directory; empty: none open
  std::string pack_date_;
  RegionTerm pack_term_;
  // The last frame read: entries are mostly read in the order they were stored.
  std::string cached_pack_;
  Frame cached_;
};

}  // namespace mainstay::pipeline
