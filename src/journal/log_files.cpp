#include "journal/log_files.h"

#include <algorithm>

#include "journal/errors.h"
#include "journal/format.h"
#include "journal/identity.h"
#include "journal/scan.h"
#include "journal/tail.h"

namespace mainstay::journal {
namespace {

/// A file that went belongs to a directory that somebody else still changes.
JournalError told(const DiskError& error) {
  if (error.code == DiskErrorCode::not_found) return {JournalErrorCode::not_found, error.what};
  return from_disk(error);
}

}  // namespace

Result<LogFiles, JournalError> LogFiles::look(Disk& disk, std::string directory) {
  LogFiles out(disk, std::move(directory));
  const auto superblocks = load_superblocks(disk, out.directory_);
  if (!superblocks) return superblocks.error();
  if (!superblocks->superblock) {
    return JournalError{
        JournalErrorCode::not_found,
        disk.describe(out.directory_) + ": no journal here; give the directory that a node was started with"};
  }
  const Identity& identity = superblocks->superblock->identity;
  out.cluster_ = identity.cluster;
  out.incarnation_ = identity.incarnation;
  out.node_ = identity.node;
  const auto names = disk.list(out.directory_);
  if (!names) return from_disk(names.error());
  for (const std::string& name : *names) {
    const auto first = parse_segment_name(name);
    if (!first) continue;
    const auto file = disk.open(join(out.directory_, name), OpenMode::read);
    if (!file) return told(file.error());
    const auto page = read_range(**file, 0, kPageBytes);
    if (!page) return page.error();
    SegmentHeader header;
    const PageStatus status = decode_segment_header(*page, header);
    if (status == PageStatus::too_new) return too_new(disk.describe(join(out.directory_, name)));
    Part part;
    part.first = *first;
    part.whole = status == PageStatus::ok && header.first == *first && header.identity == identity;
    if (part.whole) part.before = header.before();
    out.parts_.push_back(part);
  }
  std::sort(out.parts_.begin(), out.parts_.end(),
            [](const Part& a, const Part& b) { return a.first < b.first; });
  // What a crash left of a segment that was never used: opening the journal sets it aside.
  if (out.parts_.size() > 1 && !out.parts_.back().whole) out.parts_.pop_back();
  return out;
}

LogPosition LogFiles::before() const {
  return parts_.empty() || !parts_.front().whole ? LogPosition{} : parts_.front().before;
}

Result<void, JournalError> LogFiles::walk(Lsn first, Lsn last,
                                          const std::function<bool(const Record&)>& each) const {
  if (last < first) return {};
  auto part = std::upper_bound(parts_.begin(), parts_.end(), first,
                               [](Lsn lsn, const Part& candidate) { return lsn < candidate.first; });
  if (part == parts_.begin()) {
    return JournalError{
        JournalErrorCode::not_found,
        disk_->describe(directory_) + " has no record of LSN " + std::to_string(first.value) +
            (parts_.empty() ? ": its log is empty"
                            : ": its log begins with LSN " + std::to_string(parts_.front().first.value))};
  }
  for (--part;; ++part) {
    const std::string path = join(directory_, segment_name(part->first));
    if (!part->whole) return corrupt(disk_->describe(path), "the header page is damaged");
    const auto file = disk_->open(path, OpenMode::read);
    if (!file) return told(file.error());
    const auto page = read_range(**file, 0, kPageBytes);
    if (!page) return page.error();
    const auto size = (*file)->size();
    if (!size) return from_disk(size.error());
    SegmentHeader header;
    if (decode_segment_header(*page, header) != PageStatus::ok || header.before() != part->before) {
      return JournalError{JournalErrorCode::not_found,
                          disk_->describe(path) + " changed while it was read: stop the node first"};
    }
    if (header.segment_bytes != *size || *size < kRecordsAt || header.index_bytes > *size - kRecordsAt) {
      return corrupt(disk_->describe(path), "its length and its header contradict each other");
    }
    SegmentScan scan(**file, header, part->before, header.epoch);
    for (Record record;;) {
      const auto more = scan.next(record);
      if (!more) return more.error();
      if (!*more) break;
      if (record.header.lsn < first) continue;
      if (!each(record) || record.header.lsn == last) return {};
    }
    const Lsn missing = scan.end().lsn.next();
    const bool final = part + 1 == parts_.end();
    bool damaged = !final && (!(part + 1)->whole || (part + 1)->before != scan.end());
    if (final) {
      // Behind the last record stand zeros, a torn batch, or what the file held before. What a mark calls
      // durable was there.
      const auto marks = read_range(**file, kMarksAt, kPageBytes);
      if (!marks) return marks.error();
      const auto mark = decode_marks(*marks, header.first);
      damaged = mark && mark->durable.lsn >= missing;
    }
    if (damaged) return corrupt(disk_->describe(path), scan.offset(), missing, describe(scan.reason()));
    if (final) {
      return JournalError{JournalErrorCode::not_found,
                          disk_->describe(directory_) + " has no record of LSN " +
                              std::to_string(std::max(first, missing).value) + ": its log ends at LSN " +
                              std::to_string(scan.end().lsn.value)};
    }
  }
}

}  // namespace mainstay::journal
