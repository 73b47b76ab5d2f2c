#include "journal/cut.h"

#include <algorithm>
#include <vector>

#include "base/assert.h"
#include "journal/checkpoint.h"
#include "journal/errors.h"
#include "journal/format.h"
#include "journal/identity.h"
#include "journal/scan.h"
#include "journal/tail.h"

namespace mainstay::journal {
namespace {

constexpr std::size_t kPieceBytes = 1U << 20;

/// The journal is open meanwhile: it holds the lock, reads the records, and writes nothing.
class Cut {
 public:
  Cut(Disk& disk, const std::string& directory, Journal& journal, LogPosition to)
      : disk_(disk), directory_(directory), journal_(journal), to_(to) {}

  Result<CutReport, JournalError> run() {
    if (const auto done = check(); !done) return done.error();
    if (to_.lsn == end()) return CutReport{};
    CutReport report;
    report.records = end().value - to_.lsn.value;
    if (const auto done = keep_records(report); !done) return done.error();
    if (const auto done = make_shorter(); !done) return done.error();
    // Nothing has been taken out of the log up to here, and a full disk stops nothing from here on.
    if (const auto done = remove_later_segments(); !done) return done.error();
    if (const auto done = replace_last(); !done) return done.error();
    return report;
  }

 private:
  [[nodiscard]] Lsn end() const { return journal_.recovery().end.lsn; }
  [[nodiscard]] std::string path(const std::string& name) const { return join(directory_, name); }

  Result<void, JournalError> check() {
    const std::string log =
        disk_.describe(directory_) + ", cutting after LSN " + std::to_string(to_.lsn.value) + ": ";
    if (to_.lsn > end()) {
      return JournalError{JournalErrorCode::not_found,
                          log + "the log ends before, with LSN " + std::to_string(end().value)};
    }
    const auto hash = journal_.hash_at(to_.lsn);
    if (!hash) return hash.error();
    if (*hash != to_.hash) {
      return JournalError{JournalErrorCode::diverged,
                          log + "the record there is another one than the caller means (checksum " +
                              hex(*hash) + ", not " + hex(to_.hash) + "); nothing was cut"};
    }
    const auto names = disk_.list(directory_);
    if (!names) return from_disk(names.error());
    for (const Lsn lsn : checkpoints_in(*names)) {
      const auto head = read_checkpoint_head(disk_, directory_, lsn);
      if (!head) return head.error();
      if (*head && lsn > to_.lsn) {
        return JournalError{JournalErrorCode::below_checkpoint,
                            log + "the checkpoint of LSN " + std::to_string(lsn.value) +
                                " was made of records that would go; nothing was cut. Give this node an "
                                "empty directory and let it join as a new disk"};
      }
    }
    for (const std::string& name : *names) {
      if (const auto first = parse_segment_name(name)) firsts_.push_back(*first);
    }
    std::sort(firsts_.begin(), firsts_.end());
    return {};
  }

  /// Copies the records that go, durably. Each is checked while it is read.
  Result<void, JournalError> keep_records(CutReport& report) {
    const std::string digits = std::to_string(to_.lsn.next().value);
    auto kept = quarantine_path(disk_, directory_, "cut-" + std::string(20 - digits.size(), '0') + digits);
    if (!kept) return kept.error();
    const std::string fresh = *kept + ".new";
    if (const auto done = write_records(fresh, report); !done) {
      // A leftover would hold space that is short already.
      static_cast<void>(disk_.remove(fresh));
      return done.error();
    }
    if (const auto done = disk_.rename(fresh, *kept); !done) return from_disk(done.error());
    const auto synced = disk_.sync_directory(kept->substr(0, kept->rfind('/')));
    if (!synced) return sync_failed(synced.error());
    report.quarantine_file = std::move(*kept);
    return {};
  }

  Result<void, JournalError> write_records(const std::string& fresh, CutReport& report) {
    if (const auto removed = disk_.remove(fresh);
        !removed && removed.error().code != DiskErrorCode::not_found) {
      return from_disk(removed.error());
    }
    const auto file = disk_.open(fresh, OpenMode::create);
    if (!file) return from_disk(file.error());
    Buffer piece;
    for (Lsn next = to_.lsn.next(); next <= end();) {
      piece.clear();
      const auto behind = journal_.read(next, end(), kPieceBytes, piece);
      if (!behind) return behind.error();
      if (const auto done = (*file)->write(report.bytes, piece); !done) return from_disk(done.error());
      report.bytes += piece.size();
      next = *behind;
    }
    if (const auto done = (*file)->sync(); !done) return sync_failed(done.error());
    return {};
  }

  /// Makes, beside the segment that is to be the last one, one that holds no more than that may, with zeros
  /// behind. It replaces the other as a whole: so no mark, no index and no record of what was cut can ever be
  /// met again, and there is no moment with half of it.
  Result<void, JournalError> make_shorter() {
    const auto behind = std::upper_bound(firsts_.begin(), firsts_.end(), to_.lsn);
    // The oldest one stays in any case, if only with nothing in it.
    last_ = behind == firsts_.begin() ? 0 : static_cast<std::size_t>(behind - firsts_.begin()) - 1;
    if (last_ + 1 < firsts_.size() && firsts_[last_ + 1] == to_.lsn.next() && firsts_[last_] <= to_.lsn) {
      return {};  // ends where it is to end
    }
    const std::string of = path(segment_name(firsts_[last_]));
    const auto old = disk_.open(of, OpenMode::read);
    if (!old) return from_disk(old.error());
    const auto page = read_range(**old, 0, kPageBytes);
    if (!page) return page.error();
    SegmentHeader header;
    if (decode_segment_header(*page, header) != PageStatus::ok) {
      return corrupt(disk_.describe(of), "the header page is damaged");
    }
    SegmentScan walk(**old, header, header.before(), header.epoch);
    for (Record record; walk.end().lsn < to_.lsn;) {
      const auto more = walk.next(record);
      if (!more) return more.error();
      if (!*more) {
        return corrupt(disk_.describe(of), walk.offset(), walk.end().lsn.next(), describe(walk.reason()));
      }
    }
    MS_ASSERT(walk.end() == to_, "its checksum was compared");
    header.recycled = false;
    // Nothing in it any more: what comes may well be of a lower epoch than what it was begun with.
    if (to_.lsn < header.first) header.epoch = Epoch{};
    const std::string fresh = of + ".new";
    const auto file = disk_.open(fresh, OpenMode::create);
    if (!file) return from_disk(file.error());
    if (const auto done = write_shorter(**old, walk.offset(), header, **file); !done) {
      static_cast<void>(disk_.remove(fresh));
      return done.error();
    }
    shorter_ = fresh;
    return {};
  }

  Result<void, JournalError> write_shorter(File& old, std::uint64_t end_offset, const SegmentHeader& header,
                                           File& file) const {
    if (const auto done = file.preallocate(header.segment_bytes); !done) return from_disk(done.error());
    if (const auto done = file.write(0, encode_segment_header(header)); !done) return from_disk(done.error());
    if (to_.lsn >= header.first) {
      // True: this file gets its name only when all in it is durable.
      const auto done = file.write(mark_at(0), encode_mark({to_}, header.first));
      if (!done) return from_disk(done.error());
    }
    for (std::uint64_t at = kRecordsAt; at < end_offset;) {
      const auto piece = read_range(old, at, std::min<std::uint64_t>(kPieceBytes, end_offset - at));
      if (!piece) return piece.error();
      if (piece->empty()) {
        return JournalError{JournalErrorCode::io, "a segment file became shorter while it was read"};
      }
      if (const auto done = file.write(at, *piece); !done) return from_disk(done.error());
      at += piece->size();
    }
    if (const auto done = file.sync(); !done) return sync_failed(done.error());
    return {};
  }

  /// The newest first, each made durable: what is left is a log at any moment.
  Result<void, JournalError> remove_later_segments() {
    for (; firsts_.size() > last_ + 1; firsts_.pop_back()) {
      if (const auto done = disk_.remove(path(segment_name(firsts_.back()))); !done) {
        return from_disk(done.error());
      }
      if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
    }
    return {};
  }

  Result<void, JournalError> replace_last() {
    if (shorter_.empty()) return {};
    if (const auto done = disk_.rename(shorter_, path(segment_name(firsts_[last_]))); !done) {
      return from_disk(done.error());
    }
    if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
    return {};
  }

  Disk& disk_;
  const std::string& directory_;
  Journal& journal_;
  const LogPosition to_;
  std::vector<Lsn> firsts_;  // of the segments
  std::size_t last_ = 0;     // of them, the one that is to be the last
  std::string shorter_;      // what is to replace it
};

}  // namespace

Result<CutReport, JournalError> cut_after(Disk& disk, const std::string& directory,
                                          const JournalOptions& options, Random& random, LogPosition to) {
  const auto superblocks = load_superblocks(disk, directory);
  if (!superblocks) return superblocks.error();
  if (!superblocks->superblock) {
    return JournalError{
        JournalErrorCode::not_found,
        disk.describe(directory) + ": no journal here; give the directory that a node was started with"};
  }
  const auto journal = Journal::open(disk, directory, options, random, to.lsn, {});
  if (!journal) return journal.error();
  return Cut(disk, directory, **journal, to).run();
}

}  // namespace mainstay::journal
