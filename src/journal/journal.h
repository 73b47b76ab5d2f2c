// The journal: one log of dense LSNs in preallocated segment files, append (orders) apart from sync (makes
// durable).
//
//   LogBuilder   gives records their LSN, epoch and place in the hash chain and gathers them into a Batch.
//   Owned by the
//                strand that decides. A batch gathers while the previous one is being synced: that is the
//                group commit.
//   Journal      writes and syncs batches, reads records back, recovers at open. Format:
//   docs/formats/journal.md.
//
// Threads: write, write_raw, sync and write_and_sync run on one thread at a time (the writer; which one it is
// may change between calls). prepare_spare, remove_before, release_space and store_checkpoint run on one
// other thread at a time, or on the writer; they never make the writer wait for their own syncs. read,
// hash_at and what says "any thread" run on any number of threads meanwhile. One that stays away from all
// others: the destructor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/result.h"
#include "journal/record.h"

namespace mainstay::journal {

enum class JournalErrorCode : std::uint8_t {
  disk_full,    ///< no space for another segment; what is preallocated can still be written
  sync_failed,  ///< fail-stop: what is durable is unknown, the node must end
  io,
  corrupt,  ///< a bad record before a good one: refused, never cut (replication-protocol.md R10)
  foreign,  ///< the directory belongs to another cluster or node
  format_too_new,
  locked,            ///< another process uses the directory
  not_found,         ///< the LSN is not in this journal (removed or not yet written)
  diverged,          ///< bytes offered do not continue this log's hash chain
  would_wait,        ///< of read_if_cached() only
  below_checkpoint,  ///< of cut_after() only (journal/cut.h)
};

/// `what` names file and offset where there is one, and what to do.
struct JournalError {
  JournalErrorCode code{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const JournalError& error, const boost::source_location& where);
/// Of a read: the disk does not give back what was written, damaged or not at all.
[[nodiscard]] inline bool is_unreadable(const JournalError& error) {
  return error.code == JournalErrorCode::corrupt || error.code == JournalErrorCode::io;
}

/// Records in LSN order, encoded, ready to be written with one write. A value: build it on one thread, write
/// it on another.
struct Batch {
  Buffer bytes;
  Lsn first{};                         ///< LSN of the first record; meaningless when empty
  std::vector<std::uint32_t> offsets;  ///< start of each record in `bytes`
  LogPosition end{};                   ///< position after the last record
  [[nodiscard]] bool empty() const { return offsets.empty(); }
  [[nodiscard]] std::size_t size() const { return offsets.size(); }
  void clear();  ///< keeps the capacity
};

/// Orders records. One owner.
class LogBuilder {
 public:
  LogBuilder(LogPosition end, Epoch epoch) : end_(end), epoch_(epoch) {}

  /// Orders a record and returns its LSN. Not durable until the batch it is in has been written and synced.
  Lsn append(RecordType type, std::span<const BytesView> body_parts);
  Lsn append(RecordType type, BytesView body) { return append(type, std::span(&body, 1)); }
  [[nodiscard]] LogPosition end() const { return end_; }
  [[nodiscard]] Epoch epoch() const { return epoch_; }
  /// From the next record on; epochs never go back.
  void start_epoch(Epoch epoch);
  [[nodiscard]] const Batch& gathering() const { return batch_; }
  /// Hands over what has gathered and starts a new batch in `recycled` (cleared, its capacity reused unless
  /// it is more than 8 MiB and four times what is handed over).
  Batch take(Batch recycled = {});

 private:
  LogPosition end_;
  Epoch epoch_;
  Batch batch_;
};

/// A log that is far behind another one is filled from it, and disk and memory are short on both sides.
enum class CatchUp : std::uint8_t {
  none,   ///< small batches are synced into segments that were written with zeros
  gives,  ///< the other log is filled from this one: segments are only allocated ahead of use, and large
          ///< batches go past the page cache
  takes,  ///< the same, and what small batches leave in the page cache is not read soon: it is let go
};

struct JournalOptions {
  Uuid cluster{};  ///< refuses a directory of another one; nil = accept what is there, draw one for a new one
  std::string node{};  ///< name of this node, ≤ 255 bytes; refuses a directory of another; "" = accept any
  std::uint64_t segment_bytes =
      64ULL << 20;  ///< file length, 64 KiB to 1 GiB; a record larger than a segment gets one of its own size
  /// Kept ready ahead of use, at least 1: made by prepare_spare(), or segments that remove_before() dropped.
  std::uint32_t spare_segments = 1;
  /// A log that grows and shrinks by many segments at a time keeps up to so many that it dropped: until it
  /// has as many files again as it had segments at most lately, less one for each removal since. Overwriting
  /// one costs half of what making one costs, which is to write all of it with zeros first. What is removed
  /// beyond that goes back to the file system. At least spare_segments count.
  std::uint32_t spare_segments_max = 0;
  /// Files that go back to the file system are cut from their end by so many bytes with each release_space(),
  /// instead of being removed by remove_before() at once. 0: at once. Freeing a file's blocks makes the syncs
  /// of others wait: tens of milliseconds for 64 MiB on a file system that discards blocks as it frees them.
  std::uint64_t release_step_bytes = 0;
  /// False: a segment's file is never written again once the next segment has begun, whatever becomes of it.
  /// For files that have a second name in another log (copy_log.h); release_step_bytes must be 0 then.
  bool reuse_segments = true;
  /// Of a journal that is made here, whose incarnation would be drawn otherwise; refuses a directory of
  /// another one. nil: any.
  Uuid incarnation{};
  /// Longest record (journal::record_bytes of its body) that room() has to reckon with. Longer ones can be
  /// written too, but may need space beyond room().
  std::uint64_t record_bytes_max = (1ULL << 20) + (64ULL << 10);
};

/// What open() found and did. For logs, `verify` and tests.
struct RecoveryReport {
  LogPosition end{};
  Lsn first{};                      ///< oldest record present; end.lsn + 1 when the log is empty
  Epoch epoch{};                    ///< of the last record
  std::uint64_t records_scanned{};  ///< read and checked, one by one
  /// In older segments, of which only header and index were looked at: what they hold is checked when it is
  /// read, and by verify().
  std::uint64_t records_not_scanned{};
  std::uint64_t torn_bytes{};    ///< cut from the tail and moved to quarantine
  std::uint64_t torn_records{};  ///< whole records among them: written, never known to be durable
  std::string quarantine_file;   ///< empty when nothing was cut
};

/// One node's log on disk.
class Journal {
 public:
  virtual ~Journal() = default;

  /// Opens or creates the journal in `directory` ("" = the disk's root): takes the directory's lock, checks
  /// that the segments follow each other, reads the records from the segment on that holds `replay_after` + 1
  /// (at least the last segment) and checks their checksums, density and hash chain, cuts a torn tail into
  /// quarantine/, refuses corruption. A refused directory is left as it was. `not_found` when the log begins
  /// behind `replay_after` + 1: the state to build on is missing. With `replay_after` 0 every record is
  /// read.
  /// @param replay  called for each record with lsn > replay_after, in order; views are valid during the call
  /// only.
  [[nodiscard]] static Result<std::unique_ptr<Journal>, JournalError> open(
      Disk& disk, const std::string& directory, const JournalOptions& options, Random& random,
      Lsn replay_after, const std::function<void(const Record&)>& replay);

  [[nodiscard]] virtual const RecoveryReport& recovery() const = 0;
  /// Random id given to this disk when the journal was created (replication-protocol.md: incarnation).
  [[nodiscard]] virtual Uuid incarnation() const = 0;
  [[nodiscard]] virtual Uuid cluster() const = 0;
  [[nodiscard]] virtual const std::string& node() const = 0;

  /// Writes a batch after the last written one (the batch must continue the chain: asserted). Fills the
  /// current segment, then goes on in the spare one; a record never spans two. Within room() it needs no new
  /// space, so it cannot meet a full disk. Beyond room() it allocates before it writes anything: `disk_full`
  /// leaves the log as it was and the same batch may be written again later. (To a leader it is final all the
  /// same when it cannot wait: it has decided these records.) Any other failure is final.
  [[nodiscard]] virtual Result<void, JournalError> write(const Batch& batch) = 0;
  /// Makes all written batches durable: one fdatasync. A failure is final: this and every later call of
  /// write, write_raw, sync, prepare_spare, remove_before, release_space and store_checkpoint gives the same
  /// error, the node stops. With nothing new to sync it makes the durable mark itself durable
  /// (docs/formats/journal.md), worth doing when idle.
  [[nodiscard]] virtual Result<void, JournalError> sync() = 0;
  /// write() and sync() in one. As long as the current segment has space it allocates no memory and asks the
  /// system for one write and one fdatasync.
  [[nodiscard]] virtual Result<void, JournalError> write_and_sync(const Batch& batch) = 0;
  /// Part of this log in a catch-up from now on, CatchUp::none at first. The writer's thread.
  virtual void expect(CatchUp part) = 0;
  /// Writes the durable mark of the last sync, if it is not written yet, and lets the disk begin with it.
  /// To be called once those who waited for the sync have their answers: the mark is then neither in their
  /// way nor in the next sync's. Left out, the next write or sync does it first. A failure is final.
  [[nodiscard]] virtual Result<void, JournalError> note_durable() = 0;
  /// Position up to which everything is written / durable. Any thread.
  [[nodiscard]] virtual LogPosition written() const = 0;
  [[nodiscard]] virtual LogPosition durable() const = 0;

  /// Appends records received from another region, byte-identical. `raw` holds whole records. Checks
  /// checksums, density and chain before writing anything; `diverged`, `corrupt` or `disk_full` leaves the
  /// log as it was.
  [[nodiscard]] virtual Result<void, JournalError> write_raw(BytesView raw) = 0;

  /// Appends to `to` the raw bytes of whole records from `first` on: at least one record when `first` ≤
  /// durable, then as many as fit in `bytes_max`, none after `last`. @return LSN after the last one appended.
  /// `not_found` when `first` was removed; `corrupt` when the disk gives something else than was written
  /// (every record read is checked). Nothing is appended then. Going on where another read() ended costs one
  /// read from the file for each segment touched; elsewhere up to 8 KiB more are read to find the record. Any
  /// thread.
  [[nodiscard]] virtual Result<Lsn, JournalError> read(Lsn first, Lsn last, std::size_t bytes_max,
                                                       Buffer& to) = 0;
  /// As read(), unless the disk would have to be waited for: `would_wait` then, nothing is appended. Any
  /// thread.
  [[nodiscard]] virtual Result<Lsn, JournalError> read_if_cached(Lsn first, Lsn last, std::size_t bytes_max,
                                                                 Buffer& to) = 0;
  /// As read(), of what nobody will read again soon: takes none of the memory in which the system keeps what
  /// is read often. Any thread.
  [[nodiscard]] virtual Result<Lsn, JournalError> read_once(Lsn first, Lsn last, std::size_t bytes_max,
                                                            Buffer& to) = 0;
  /// Checksum of the record at `lsn` (0 for LSN 0), which is durable or the one before the oldest present.
  /// Any thread.
  [[nodiscard]] virtual Result<std::uint64_t, JournalError> hash_at(Lsn lsn) = 0;

  /// Bytes of records (each ≤ record_bytes_max, padding included) that write() can take without allocating
  /// anything, however they are cut: what is left of the current segment plus the spare ones, less what
  /// rolling may waste. The node admits publishes only while what is under way
  /// fits in room() less its settlement reserve: so a full disk refuses publishes early, and settlements
  /// never. Any thread.
  [[nodiscard]] virtual std::uint64_t room() const = 0;
  /// Fewer spare segments are ready than the options ask for, or, with CatchUp::none, some of them were only
  /// allocated. Any thread.
  [[nodiscard]] virtual bool wants_spare() const = 0;
  /// Prepares one more spare segment if wants_spare(): one that was set aside and is still whole, or a new
  /// one that is allocated and written with zeros (or, during a catch-up, only allocated:
  /// then its syncs have metadata to write, and half as much goes to the disk). Slow. `disk_full` leaves
  /// everything as it was; call again later. @return true when there was something to do.
  [[nodiscard]] virtual Result<bool, JournalError> prepare_spare() = 0;
  /// Drops whole segments that hold only records before `lsn`, but never what the older of the two kept
  /// checkpoints has to replay; without a checkpoint nothing. They become spares as far as the
  /// options say (their old records stay in the file and are never taken for new ones), else they are
  /// deleted, or, with release_step_bytes, set aside for release_space().
  [[nodiscard]] virtual Result<void, JournalError> remove_before(Lsn lsn) = 0;
  /// What each segment holds, oldest first, without a gap, up to what is written. Any thread; no I/O.
  struct Extent {
    Lsn first{};
    Lsn last{};
    std::uint64_t record_bytes{};
  };
  [[nodiscard]] virtual std::vector<Extent> extents() const = 0;
  /// There is something for release_space() to do. Any thread.
  [[nodiscard]] virtual bool wants_release() const = 0;
  /// Bytes of files that wait for release_space(); prepare_spare() takes whole ones back. Any thread.
  [[nodiscard]] virtual std::uint64_t set_aside_bytes() const = 0;
  /// Gives up to release_step_bytes of files that remove_before() set aside back to the file system. Whoever
  /// calls it decides how much time lies between two steps. @return true when there was something to do.
  [[nodiscard]] virtual Result<bool, JournalError> release_space() = 0;
  /// Bytes of records in the log / of all files of segments, spares and what is being given back. Any
  /// thread.
  [[nodiscard]] virtual std::uint64_t record_bytes_total() const = 0;
  [[nodiscard]] virtual std::uint64_t disk_bytes() const = 0;

  /// Stores the state at `lsn` (durable: asserted) atomically beside the log; the two newest are kept. The
  /// file is written and synced in pieces. `disk_full` leaves things as they were.
  [[nodiscard]] virtual Result<void, JournalError> store_checkpoint(Lsn lsn, BytesView state) = 0;
  struct Checkpoint {
    Lsn lsn{};
    Buffer state;
  };
  /// The newest checkpoint that is whole; with `skip` the one that many further back, for a state that turns
  /// out to be unusable. Damaged ones are passed over and do not count. None: LSN 0, empty. Call it before
  /// open() to know `replay_after`; open() refuses a log that ends before a checkpoint.
  [[nodiscard]] static Result<Checkpoint, JournalError> load_checkpoint(Disk& disk,
                                                                        const std::string& directory,
                                                                        std::size_t skip = 0);
};

/// Checks a journal offline, without a lock's owner, without changing anything.
struct VerifyReport {
  bool ok{};
  LogPosition end{};
  Lsn first{};
  std::uint64_t records{};
  std::uint64_t segments{};
  std::uint64_t torn_bytes{};         ///< a tail that open() would cut
  std::vector<std::string> problems;  ///< each names file and offset and says what to do
};
[[nodiscard]] VerifyReport verify(Disk& disk, const std::string& directory,
                                  const std::function<void(const Record&)>& each = {});

}  // namespace mainstay::journal
