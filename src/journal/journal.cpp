#include "journal/journal.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "journal/checkpoint.h"
#include "journal/errors.h"
#include "journal/format.h"
#include "journal/identity.h"
#include "journal/recovery.h"
#include "journal/scan.h"
#include "journal/segment.h"

namespace mainstay::journal {
namespace {

constexpr std::uint64_t kSparePieceBytes = 4U << 20;

/// Records to be written: a batch, or a view of received bytes.
struct Encoded {
  BytesView bytes;
  std::span<const std::uint32_t> offsets;
  Lsn first{};
  LogPosition end{};

  [[nodiscard]] std::size_t count() const { return offsets.size(); }
  [[nodiscard]] std::uint64_t begin_of(std::size_t i) const {
    return i < offsets.size() ? offsets[i] : bytes.size();
  }
  [[nodiscard]] std::uint64_t bytes_of(std::size_t i) const { return begin_of(i + 1) - begin_of(i); }
  [[nodiscard]] std::uint64_t hash_of(std::size_t i) const {
    return load_le<std::uint64_t>(bytes.data() + offsets[i] + 8);
  }
  [[nodiscard]] std::uint64_t previous_of(std::size_t i) const {
    return load_le<std::uint64_t>(bytes.data() + offsets[i] + 16);
  }
  [[nodiscard]] Lsn lsn_of(std::size_t i) const {
    return Lsn{load_le<std::uint64_t>(bytes.data() + offsets[i] + 24)};
  }
  [[nodiscard]] Epoch epoch_of(std::size_t i) const {
    return Epoch{load_le<std::uint64_t>(bytes.data() + offsets[i] + 32)};
  }
  /// First record at or behind `from` that does not fit into `room` bytes together with those before it.
  [[nodiscard]] std::size_t fitting(std::size_t from, std::uint64_t room) const {
    if (bytes.size() - begin_of(from) <= room) return count();
    std::size_t low = from;
    std::size_t high = count();
    while (low < high) {
      const std::size_t middle = (low + high) / 2;
      if (begin_of(middle + 1) - begin_of(from) <= room) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

class DiskJournal final : public Journal {
 public:
  DiskJournal(Disk& disk, std::string directory, const JournalOptions& options, Identity identity,
              std::unique_ptr<DiskLock> lock)
      : disk_(disk),
        directory_(std::move(directory)),
        options_(options),
        identity_(std::move(identity)),
        lock_(std::move(lock)) {
    options_.spare_segments = std::max<std::uint32_t>(1, options_.spare_segments);
  }

  Result<void, JournalError> start(Recovered recovered) {
    report_ = std::move(recovered.report);
    segments_ = std::move(recovered.segments);
    spares_ = std::move(recovered.spares);
    next_spare_number_ = recovered.next_spare_number;
    written_ = durable_ = report_.end;
    epoch_ = report_.epoch;
    if (segments_.empty()) {
      report_.first = Lsn{1};
      if (spares_.empty()) {
        if (auto made = make_spare(options_.segment_bytes); made) {
          spares_.push_back(std::move(*made));
        } else {
          return made.error();
        }
      }
      if (const auto done = put_to_use(take_spare(), {}, {}); !done) return done.error();
    } else if (const auto done = write_mark(); !done) {
      return done.error();
    }
    update_room();
    return {};
  }

  const RecoveryReport& recovery() const override { return report_; }
  Uuid incarnation() const override { return identity_.incarnation; }
  Uuid cluster() const override { return identity_.cluster; }
  const std::string& node() const override { return identity_.node; }

  Result<void, JournalError> write(const Batch& batch) override {
    if (auto failed = failure()) return *std::move(failed);
    if (batch.empty()) return {};
    return append({batch.bytes, batch.offsets, batch.first, batch.end});
  }

  Result<void, JournalError> sync() override {
    if (auto failed = failure()) return *std::move(failed);
    if (!dirty_ && !mark_dirty_) return {};
    if (const auto done = sync_current(); !done) return done.error();
    return {};
  }

  LogPosition written() const override {
    const std::lock_guard hold(mutex_);
    return written_;
  }
  LogPosition durable() const override {
    const std::lock_guard hold(mutex_);
    return durable_;
  }

  Result<void, JournalError> write_raw(BytesView raw) override {
    if (auto failed = failure()) return *std::move(failed);
    MS_ASSERT(raw.size() <= UINT32_MAX, "a connection hands over less than 4 GiB at once");
    raw_offsets_.clear();
    RecordWalk walk(raw, 0, written_, epoch_);
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
    return append({raw, raw_offsets_, written_.lsn.next(), walk.end()});
  }

  Result<Lsn, JournalError> read(Lsn first, Lsn last, std::size_t bytes_max, Buffer& to) override {
    const std::size_t start = to.size();
    Lsn next = first;
    for (;;) {
      std::shared_ptr<Segment> segment;  // shared: remove_before() may drop it while it is being read
      std::uint64_t begin = 0;
      std::uint64_t end = 0;
      Lsn upto{};
      {
        const std::lock_guard hold(mutex_);
        const Lsn limit = std::min(last, durable_.lsn);
        if (next < segments_.front()->header.first) {
          if (next == first) return removed(first);
          return next;  // the rest was removed meanwhile
        }
        if (next > limit) return next;
        const std::size_t room = bytes_max > to.size() - start ? bytes_max - (to.size() - start) : 0;
        segment = find(next);
        begin = segment->offset_of(next);
        upto = std::min(limit, Lsn{segment->next_lsn().value - 1});
        // The most records that end within `room`; one at least for the first.
        const auto& offsets = segment->offsets;
        const auto from =
            offsets.begin() + static_cast<std::ptrdiff_t>(next.value - segment->header.first.value);
        const auto behind =
            offsets.begin() + static_cast<std::ptrdiff_t>(upto.value - segment->header.first.value + 1);
        if (segment->end_of(upto) - begin > room) {
          const auto stop = std::upper_bound(from + 1, behind, begin + room);
          // *stop is the first start beyond; the record before it may end beyond too.
          const auto count = (stop - from) - 1;
          if (count == 0 && next != first) return next;
          upto = Lsn{next.value + static_cast<std::uint64_t>(std::max<std::ptrdiff_t>(count, 1)) - 1};
        }
        end = segment->end_of(upto);
      }
      const std::size_t at = to.size();
      to.resize(at + (end - begin));
      const auto got = segment->file->read(begin, std::span(to).subspan(at));
      if (!got) {
        to.resize(start);
        return from_disk(got.error());
      }
      if (auto bad = check_read(BytesView(to).subspan(at, *got), end - begin, next, *segment, begin)) {
        to.resize(start);
        return *bad;
      }
      next = upto.next();
    }
  }

  Result<std::uint64_t, JournalError> hash_at(Lsn lsn) override {
    if (lsn.value == 0) return std::uint64_t{0};
    {
      const std::lock_guard hold(mutex_);
      if (lsn == durable_.lsn) return durable_.hash;
      const SegmentHeader& oldest = segments_.front()->header;
      if (lsn.next() == oldest.first) return oldest.hash_before;
      if (lsn < oldest.first) return removed(lsn);
      if (lsn > durable_.lsn) {
        return JournalError{JournalErrorCode::not_found, "LSN " + std::to_string(lsn.value) +
                                                             " is not durable here, the log ends at " +
                                                             std::to_string(durable_.lsn.value)};
      }
    }
    Buffer raw;
    if (const auto got = read(lsn, lsn, 0, raw); !got) return got.error();
    return load_le<std::uint64_t>(raw.data() + 8);
  }

  std::uint64_t room() const override { return room_.load(std::memory_order_relaxed); }

  Result<bool, JournalError> prepare_spare() override {
    if (auto failed = failure()) return *std::move(failed);
    {
      const std::lock_guard hold(mutex_);
      if (spares_.size() >= options_.spare_segments) return false;
    }
    auto made = make_spare(options_.segment_bytes);
    if (!made) return made.error();
    {
      const std::lock_guard hold(mutex_);
      spares_.push_back(std::move(*made));
    }
    update_room();
    return true;
  }

  Result<void, JournalError> remove_before(Lsn lsn) override {
    if (auto failed = failure()) return *std::move(failed);
    const auto names = disk_.list(directory_);
    if (!names) return from_disk(names.error());
    const std::vector<Lsn> checkpoints = checkpoints_in(*names);
    if (checkpoints.empty()) return {};
    const Lsn oldest_kept = checkpoints[std::min<std::size_t>(1, checkpoints.size() - 1)];
    const Lsn before = std::min(lsn, oldest_kept.next());
    while (segments_.size() > 1 && segments_.front()->next_lsn() <= before) {
      // One at a time, each made durable: a gap in the chain must not be able to appear.
      if (const auto done = disk_.remove(segments_.front()->path); !done)
        return fail(from_disk(done.error()));
      if (const auto done = disk_.sync_directory(directory_); !done) return fail_sync(done.error());
      const std::lock_guard hold(mutex_);
      segments_.erase(segments_.begin());
    }
    return {};
  }

  std::uint64_t record_bytes_total() const override {
    const std::lock_guard hold(mutex_);
    std::uint64_t sum = 0;
    for (const auto& segment : segments_) sum += segment->end_offset - kRecordsAt;
    return sum;
  }

  std::uint64_t disk_bytes() const override {
    const std::lock_guard hold(mutex_);
    std::uint64_t sum = 2 * kPageBytes;
    for (const auto& segment : segments_) sum += segment->header.segment_bytes;
    for (const Spare& spare : spares_) sum += spare.bytes;
    return sum;
  }

  Result<void, JournalError> store_checkpoint(Lsn lsn, BytesView state) override {
    if (auto failed = failure()) return *std::move(failed);
    MS_ASSERT(lsn <= durable_.lsn, "a checkpoint is of durable records only");
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

 private:
  JournalError fail(JournalError error) {
    const std::lock_guard hold(mutex_);
    if (!failed_) failed_ = error;
    return error;
  }
  /// The first failure, after which nothing more is written.
  [[nodiscard]] std::optional<JournalError> failure() const {
    const std::lock_guard hold(mutex_);
    return failed_;
  }
  JournalError fail_sync(const DiskError& error) {
    return fail({JournalErrorCode::sync_failed,
                 error.what + ". What is durable is unknown: this node must end and recover from its disk"});
  }
  static JournalError removed(Lsn lsn) {
    return {JournalErrorCode::not_found,
            "LSN " + std::to_string(lsn.value) + " has been removed from this journal"};
  }

  /// The segment that holds `lsn`, which is in the log. Under the mutex.
  std::shared_ptr<Segment> find(Lsn lsn) const {
    const auto behind = std::upper_bound(
        segments_.begin(), segments_.end(), lsn,
        [](Lsn wanted, const std::shared_ptr<Segment>& segment) { return wanted < segment->header.first; });
    MS_ASSERT(behind != segments_.begin(), "the LSN is not before the oldest segment");
    return *std::prev(behind);
  }

  std::optional<JournalError> check_read(BytesView bytes, std::uint64_t expected, Lsn lsn,
                                         const Segment& segment, std::uint64_t offset) const {
    std::size_t at = 0;
    for (Record record; at < expected; at += record.raw.size(), lsn = lsn.next()) {
      if (decode_record(bytes.subspan(std::min(at, bytes.size())), record) != DecodeStatus::ok ||
          record.header.lsn != lsn) {
        return corrupt(disk_.describe(segment.path), offset + at, lsn,
                       "the record read is not the one written");
      }
    }
    return std::nullopt;
  }

  Segment& current() { return *segments_.back(); }
  [[nodiscard]] std::uint64_t segment_capacity() const { return options_.segment_bytes - kRecordsAt; }

  Result<void, JournalError> append(const Encoded& records) {
    MS_ASSERT(records.first == written_.lsn.next() && records.lsn_of(0) == records.first &&
                  records.previous_of(0) == written_.hash &&
                  records.end.lsn.value + 1 == records.first.value + records.count() &&
                  records.epoch_of(0) >= epoch_,
              "batches are written in the order in which they were built");
    std::size_t at = records.fitting(0, current().free_bytes());
    if (at < records.count()) {
      if (const auto done = provide_segments(records, at); !done) return done.error();
    }
    if (at > 0) {
      if (const auto done = write_chunk(records, 0, at); !done) return done.error();
    }
    while (at < records.count()) {
      if (const auto done = roll(records, at); !done) return done.error();
      const std::size_t behind = records.fitting(at, current().free_bytes());
      MS_ASSERT(behind > at, "a new segment holds the record it was taken for");
      if (const auto done = write_chunk(records, at, behind); !done) return done.error();
      at = behind;
    }
    update_room();
    return {};
  }

  /// Makes the segments that the records from `from` on need, before any of them is written: so a full disk
  /// leaves the log as it was.
  Result<void, JournalError> provide_segments(const Encoded& records, std::size_t from) {
    std::size_t spares = 0;
    std::vector<Spare> large;
    std::optional<JournalError> failure;
    for (std::size_t at = from; at < records.count() && !failure;) {
      std::uint64_t capacity = segment_capacity();
      if (records.bytes_of(at) > capacity) {
        capacity = records.bytes_of(at);
        if (auto made = make_spare(kRecordsAt + capacity); made) {
          large.push_back(std::move(*made));
        } else {
          failure = made.error();
        }
      } else if (++spares > spares_ready()) {
        if (auto made = make_spare(options_.segment_bytes); made) {
          const std::lock_guard hold(mutex_);
          spares_.push_back(std::move(*made));
        } else {
          failure = made.error();
        }
      }
      at = records.fitting(at, capacity);
    }
    if (failure) {
      for (const Spare& spare : large) static_cast<void>(disk_.remove(spare.path));
      return *failure;
    }
    large_ = std::move(large);
    return {};
  }

  Result<void, JournalError> write_chunk(const Encoded& records, std::size_t from, std::size_t behind) {
    Segment& segment = current();
    const std::uint64_t begin = records.begin_of(from);
    const std::uint64_t bytes = records.begin_of(behind) - begin;
    dirty_ = true;
    if (const auto done = segment.file->write(segment.end_offset, records.bytes.subspan(begin, bytes));
        !done) {
      // A part may stand there now. Recovery will see to it, nothing may be written behind it.
      return fail(from_disk(done.error()));
    }
    const std::uint64_t shift = segment.end_offset - begin;
    const std::lock_guard hold(mutex_);
    for (std::size_t i = from; i < behind; ++i) {
      segment.offsets.push_back(static_cast<std::uint32_t>(records.offsets[i] + shift));
    }
    segment.end_offset += bytes;
    written_ = {Lsn{records.first.value + behind - 1}, records.hash_of(behind - 1)};
    epoch_ = records.epoch_of(behind - 1);
    return {};
  }

  /// Makes everything written durable, then goes on in a fresh segment that begins with record `at`. The
  /// order is what lets recovery conclude from a segment's existence that all before it was durable.
  Result<void, JournalError> roll(const Encoded& records, std::size_t at) {
    if (dirty_) {
      if (const auto done = sync_current(); !done) return done.error();
    }
    Spare spare;
    if (records.bytes_of(at) > segment_capacity()) {
      MS_ASSERT(!large_.empty(), "made by provide_segments()");
      spare = std::move(large_.front());
      large_.erase(large_.begin());
    } else {
      spare = take_spare();
    }
    return put_to_use(std::move(spare), written_, records.epoch_of(at));
  }

  Spare take_spare() {
    const std::lock_guard hold(mutex_);
    MS_ASSERT(!spares_.empty(), "made by provide_segments()");
    Spare spare = std::move(spares_.front());
    spares_.erase(spares_.begin());
    return spare;
  }

  Result<void, JournalError> put_to_use(Spare spare, LogPosition before, Epoch epoch) {
    auto segment = std::make_shared<Segment>();
    segment->path = join(directory_, segment_name(before.lsn.next()));
    segment->file = std::move(spare.file);
    segment->header = {identity_, before.lsn.next(), before.hash, epoch, spare.bytes};
    // Header and blank marks: a spare whose use was begun before a crash may have old ones.
    const Page header = encode_segment_header(segment->header);
    std::array<std::byte, kRecordsAt> front{};
    std::copy(header.begin(), header.end(), front.begin());
    if (const auto done = segment->file->write(0, front); !done) return fail(from_disk(done.error()));
    if (const auto done = segment->file->sync(); !done) return fail_sync(done.error());
    if (const auto done = disk_.rename(spare.path, segment->path); !done)
      return fail(from_disk(done.error()));
    if (const auto done = disk_.sync_directory(directory_); !done) return fail_sync(done.error());
    const std::lock_guard hold(mutex_);
    // An empty segment too small for the first record has just been replaced on disk: same LSN, same name.
    if (!segments_.empty() && segments_.back()->empty()) segments_.pop_back();
    segments_.push_back(std::move(segment));
    mark_slot_ = 0;
    mark_dirty_ = false;
    return {};
  }

  Result<void, JournalError> sync_current() {
    const bool had_records = dirty_;
    if (const auto done = current().file->sync(); !done) return fail_sync(done.error());
    dirty_ = false;
    mark_dirty_ = false;
    if (!had_records) return {};
    {
      const std::lock_guard hold(mutex_);
      durable_ = written_;
    }
    return write_mark();
  }

  /// Notes in the segment what is durable. Not synced: it rides along with the next sync. A process that is
  /// killed leaves it in the page cache; only the machine's end can lose it.
  Result<void, JournalError> write_mark() {
    Segment& segment = current();
    const auto mark = encode_mark({durable_}, segment.header.first);
    if (const auto done = segment.file->write(mark_at(mark_slot_++), mark); !done) {
      return fail(from_disk(done.error()));
    }
    mark_dirty_ = true;
    return {};
  }

  [[nodiscard]] std::size_t spares_ready() const {
    const std::lock_guard hold(mutex_);
    return spares_.size();
  }

  /// A zero-written file of this length under a spare's name, all durable. Written and synced piece by piece:
  /// the batches that are synced meanwhile wait for a piece, not for a segment.
  Result<Spare, JournalError> make_spare(std::uint64_t bytes) {
    Spare spare;
    spare.bytes = bytes;
    spare.path = join(directory_, spare_name(next_spare_number_++));
    const std::string unfinished = spare.path + ".new";
    auto file = disk_.open(unfinished, OpenMode::create);
    if (!file) return from_disk(file.error());
    spare.file = std::move(*file);
    for (std::uint64_t to = 0; to < bytes;) {
      to = std::min(bytes, to + kSparePieceBytes);
      if (const auto filled = spare.file->preallocate(to); !filled) {
        static_cast<void>(disk_.remove(unfinished));
        return from_disk(filled.error());
      }
      if (const auto done = spare.file->sync(); !done) return fail_sync(done.error());
    }
    if (const auto done = disk_.rename(unfinished, spare.path); !done) return fail(from_disk(done.error()));
    if (const auto done = disk_.sync_directory(directory_); !done) return fail_sync(done.error());
    return spare;
  }

  /// The largest total of records, each at most `longest`, that fits whatever their lengths and order: one
  /// byte less than the smallest total that does not.
  void update_room() {
    const std::lock_guard hold(mutex_);
    const std::uint64_t left = segments_.back()->free_bytes();
    const std::uint64_t spares = spares_.size();
    const std::uint64_t capacity = segment_capacity();
    const std::uint64_t longest = std::min(options_.record_bytes_max, capacity);
    if (spares == 0) {
      room_.store(left, std::memory_order_relaxed);
      return;
    }
    // Records that do not fit fill all segments but the last to within `longest` - 8, and more than the last.
    const std::uint64_t in_current = left + 8 > longest ? left + 8 - longest : 0;
    const std::uint64_t by_waste = in_current + (spares - 1) * (capacity + 8 - longest) + capacity;
    // Two neighbouring segments together hold more than the capacity of one.
    const std::uint64_t by_pairs = (spares + 1) / 2 * capacity;
    room_.store(std::max({left, by_waste, by_pairs}), std::memory_order_relaxed);
  }

  Disk& disk_;
  const std::string directory_;
  JournalOptions options_;
  const Identity identity_;
  const std::unique_ptr<DiskLock> lock_;
  RecoveryReport report_;

  // Journal thread only.
  std::optional<JournalError> failed_;
  bool dirty_ = false;       // records written since the last sync
  bool mark_dirty_ = false;  // the current segment's mark was written since the last sync
  std::uint64_t mark_slot_ = 0;
  Epoch epoch_{};
  std::atomic<std::uint64_t> next_spare_number_ = 1;
  std::vector<Spare> large_;  // for the records of one append() that are longer than a segment
  std::vector<std::uint32_t> raw_offsets_;

  std::atomic<std::uint64_t> room_{0};

  // Changed by the journal thread under the mutex, read there without and elsewhere with it.
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Segment>> segments_;  // never empty once started; the last one is written to
  std::vector<Spare> spares_;
  LogPosition written_{};
  LogPosition durable_{};
};

Result<void, JournalError> check_options(const JournalOptions& options) {
  if (options.segment_bytes < kSegmentBytesMin || options.segment_bytes > kSegmentBytesMax ||
      options.segment_bytes % kPageBytes != 0) {
    return JournalError{JournalErrorCode::io, "segment_bytes is " + std::to_string(options.segment_bytes) +
                                                  ": give a multiple of 4096 between 64 KiB and 1 GiB"};
  }
  if (options.node.size() > kNodeNameBytesMax) {
    return JournalError{JournalErrorCode::io, "the node's name is longer than 255 bytes"};
  }
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
    found->superblock = Superblock{
        {options.cluster.is_nil() ? random.uuid() : options.cluster, random.uuid(), options.node}, false};
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

Result<Journal::Checkpoint, JournalError> Journal::load_checkpoint(Disk& disk, const std::string& directory) {
  const auto names = disk.list(directory);
  if (!names) {
    if (names.error().code == DiskErrorCode::not_found) return Checkpoint{};
    return from_disk(names.error());
  }
  for (const Lsn lsn : checkpoints_in(*names)) {
    auto state = read_checkpoint_state(disk, directory, lsn);
    if (!state) return state.error();
    if (*state) return Checkpoint{lsn, std::move(**state)};
  }
  return Checkpoint{};
}

}  // namespace mainstay::journal
