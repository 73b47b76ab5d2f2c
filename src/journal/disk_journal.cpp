#include "journal/disk_journal.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/assert.h"
#include "journal/checkpoint.h"
#include "journal/errors.h"
#include "journal/scan.h"

namespace mainstay::journal {

DiskJournal::DiskJournal(Disk& disk, std::string directory, const JournalOptions& options, Identity identity,
                         std::unique_ptr<DiskLock> lock)
    : disk_(disk),
      directory_(std::move(directory)),
      options_(options),
      identity_(std::move(identity)),
      lock_(std::move(lock)),
      table_(disk, directory_),
      spares_(disk, directory_),
      discarded_(disk, directory_) {
  options_.spare_segments = std::max<std::uint32_t>(1, options_.spare_segments);
}

Result<void, JournalError> DiskJournal::start(Recovered recovered) {
  report_ = std::move(recovered.report);
  spares_.start(std::move(recovered.spares), recovered.next_spare_number);
  discarded_.start(std::move(recovered.discarded));
  while (options_.release_step_bytes == 0 && !discarded_.empty()) {
    if (const auto done = discarded_.release(UINT64_MAX); !done) return done.error();
  }
  epoch_ = report_.epoch;
  table_.start(std::move(recovered.segments), report_.end);
  if (table_.empty()) {
    report_.first = Lsn{1};
    if (spares_.count() == 0) {
      if (auto made = spares_.make(options_.segment_bytes, written_ahead()); made) {
        spares_.put(std::move(*made));
      } else {
        return made.error();
      }
    }
    if (const auto done = put_to_use(spares_.take(), {}, {}); !done) return done.error();
  } else if (const auto done = write_mark(); !done) {
    return done.error();
  }
  note_free();
  return {};
}

// --- The first failure, after which nothing more is written

JournalError DiskJournal::fail(JournalError error) {
  const std::lock_guard hold(failure_mutex_);
  if (!failure_) failure_ = error;
  has_failed_ = true;
  return error;
}

template <class T>
JournalError DiskJournal::fail_if_final(const Result<T, JournalError>& failed) {
  return failed.error().code == JournalErrorCode::sync_failed ? fail(failed.error()) : failed.error();
}

std::optional<JournalError> DiskJournal::failure() const {
  if (!has_failed_) return std::nullopt;
  const std::lock_guard hold(failure_mutex_);
  return failure_;
}

// --- Writing

Result<void, JournalError> DiskJournal::write(const Batch& batch) {
  if (auto failed = failure()) return *std::move(failed);
  if (batch.empty()) return {};
  return append({batch.bytes, batch.offsets, batch.first, batch.end});
}

Result<void, JournalError> DiskJournal::sync() {
  if (auto failed = failure()) return *std::move(failed);
  if (!dirty_) {
    if (mark_due_) {
      if (auto done = write_mark(); !done) return done;
    }
    if (!mark_dirty_) return {};
  }
  return sync_current();
}

Result<void, JournalError> DiskJournal::write_and_sync(const Batch& batch) {
  if (auto done = write(batch); !done) return done;
  return sync();
}

Result<void, JournalError> DiskJournal::note_durable() {
  if (auto failed = failure()) return *std::move(failed);
  if (!mark_due_) return {};
  if (auto done = write_mark(); !done) return done;
  table_.current().opened->file->start_writing(kMarksAt, kPageBytes);
  return {};
}

Result<void, JournalError> DiskJournal::write_raw(BytesView raw) {
  if (auto failed = failure()) return *std::move(failed);
  MS_ASSERT(raw.size() <= UINT32_MAX, "a connection hands over less than 4 GiB at once");
  raw_offsets_.clear();
  const LogPosition before = table_.written();
  RecordWalk walk(raw, 0, before, epoch_);
  Record record;
  for (std::size_t at = 0; walk.next(record); at = walk.offset()) {
    raw_offsets_.push_back(static_cast<std::uint32_t>(at));
  }
  if (walk.offset() != raw.size()) {
    const bool misfit = walk.reason() == StopReason::wrong_lsn ||
                        walk.reason() == StopReason::wrong_previous ||
                        walk.reason() == StopReason::wrong_epoch;
    return JournalError{misfit ? JournalErrorCode::diverged : JournalErrorCode::corrupt,
                        "received records do not continue LSN " + std::to_string(walk.end().lsn.value) +
                            ": " + describe(walk.reason()) + " (offset " + std::to_string(walk.offset()) +
                            " of " + std::to_string(raw.size()) + " received bytes, its LSN " +
                            std::to_string(walk.misfit().lsn.value) + ")"};
  }
  if (raw_offsets_.empty()) return {};
  return append({raw, raw_offsets_, before.lsn.next(), walk.end()});
}

Result<void, JournalError> DiskJournal::append(const Encoded& records) {
  const LogPosition before = table_.written();
  MS_ASSERT(records.first == before.lsn.next() && records.lsn_of(0) == records.first &&
                records.previous_of(0) == before.hash &&
                records.end.lsn.value + 1 == records.first.value + records.count() &&
                records.epoch_of(0) >= epoch_,
            "batches are written in the order in which they were built");
  if (mark_due_) {  // before the records: their sync is the one that makes it durable
    if (auto done = write_mark(); !done) return done;
  }
  std::size_t at = records.fitting(0, table_.current().free_bytes());
  if (at < records.count()) {
    if (const auto done = provide_segments(records, at); !done) return done.error();
  }
  if (at > 0) {
    if (const auto done = write_chunk(records, 0, at); !done) return done.error();
  }
  while (at < records.count()) {
    if (const auto done = roll(records, at); !done) return done.error();
    const std::size_t behind = records.fitting(at, table_.current().free_bytes());
    MS_ASSERT(behind > at, "a new segment holds the record it was taken for");
    if (const auto done = write_chunk(records, at, behind); !done) return done.error();
    at = behind;
  }
  return {};
}

/// Makes the segments that the records from `from` on need, before any of them is written: so a full disk
/// leaves the log as it was.
Result<void, JournalError> DiskJournal::provide_segments(const Encoded& records, std::size_t from) {
  const std::uint64_t capacity = segment_capacity(options_.segment_bytes);
  std::size_t spares = 0;
  std::vector<Spare> large;
  std::optional<JournalError> failure;
  for (std::size_t at = from; at < records.count() && !failure;) {
    std::uint64_t room = capacity;
    if (records.bytes_of(at) > capacity) {
      auto made = spares_.make(file_bytes_for(records.bytes_of(at)), written_ahead());
      if (made) {
        room = segment_capacity(made->bytes);
        large.push_back(std::move(*made));
      } else {
        failure = fail_if_final(made);
      }
    } else if (++spares > spares_.count()) {
      if (auto made = spares_.make(options_.segment_bytes, written_ahead()); made) {
        spares_.put(std::move(*made));
      } else {
        failure = fail_if_final(made);
      }
    }
    at = records.fitting(at, room);
  }
  if (failure) {
    for (const Spare& spare : large) static_cast<void>(spares_.remove(spare));
    return *failure;
  }
  large_ = std::move(large);
  return {};
}

Result<void, JournalError> DiskJournal::write_chunk(const Encoded& records, std::size_t from,
                                                    std::size_t behind) {
  Segment& segment = table_.current();
  const std::uint64_t begin = records.begin_of(from);
  const std::uint64_t bytes = records.begin_of(behind) - begin;
  dirty_ = true;
  File& file = *segment.opened->file;
  const BytesView raw = records.bytes.subspan(begin, bytes);
  const auto done = catch_up_ != CatchUp::none ? file.write_unread(segment.end_offset, raw)
                                               : file.write(segment.end_offset, raw);
  if (!done) {
    // A part may stand there now. Recovery will see to it, nothing may be written behind it.
    return fail(from_disk(done.error()));
  }
  table_.wrote(records, from, behind);
  epoch_ = records.epoch_of(behind - 1);
  note_free();
  return {};
}

/// Makes everything written durable, then goes on in a fresh segment that begins with record `at`. The order
/// is what lets recovery conclude from a segment's existence that all before it was durable.
Result<void, JournalError> DiskJournal::roll(const Encoded& records, std::size_t at) {
  if (const auto done = seal_current(); !done) return done.error();
  Spare spare;
  if (records.bytes_of(at) > segment_capacity(options_.segment_bytes)) {
    MS_ASSERT(!large_.empty(), "made by provide_segments()");
    spare = std::move(large_.front());
    large_.erase(large_.begin());
  } else {
    spare = spares_.take();
  }
  return put_to_use(std::move(spare), table_.written(), records.epoch_of(at));
}

/// Nothing is written behind the last record any more: stores where records are, with them.
Result<void, JournalError> DiskJournal::seal_current() {
  Segment& segment = table_.current();
  if (segment.empty()) return {};
  if (segment.header.index_bytes > 0) {
    const Buffer index =
        encode_index(segment.opened->index, segment.header, {segment.end, epoch_, segment.end_offset});
    if (const auto done = segment.opened->file->write(segment.header.records_end(), index); !done) {
      return fail(from_disk(done.error()));
    }
  }
  if (const auto done = segment.opened->file->sync(); !done) return fail(sync_failed(done.error()));
  dirty_ = false;
  let_go();
  let_go_from_ = 0;
  // No mark: the next segment's existence will say it.
  table_.set_durable();
  return {};
}

Result<void, JournalError> DiskJournal::put_to_use(Spare spare, LogPosition before, Epoch epoch) {
  auto segment = std::make_shared<Segment>();
  segment->path = join(directory_, segment_name(before.lsn.next()));
  segment->header = {identity_,   before.lsn.next(),        before.hash,   epoch,
                     spare.bytes, index_bytes(spare.bytes), spare.recycled};
  segment->end = before;
  segment->opened = std::make_shared<OpenSegment>();
  segment->opened->index.reserve(spare.bytes);
  segment->opened->file = std::move(spare.file);
  File& file = *segment->opened->file;
  // Header and blank marks: a file that was used before has old ones.
  const Page header = encode_segment_header(segment->header);
  std::array<std::byte, kRecordsAt> front{};
  std::copy(header.begin(), header.end(), front.begin());
  if (const auto done = file.write(0, front); !done) return fail(from_disk(done.error()));
  if (const auto done = file.sync(); !done) return fail(sync_failed(done.error()));
  if (const auto done = disk_.rename(spare.path, segment->path); !done) return fail(from_disk(done.error()));
  if (const auto done = disk_.sync_directory(directory_); !done) return fail(sync_failed(done.error()));
  table_.add(std::move(segment));
  mark_slot_ = 0;
  mark_due_ = false;
  mark_dirty_ = false;
  note_free();
  return {};
}

Result<void, JournalError> DiskJournal::sync_current() {
  const bool had_records = dirty_;
  if (const auto done = table_.current().opened->file->sync(); !done) return fail(sync_failed(done.error()));
  dirty_ = false;
  mark_dirty_ = false;
  if (!had_records) return {};
  let_go();
  table_.set_durable();
  mark_due_ = true;
  return {};
}

/// After a sync of the current segment. New pages cost more than pages that were used just now (where a
/// hypervisor takes free memory back: many times more), so a writer that lets go of what it wrote is quicker.
void DiskJournal::let_go() {
  const Segment& segment = table_.current();
  // Always from where it began: the system lets go of whole pages, which may be larger than what was written.
  if (catch_up_ != CatchUp::takes) {
    let_go_from_ = segment.end_offset;
  } else if (segment.end_offset > let_go_from_) {
    segment.opened->file->not_read_soon(let_go_from_, segment.end_offset - let_go_from_);
  }
}

/// Notes in the segment what is durable. Not synced: it rides along with the next sync. A process that is
/// killed leaves it in the page cache; only the machine's end can lose it.
Result<void, JournalError> DiskJournal::write_mark() {
  Segment& segment = table_.current();
  const auto mark = encode_mark({table_.durable()}, segment.header.first);
  if (const auto done = segment.opened->file->write(mark_at(mark_slot_++), mark); !done) {
    return fail(from_disk(done.error()));
  }
  mark_due_ = false;
  mark_dirty_ = true;
  return {};
}

// --- Space

void DiskJournal::note_free() {
  free_.store(table_.current().free_bytes(), std::memory_order_release);
}

/// The largest total of records, each at most `longest`, that fits whatever their lengths and order: one byte
/// less than the smallest total that does not.
std::uint64_t DiskJournal::room() const {
  const std::uint64_t left = free_.load(std::memory_order_acquire);
  const std::uint64_t spares = spares_.count();
  if (spares == 0) return left;
  const std::uint64_t capacity = segment_capacity(options_.segment_bytes);
  const std::uint64_t longest = std::min(options_.record_bytes_max, capacity);
  // Records that do not fit fill all segments but the last to within `longest` - 8, and more than the last.
  const std::uint64_t in_current = left + 8 > longest ? left + 8 - longest : 0;
  const std::uint64_t by_waste = in_current + (spares - 1) * (capacity + 8 - longest) + capacity;
  // Two neighbouring segments together hold more than the capacity of one.
  const std::uint64_t by_pairs = (spares + 1) / 2 * capacity;
  return std::max({left, by_waste, by_pairs});
}

Result<bool, JournalError> DiskJournal::prepare_spare() {
  if (auto failed = failure()) return *std::move(failed);
  if (!wants_spare()) return false;
  if (const std::string path = discarded_.take_whole(options_.segment_bytes); !path.empty()) {
    auto recycled = spares_.recycle(path, options_.segment_bytes);
    if (!recycled) return fail(recycled.error());
    spares_.put(std::move(*recycled));
    return true;
  }
  const bool enough = spares_.count() >= options_.spare_segments;
  auto made = spares_.make(options_.segment_bytes, written_ahead());
  if (!made && enough && made.error().code == JournalErrorCode::disk_full) {
    spares_.accept_unwritten();
    return true;
  }
  if (!made) return fail_if_final(made);
  spares_.put(std::move(*made));
  if (!enough) return true;
  // In the place of one that was made during a catch-up.
  if (const auto replaced = spares_.take_unwritten()) {
    if (auto removed = spares_.remove(*replaced); !removed) return fail_if_final(removed);
  }
  return true;
}

Result<void, JournalError> DiskJournal::remove_before(Lsn lsn) {
  if (auto failed = failure()) return *std::move(failed);
  const auto names = disk_.list(directory_);
  if (!names) return from_disk(names.error());
  const std::vector<Lsn> checkpoints = checkpoints_in(*names);
  if (checkpoints.empty()) return {};
  const Lsn oldest_kept = checkpoints[std::min<std::size_t>(1, checkpoints.size() - 1)];
  const Lsn before = std::min(lsn, oldest_kept.next());
  bool any = false;
  std::size_t live = table_.count();
  // One at a time, each made durable: a gap in the chain must not be able to appear.
  while (const auto segment = table_.take_oldest_before(before)) {
    // Less by one at a time: a burst often goes in several removals, and the next one wants it all again.
    if (!std::exchange(any, true)) live_most_ = std::max(live, live_most_ > 0 ? live_most_ - 1 : 0);
    --live;
    // To grow as long again, with the spares that are kept ready ahead of it.
    const std::size_t growing = live_most_ + options_.spare_segments - std::min(live, live_most_);
    const std::size_t kept = std::max<std::size_t>(
        options_.spare_segments, std::min<std::size_t>(growing, options_.spare_segments_max));
    // A file that somebody still reads is not written over.
    if (options_.reuse_segments && spares_.count() < kept &&
        segment->header.segment_bytes == options_.segment_bytes && segment.use_count() == 1) {
      auto spare = spares_.recycle(segment->path, segment->header.segment_bytes);
      if (!spare) return fail(spare.error());
      spares_.put(std::move(*spare));
      continue;
    }
    // A file that somebody still reads must keep its length.
    if (options_.release_step_bytes > 0 && segment.use_count() == 1) {
      if (const auto done = discarded_.add(segment->path, segment->header.segment_bytes); !done) {
        return fail(done.error());
      }
      continue;
    }
    if (const auto done = disk_.remove(segment->path); !done) return fail(from_disk(done.error()));
    if (const auto done = disk_.sync_directory(directory_); !done) return fail(sync_failed(done.error()));
  }
  return {};
}

Result<bool, JournalError> DiskJournal::release_space() {
  if (auto failed = failure()) return *std::move(failed);
  if (discarded_.empty()) return false;
  if (const auto done = discarded_.release(options_.release_step_bytes); !done) return fail(done.error());
  return true;
}

Result<void, JournalError> DiskJournal::store_checkpoint(Lsn lsn, BytesView state) {
  if (auto failed = failure()) return *std::move(failed);
  MS_ASSERT(lsn <= durable().lsn, "a checkpoint is of durable records only");
  const auto hash = hash_at(lsn);
  if (!hash) return hash.error();
  if (const auto done = write_checkpoint(disk_, directory_, {lsn, *hash}, state); !done) {
    // A leftover would hold space that is short already.
    static_cast<void>(disk_.remove(join(directory_, checkpoint_name(lsn) + ".new")));
    return done.error();
  }
  const auto names = disk_.list(directory_);
  if (!names) return from_disk(names.error());
  const std::vector<Lsn> checkpoints = checkpoints_in(*names);
  for (std::size_t i = 2; i < checkpoints.size(); ++i) {
    if (const auto done = disk_.remove(join(directory_, checkpoint_name(checkpoints[i]))); !done) {
      return from_disk(done.error());
    }
  }
  return {};
}

}  // namespace mainstay::journal
