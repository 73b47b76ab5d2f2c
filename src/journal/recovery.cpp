#include "journal/recovery.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "base/assert.h"
#include "journal/checkpoint.h"
#include "journal/errors.h"
#include "journal/format.h"
#include "journal/scan.h"

namespace mainstay::journal {
namespace {

constexpr const char* kQuarantine = "quarantine";

/// Bytes behind the last whole record.
struct Tail {
  std::uint64_t begin{};
  Buffer bytes;  ///< up to the last one that is not zero
};

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
    for (std::size_t i = 0; i < out_.segments.size(); ++i) {
      if (const auto done = scan(i); !done) return done.error();
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
      auto file = disk_.open(segment->path, OpenMode::read_write);
      if (!file) return from_disk(file.error());
      segment->file = std::move(*file);
      const auto size = segment->file->size();
      if (!size) return from_disk(size.error());
      const auto page = read_range(*segment->file, 0, kPageBytes);
      if (!page) return page.error();
      switch (decode_segment_header(*page, segment->header)) {
        case PageStatus::ok:
          break;
        case PageStatus::too_new:
          return too_new(shown(segment->path));
        case PageStatus::blank:
        case PageStatus::damaged:
          if (first != firsts.back()) return corrupt(shown(segment->path), "the header page is damaged");
          if (const auto done = judge_headless(*segment, *size); !done) return done.error();
          continue;
      }
      if (const auto done = check_header(*segment, first, *size); !done) return done.error();
      out_.segments.push_back(std::move(segment));
    }
    return {};
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
    if (header.segment_bytes != size || size < kRecordsAt || size > kSegmentFileBytesMax) {
      return corrupt(shown(segment.path), "the file has " + std::to_string(size) +
                                              " bytes, its header says " +
                                              std::to_string(header.segment_bytes));
    }
    return {};
  }

  /// The newest segment has no readable header. Headers are durable before the file gets its name, so an
  /// orderly disk does not leave this; one that lost the page but holds no record lost nothing either.
  Result<void, JournalError> judge_headless(const Segment& segment, std::uint64_t size) {
    const auto content = read_range(*segment.file, 0, size);
    if (!content) return content.error();
    if (end_of_content(*content, std::min<std::size_t>(kPageBytes, content->size())) > kPageBytes) {
      return corrupt(shown(segment.path), "the header page is damaged and there is data behind it");
    }
    headless_ = segment.path;
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

  Result<void, JournalError> scan(std::size_t index) {
    Segment& segment = *out_.segments[index];
    const bool last = index + 1 == out_.segments.size();
    const SegmentHeader& header = segment.header;
    RecoveryReport& report = out_.report;
    if (index == 0) {
      report.first = header.first;
      report.end = {Lsn{header.first.value - 1}, header.hash_before};
      report.epoch = header.epoch;
      if (replay_after_.next() < header.first) {
        return JournalError{JournalErrorCode::not_found,
                            shown(directory_) + " begins with LSN " + std::to_string(header.first.value) +
                                " but the state to build on ends at LSN " +
                                std::to_string(replay_after_.value) +
                                ": its checkpoint is missing or damaged. Restore a checkpoint, or this node "
                                "from its standby or backup"};
      }
      if (const auto done = check_checkpoint(report.end); !done) return done.error();
    } else if (header.first != report.end.lsn.next() || header.hash_before != report.end.hash) {
      return corrupt(shown(segment.path), "it does not continue LSN " + std::to_string(report.end.lsn.value) +
                                              ", where the segment before it ends");
    }
    const auto content = read_range(*segment.file, 0, header.segment_bytes);
    if (!content) return content.error();

    const auto mark = decode_marks(BytesView(*content).subspan(kMarksAt, kPageBytes), header.first);
    RecordWalk walk(*content, kRecordsAt, report.end, header.epoch);
    std::optional<std::uint64_t> unproven_from;
    if (!mark || mark->durable.lsn < header.first) unproven_from = kRecordsAt;
    Record record;
    std::size_t at = walk.offset();
    while (walk.next(record)) {
      segment.offsets.push_back(static_cast<std::uint32_t>(at));
      at = walk.offset();
      ++report.records_scanned;
      if (const auto done = check_checkpoint(walk.end()); !done) return done.error();
      if (mark && mark->durable.lsn == walk.end().lsn) {
        unproven_from = at;
        if (mark->durable.hash != walk.end().hash) {
          return corrupt(shown(segment.path), segment.offsets.back(), walk.end().lsn,
                         "the record is not the one that was made durable");
        }
      }
      if (replay_ && record.header.lsn > replay_after_) replay_(record);
    }
    segment.end_offset = at;
    report.end = walk.end();
    report.epoch = walk.epoch();

    // What was durable must be there. It was durable if a mark says so, or if a later segment exists: a
    // segment is put to use only after the one before it was synced.
    const Lsn missing = walk.end().lsn.next();
    const bool was_durable =
        (mark && mark->durable.lsn >= missing) || (!last && out_.segments[index + 1]->header.first > missing);
    if (was_durable) {
      std::string reason;
      if (mark && mark->durable.lsn >= missing) {
        reason = std::string(describe(walk.reason())) + ", but this record was durable (mark at LSN " +
                 std::to_string(mark->durable.lsn.value) + ")";
      } else if (walk.reason() == StopReason::end) {
        reason = "the records from here to the next segment (LSN " +
                 std::to_string(out_.segments[index + 1]->header.first.value) +
                 ") are missing: they are lost, or a segment file is";
      } else {
        reason = std::string(describe(walk.reason())) + ", but the next segment goes on behind it";
      }
      if (const auto found = find_record(*content, at + 8, missing)) {
        reason += "; the next whole record is LSN " + std::to_string(found->record.header.lsn.value) +
                  " at offset " + std::to_string(found->offset);
      }
      return corrupt(shown(segment.path), at, missing, reason);
    }
    if (!last) return {};
    const std::size_t content_end = end_of_content(*content, at);
    if (content_end > at) {
      tail_ = Tail{at, to_buffer(BytesView(*content).subspan(at, content_end - at))};
    }
    MS_ASSERT(unproven_from.has_value(), "a mark lies within the records that were found");
    if (*unproven_from < at) {
      unproven_ = {*unproven_from,
                   to_buffer(BytesView(*content).subspan(*unproven_from, at - *unproven_from))};
    }
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
      }
    }
    if (!headless_.empty()) {
      if (const auto done = set_aside_headless(); !done) return done.error();
    }
    if (!out_.segments.empty()) {
      Segment& last = *out_.segments.back();
      if (tail_) {
        if (const auto done = cut_tail(last); !done) return done.error();
      }
      // What no mark vouches for may be in the page cache only, and if an earlier sync of it failed the
      // kernel counts it as clean: sync alone would then promise too much. Written again, it is dirty.
      if (!unproven_.bytes.empty()) {
        if (const auto done = last.file->write(unproven_.begin, unproven_.bytes); !done) {
          return from_disk(done.error());
        }
      }
      if (const auto done = last.file->sync(); !done) return sync_failed(done.error());
    }
    if (const auto done = collect_spares(spare_bytes); !done) return done.error();
    // Names too: the last rename may not be durable yet.
    if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
    return {};
  }

  static JournalError sync_failed(const DiskError& error) {
    return {JournalErrorCode::sync_failed, error.what};
  }

  Result<void, JournalError> quarantine(const std::string& name, BytesView bytes) {
    const std::string directory = path(kQuarantine);
    if (const auto done = disk_.make_directory(directory); !done) return from_disk(done.error());
    if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
    const auto there = disk_.list(directory);
    if (!there) return from_disk(there.error());
    // A crash in the middle of an earlier cut may have left its copy: that one holds more, keep both.
    std::string free_name;
    for (unsigned number = 1; free_name.empty(); ++number) {
      std::string candidate = name + "-" + std::to_string(number);
      if (!std::binary_search(there->begin(), there->end(), candidate)) free_name = std::move(candidate);
    }
    out_.report.quarantine_file = join(directory, free_name);
    if (const auto done = replace_file(disk_, out_.report.quarantine_file, bytes); !done) {
      return from_disk(done.error());
    }
    return {};
  }

  Result<void, JournalError> cut_tail(Segment& segment) {
    const std::string name = segment_name(segment.header.first);
    if (const auto done = quarantine(name + "-offset-" + std::to_string(tail_->begin), tail_->bytes); !done) {
      return done.error();
    }
    for (auto found = find_record(tail_->bytes, 0, out_.report.end.lsn); found;
         found = find_record(tail_->bytes, found->offset + found->record.raw.size(), out_.report.end.lsn)) {
      ++out_.report.torn_records;
    }
    out_.report.torn_bytes = tail_->bytes.size();
    std::fill(tail_->bytes.begin(), tail_->bytes.end(), std::byte{0});
    if (const auto done = segment.file->write(tail_->begin, tail_->bytes); !done) {
      return from_disk(done.error());
    }
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
        if (const auto done = quarantine(name + "-header", *page); !done) return done.error();
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
      if (*size == spare_bytes) {
        out_.spares.push_back(std::move(spare));
      } else if (const auto done = disk_.remove(spare.path); !done) {
        return from_disk(done.error());
      }
    }
    return {};
  }

  Disk& disk_;
  const std::string& directory_;
  const Identity& identity_;
  const Lsn replay_after_;
  const std::function<void(const Record&)>& replay_;

  std::vector<std::string> names_;
  std::map<Lsn, std::uint64_t> checkpoint_hashes_;
  Recovered out_;
  std::string headless_;      // newest segment without header or records
  std::optional<Tail> tail_;  // to be cut from the last segment
  Tail unproven_;             // whole records that no mark vouches for
};

}  // namespace

Result<Recovered, JournalError> recover(Disk& disk, const std::string& directory, const Identity& identity,
                                        bool in_use, std::uint64_t spare_bytes, Lsn replay_after,
                                        const std::function<void(const Record&)>& replay) {
  return Recovery(disk, directory, identity, replay_after, replay).run(in_use, spare_bytes);
}

Result<Buffer, JournalError> read_range(File& file, std::uint64_t offset, std::uint64_t bytes) {
  Buffer out(bytes);
  const auto got = file.read(offset, out);
  if (!got) return from_disk(got.error());
  out.resize(*got);
  return out;
}

}  // namespace mainstay::journal
