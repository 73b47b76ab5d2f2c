#include "journal/recovery.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "journal/bugs.h"
#include "journal/checkpoint.h"
#include "journal/errors.h"
#include "journal/format.h"
#include "journal/scan.h"
#include "journal/tail.h"

namespace mainstay::journal {
namespace {

class Recovery {
 public:
  Recovery(Disk& disk, const std::string& directory, const Identity& identity, Lsn replay_after,
           const std::function<void(const Record&)>& replay)
      : disk_(disk),
        directory_(directory),
        identity_(identity),
        replay_after_(replay_after),
        replay_(replay) {}

  Result<Recovered, JournalError> run(bool in_use, std::uint64_t spare_bytes) {
    auto names = disk_.list(directory_);
    if (!names) return from_disk(names.error());
    names_ = std::move(*names);
    if (const auto done = open_segments(); !done) return done.error();
    if (in_use && out_.segments.empty()) {
      return corrupt(disk_.describe(directory_), "the journal was in use but its segment files are gone");
    }
    if (const auto done = read_checkpoint_heads(); !done) return done.error();
    const std::size_t from = first_to_scan();
    for (std::size_t i = 0; i < out_.segments.size(); ++i) {
      if (const auto done = i < from ? skip(i) : scan(i); !done) return done.error();
    }
    if (const auto done = check_against_checkpoints(); !done) return done.error();
    // Nothing has been changed up to here, and nothing is refused from here on.
    if (const auto done = repair(spare_bytes); !done) return done.error();
    return std::move(out_);
  }

 private:
  std::string path(const std::string& name) const { return join(directory_, name); }
  std::string shown(const std::string& at) const { return disk_.describe(at); }

  /// Headers only: the whole chain of files is known before the first record is judged.
  Result<void, JournalError> open_segments() {
    std::vector<Lsn> firsts;
    for (const std::string& name : names_) {
      if (const auto first = parse_segment_name(name)) firsts.push_back(*first);
    }
    std::sort(firsts.begin(), firsts.end());
    for (const Lsn first : firsts) {
      auto segment = std::make_shared<Segment>();
      segment->path = path(segment_name(first));
      auto opened = disk_.open(segment->path, OpenMode::read_write);
      if (!opened) return from_disk(opened.error());
      File& file = **opened;
      const auto size = file.size();
      if (!size) return from_disk(size.error());
      const auto page = read_range(file, 0, kPageBytes);
      if (!page) return page.error();
      switch (decode_segment_header(*page, segment->header)) {
        case PageStatus::ok:
          break;
        case PageStatus::too_new:
          return too_new(shown(segment->path));
        case PageStatus::blank:
        case PageStatus::damaged:
          if (first != firsts.back()) return corrupt(shown(segment->path), "the header page is damaged");
          if (const auto done = judge_headless(segment->path, file, *size); !done) return done.error();
          continue;
      }
      if (const auto done = check_header(*segment, first, *size); !done) return done.error();
      segment->end = segment->header.before();
      if (!out_.segments.empty() && out_.segments.back()->opened) out_.segments.back()->opened.reset();
      segment->opened = std::make_shared<OpenSegment>();
      segment->opened->file = std::move(*opened);
      out_.segments.push_back(std::move(segment));
    }
    return {};
  }

  /// The segment that holds the record behind `replay_after_`, or the last one: what is before it is not
  /// needed to go on.
  [[nodiscard]] std::size_t first_to_scan() const {
    std::size_t index = 0;
    while (index + 1 < out_.segments.size() &&
           out_.segments[index + 1]->header.first <= replay_after_.next()) {
      ++index;
    }
    return index;
  }

  Result<void, JournalError> check_header(const Segment& segment, Lsn named, std::uint64_t size) const {
    const SegmentHeader& header = segment.header;
    if (!(header.identity == identity_)) {
      return JournalError{JournalErrorCode::foreign,
                          shown(segment.path) + " was written by node \"" + header.identity.node +
                              "\" (incarnation " + header.identity.incarnation.text() +
                              "), not by this journal (node \"" + identity_.node + "\", incarnation " +
                              identity_.incarnation.text() + "). Move the file out of the directory"};
    }
    if (header.first != named || named.value == 0) {
      return corrupt(shown(segment.path),
                     "its header says that it starts with LSN " + std::to_string(header.first.value));
    }
    if (header.segment_bytes != size || size < kRecordsAt || size > kSegmentFileBytesMax ||
        header.index_bytes > size - kRecordsAt) {
      return corrupt(shown(segment.path), "the file has " + std::to_string(size) +
                                              " bytes, its header says " +
                                              std::to_string(header.segment_bytes));
    }
    return {};
  }

  /// The newest segment has no readable header. Headers are durable before the file gets its name, so an
  /// orderly disk does not leave this; one that lost the page but holds no record lost nothing either.
  Result<void, JournalError> judge_headless(const std::string& at, File& file, std::uint64_t size) {
    const auto content = read_range(file, 0, size);
    if (!content) return content.error();
    if (end_of_content(*content, std::min<std::size_t>(kPageBytes, content->size())) > kPageBytes) {
      return corrupt(shown(at), "the header page is damaged and there is data behind it");
    }
    headless_ = at;
    return {};
  }

  Result<void, JournalError> read_checkpoint_heads() {
    for (const Lsn lsn : checkpoints_in(names_)) {
      const auto head = read_checkpoint_head(disk_, directory_, lsn);
      if (!head) return head.error();
      if (*head) checkpoint_hashes_[lsn] = (*head)->at.hash;
    }
    return {};
  }

  Result<void, JournalError> check_checkpoint(LogPosition at) const {
    const auto found = checkpoint_hashes_.find(at.lsn);
    if (found == checkpoint_hashes_.end() || found->second == at.hash) return {};
    return corrupt(shown(path(checkpoint_name(at.lsn))), "the checkpoint is of another history than the log");
  }

  /// Where a segment begins must be where the one before it ends.
  Result<void, JournalError> enter(std::size_t index) {
    const SegmentHeader& header = out_.segments[index]->header;
    RecoveryReport& report = out_.report;
    if (index == 0) {
      report.first = header.first;
      if (replay_after_.next() < header.first) {
        return JournalError{JournalErrorCode::not_found,
                            shown(directory_) + " begins with LSN " + std::to_string(header.first.value) +
                                " but the state to build on ends at LSN " +
                                std::to_string(replay_after_.value) +
                                ": its checkpoint is missing or damaged. Restore a checkpoint, or this node "
                                "from its standby or backup"};
      }
    } else if (header.before() != report.end || header.epoch < report.epoch) {
      return corrupt(shown(out_.segments[index]->path), "it does not continue LSN " +
                                                            std::to_string(report.end.lsn.value) +
                                                            ", where the segment before it ends");
    }
    report.end = header.before();
    report.epoch = header.epoch;
    return check_checkpoint(report.end);
  }

  /// A segment that nobody needs for going on: its index says where it ends, if that is where the next one
  /// begins. Otherwise its records have to say it.
  Result<void, JournalError> skip(std::size_t index) {
    Segment& segment = *out_.segments[index];
    auto file = disk_.open(segment.path, OpenMode::read);
    if (!file) return from_disk(file.error());
    const auto bytes = read_range(**file, segment.header.records_end(),
                                  std::min<std::uint64_t>(kIndexHeadBytes, segment.header.index_bytes));
    if (!bytes) return bytes.error();
    const auto head = decode_index_head(*bytes, segment.header);
    if (!head || head->end != out_.segments[index + 1]->header.before()) return scan(index);
    if (const auto done = enter(index); !done) return done.error();
    segment.end = head->end;
    segment.end_offset = head->end_offset;
    out_.report.end = head->end;
    out_.report.epoch = head->epoch;
    out_.report.records_not_scanned += head->end.lsn.value + 1 - segment.header.first.value;
    return check_checkpoint(head->end);
  }

  Result<void, JournalError> scan(std::size_t index) {
    Segment& segment = *out_.segments[index];
    const bool last = index + 1 == out_.segments.size();
    const SegmentHeader& header = segment.header;
    RecoveryReport& report = out_.report;
    if (const auto done = enter(index); !done) return done.error();
    if (!segment.opened) {
      auto opened = disk_.open(segment.path, OpenMode::read);
      if (!opened) return from_disk(opened.error());
      segment.opened = std::make_shared<OpenSegment>();
      segment.opened->file = std::move(*opened);
    }
    File& file = *segment.opened->file;
    SegmentIndex& places = segment.opened->index;
    places.reserve(header.segment_bytes);

    const auto marks = read_range(file, kMarksAt, kPageBytes);
    if (!marks) return marks.error();
    const auto mark = decode_marks(*marks, header.first);
    SegmentScan walk(file, header, report.end, header.epoch);
    // Behind the record that the mark names; unless the mark names none of this segment, where they begin.
    std::uint64_t unproven_from = kRecordsAt;
    for (Record record;;) {
      const std::uint64_t at = walk.offset();
      const auto more = walk.next(record);
      if (!more) return more.error();
      if (!*more) break;
      places.note(walk.end().lsn.value - header.first.value, at);
      ++report.records_scanned;
      if (const auto done = check_checkpoint(walk.end()); !done) return done.error();
      if (mark && mark->durable.lsn == walk.end().lsn) {
        unproven_from = walk.offset();
        if (mark->durable.hash != walk.end().hash) {
          return corrupt(shown(segment.path), at, walk.end().lsn,
                         "the record is not the one that was made durable");
        }
      }
      if (replay_ && record.header.lsn > replay_after_) replay_(record);
    }
    segment.end_offset = walk.offset();
    segment.end = report.end = walk.end();
    report.epoch = walk.epoch();

    // What was durable must be there. It was durable if a mark says so, or if a later segment exists: a
    // segment is put to use only after the one before it was synced.
    const Lsn missing = walk.end().lsn.next();
    const bool marked =
        mark && mark->durable.lsn >= missing && !(last && resurrected(Bug::damage_as_torn_tail));
    if (marked || (!last && out_.segments[index + 1]->header.first > missing)) {
      return lost(segment, walk, marked ? mark->durable.lsn : Lsn{},
                  last ? Lsn{} : out_.segments[index + 1]->header.first);
    }
    if (!last) return store_index_later(index);
    auto tail = examine_tail(file, header, walk.offset());
    if (!tail) return tail.error();
    tail_ = std::move(*tail);
    unproven_from_ = unproven_from;
    return {};
  }

  /// The walk ended before a record that was durable: says so in detail.
  JournalError lost(const Segment& segment, const SegmentScan& walk, Lsn marked, Lsn next_first) const {
    const Lsn missing = walk.end().lsn.next();
    std::string reason;
    if (marked >= missing) {
      reason = std::string(describe(walk.reason())) + ", but this record was durable (mark at LSN " +
               std::to_string(marked.value) + ")";
    } else if (walk.reason() == StopReason::end) {
      reason = "the records from here to the next segment (LSN " + std::to_string(next_first.value) +
               ") are missing: they are lost, or a segment file is";
    } else {
      reason = std::string(describe(walk.reason())) + ", but the next segment goes on behind it";
    }
    const auto rest =
        read_range(*segment.opened->file, walk.offset(), segment.header.records_end() - walk.offset());
    if (rest && rest->size() > 8) {
      if (const auto found = find_record(*rest, 8, missing)) {
        reason += "; the next whole record is LSN " + std::to_string(found->record.header.lsn.value) +
                  " at offset " + std::to_string(walk.offset() + found->offset);
      }
    }
    return corrupt(shown(segment.path), walk.offset(), missing, reason);
  }

  /// A sealed segment that was read to its end: the next start need not read it again.
  Result<void, JournalError> store_index_later(std::size_t index) {
    Segment& segment = *out_.segments[index];
    const auto opened = std::exchange(segment.opened, nullptr);
    if (segment.header.index_bytes == 0) return {};
    const IndexHead head{segment.end, out_.report.epoch, segment.end_offset};
    const auto stored = read_range(*opened->file, segment.header.records_end(), segment.header.index_bytes);
    if (!stored) return stored.error();
    if (decode_index(*stored, segment.header, head)) return {};
    indexes_.push_back(
        {segment.path, segment.header.records_end(), encode_index(opened->index, segment.header, head)});
    return {};
  }

  Result<void, JournalError> check_against_checkpoints() const {
    if (checkpoint_hashes_.empty()) return {};
    const Lsn newest = checkpoint_hashes_.rbegin()->first;
    if (newest <= out_.report.end.lsn) return {};
    // A checkpoint is only written of durable records: these have been lost.
    return corrupt(shown(path(checkpoint_name(newest))),
                   "the log ends at LSN " + std::to_string(out_.report.end.lsn.value) +
                       ", before this checkpoint: durable records are missing");
  }

  Result<void, JournalError> repair(std::uint64_t spare_bytes) {
    for (const std::string& name : names_) {
      if (is_unfinished(name)) {
        if (const auto done = disk_.remove(path(name)); !done) return from_disk(done.error());
      } else if (is_discarded(name)) {
        const auto file = disk_.open(path(name), OpenMode::read);
        if (!file) return from_disk(file.error());
        const auto size = (*file)->size();
        if (!size) return from_disk(size.error());
        out_.discarded.push_back({path(name), *size});
      }
    }
    if (!headless_.empty()) {
      if (const auto done = set_aside_headless(); !done) return done.error();
    }
    for (const StoredIndex& index : indexes_) {
      const auto file = disk_.open(index.path, OpenMode::read_write);
      if (!file) return from_disk(file.error());
      if (const auto done = (*file)->write(index.offset, index.bytes); !done) return from_disk(done.error());
      if (const auto done = (*file)->sync(); !done) return sync_failed(done.error());
    }
    if (!out_.segments.empty()) {
      if (const auto done = repair_last(*out_.segments.back()); !done) return done.error();
    }
    if (const auto done = collect_spares(spare_bytes); !done) return done.error();
    // Names too: the last rename may not be durable yet.
    if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
    return {};
  }

  Result<void, JournalError> repair_last(const Segment& last) {
    File& file = *last.opened->file;
    if (!tail_.torn.empty()) {
      if (const auto done = keep_torn(last); !done) return done.error();
    }
    // All of it, recognised or not: in what follows, bytes that a batch left behind must not be able to join
    // with bytes written later.
    if (const auto done = clear_range(file, tail_.begin, tail_.content_end); !done) return done.error();
    // What no mark vouches for may be in the page cache only, and if an earlier sync of it failed the
    // kernel counts it as clean: sync alone would then promise too much. Written again, it is dirty.
    if (const auto done = rewrite_range(file, unproven_from_, last.end_offset); !done) return done.error();
    if (const auto done = file.sync(); !done) return sync_failed(done.error());
    return {};
  }

  Result<void, JournalError> set_aside(const std::string& name, BytesView bytes) {
    auto kept = quarantine(disk_, directory_, name, bytes);
    if (!kept) return kept.error();
    out_.report.quarantine_file = std::move(*kept);
    return {};
  }

  Result<void, JournalError> keep_torn(const Segment& segment) {
    const std::string name = segment_name(segment.header.first);
    const Lsn end = out_.report.end.lsn;
    if (const auto done = set_aside(name + "-offset-" + std::to_string(tail_.begin), tail_.torn); !done) {
      return done.error();
    }
    for (auto found = find_record(tail_.torn, 0, end); found;
         found = find_record(tail_.torn, found->offset + found->record.raw.size(), end)) {
      ++out_.report.torn_records;
    }
    out_.report.torn_bytes = tail_.torn.size();
    return {};
  }

  Result<void, JournalError> set_aside_headless() {
    {
      const auto file = disk_.open(headless_, OpenMode::read);
      if (!file) return from_disk(file.error());
      const auto page = read_range(**file, 0, kPageBytes);
      if (!page) return page.error();
      if (!all_zero(*page)) {
        const std::size_t slash = headless_.rfind('/');
        const std::string name = slash == std::string::npos ? headless_ : headless_.substr(slash + 1);
        if (const auto done = set_aside(name + "-header", *page); !done) return done.error();
      }
    }
    if (const auto done = disk_.remove(headless_); !done) return from_disk(done.error());
    return {};
  }

  Result<void, JournalError> collect_spares(std::uint64_t spare_bytes) {
    for (const std::string& name : names_) {
      const auto number = parse_spare_name(name);
      if (!number) continue;
      out_.next_spare_number = std::max(out_.next_spare_number, *number + 1);
      Spare spare;
      spare.path = path(name);
      auto file = disk_.open(spare.path, OpenMode::read_write);
      if (!file) return from_disk(file.error());
      spare.file = std::move(*file);
      const auto size = spare.file->size();
      if (!size) return from_disk(size.error());
      spare.bytes = *size;
      const auto page = read_range(*spare.file, 0, kPageBytes);
      if (!page) return page.error();
      // Only a file that nobody began to use is known to hold zeros.
      SegmentHeader old;
      const PageStatus status = decode_segment_header(*page, old);
      spare.recycled = status != PageStatus::blank;
      // Records of another journal, or of LSNs that are still to come, must not lie in wait behind ours.
      const bool foreign = status == PageStatus::ok &&
                           (!(old.identity == identity_) || old.first > out_.report.end.lsn.next());
      if (*size == spare_bytes && !foreign && status != PageStatus::too_new) {
        out_.spares.push_back(std::move(spare));
      } else if (const auto done = disk_.remove(spare.path); !done) {
        return from_disk(done.error());
      }
    }
    return {};
  }

  struct StoredIndex {
    std::string path;
    std::uint64_t offset{};
    Buffer bytes;
  };

  Disk& disk_;
  const std::string& directory_;
  const Identity& identity_;
  const Lsn replay_after_;
  const std::function<void(const Record&)>& replay_;

  std::vector<std::string> names_;
  std::map<Lsn, std::uint64_t> checkpoint_hashes_;
  Recovered out_;
  std::string headless_;                      // newest segment without header or records
  Tail tail_;                                 // of the last segment
  std::uint64_t unproven_from_ = kRecordsAt;  // whole records in it that no mark vouches for
  std::vector<StoredIndex> indexes_;          // to be stored: absent or damaged
};

}  // namespace

Result<Recovered, JournalError> recover(Disk& disk, const std::string& directory, const Identity& identity,
                                        bool in_use, std::uint64_t spare_bytes, Lsn replay_after,
                                        const std::function<void(const Record&)>& replay) {
  return Recovery(disk, directory, identity, replay_after, replay).run(in_use, spare_bytes);
}

}  // namespace mainstay::journal
