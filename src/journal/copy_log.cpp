#include "journal/copy_log.h"

#include <algorithm>
#include <vector>

#include "journal/errors.h"
#include "journal/format.h"
#include "journal/scan.h"
#include "journal/tail.h"

namespace mainstay::journal {
namespace {

constexpr std::uint64_t kPieceBytes = 1U << 20;
constexpr const char* kQuarantine = "quarantine";

/// A file that went belongs to a directory that somebody else still changes.
JournalError told(const DiskError& error) {
  if (error.code == DiskErrorCode::not_found) return {JournalErrorCode::not_found, error.what};
  return from_disk(error);
}

class Copy {
 public:
  Copy(Disk& disk, const std::string& from, const std::string& to) : disk_(disk), from_(from), to_(to) {}

  Result<LogCopy, JournalError> run() {
    auto names = disk_.list(from_);
    if (!names) return told(names.error());
    if (const auto done = take(*names); !done) return done.error();
    if (const auto done = take_quarantine(*names); !done) return done.error();
    if (const auto synced = disk_.sync_directory(to_); !synced) return sync_failed(synced.error());
    // A listing is not made at one instant. What the former writer puts in the place of something else, a
    // checkpoint for segments, must not have been missed on both sides.
    const auto again = disk_.list(from_);
    if (!again) return told(again.error());
    if (finished(*names) != finished(*again)) {
      return JournalError{JournalErrorCode::not_found,
                          disk_.describe(from_) + " changed while its log was taken over"};
    }
    return out_;
  }

 private:
  /// Of a listing: what is shared.
  static std::vector<std::string> finished(const std::vector<std::string>& names) {
    std::vector<std::string> out;
    for (const std::string& name : names) {
      if (parse_segment_name(name) || parse_checkpoint_name(name)) out.push_back(name);
    }
    return out;
  }

  Result<void, JournalError> share(const std::string& name) {
    if (const auto done = disk_.link(join(from_, name), join(to_, name)); !done) return told(done.error());
    ++out_.linked;
    return {};
  }

  Result<void, JournalError> take(const std::vector<std::string>& names) {
    Lsn last{};
    for (const std::string& name : names) last = std::max(last, parse_segment_name(name).value_or(Lsn{}));
    // The last segment first: the sooner it is copied, the less its former writer can add in vain.
    if (last > Lsn{}) {
      if (const auto done = copy_segment(segment_name(last)); !done) return done;
    }
    for (const std::string& name : names) {
      const auto first = parse_segment_name(name);
      const bool superblock = name == superblock_name(0) || name == superblock_name(1);
      if ((first && *first != last) || parse_checkpoint_name(name)) {
        if (const auto done = share(name); !done) return done;
      } else if (superblock) {
        const auto content = read_file(disk_, join(from_, name), kPageBytes);
        if (!content) return told(content.error());
        if (const auto done = replace_file(disk_, join(to_, name), *content); !done)
          return told(done.error());
      }
    }
    return {};
  }

  Result<void, JournalError> take_quarantine(const std::vector<std::string>& names) {
    if (std::find(names.begin(), names.end(), kQuarantine) == names.end()) return {};
    const auto kept = disk_.list(join(from_, kQuarantine));
    if (!kept) return told(kept.error());
    const std::string directory = join(to_, kQuarantine);
    if (const auto done = disk_.make_directory(directory); !done) return told(done.error());
    for (const std::string& name : *kept) {
      if (is_unfinished(name)) continue;
      if (const auto done = share(join(kQuarantine, name)); !done) return done;
    }
    if (const auto synced = disk_.sync_directory(directory); !synced) return sync_failed(synced.error());
    return {};
  }

  /// Only as long as its content: zeros need not be read back by anybody, and a spare is soon at hand.
  Result<void, JournalError> copy_segment(const std::string& name) {
    const auto old = disk_.open(join(from_, name), OpenMode::read);
    if (!old) return told(old.error());
    const auto size = (*old)->size();
    if (!size) return from_disk(size.error());
    const auto page = read_range(**old, 0, kPageBytes);
    if (!page) return page.error();
    SegmentHeader header;
    const PageStatus status = decode_segment_header(*page, header);
    if (status == PageStatus::too_new) return too_new(disk_.describe(join(from_, name)));
    // What recovery has to judge, and what holds older records behind its end, is taken as it is.
    const bool whole = status != PageStatus::ok || header.recycled || header.segment_bytes != *size ||
                       header.records_end() < kRecordsAt || header.records_end() > *size;
    const std::string fresh = join(to_, name) + ".new";
    const auto file = disk_.open(fresh, OpenMode::create);
    if (!file) return from_disk(file.error());
    // The marks before the records: what a mark calls durable is there by then.
    std::uint64_t end = 0;
    const std::uint64_t upto = whole ? *size : header.records_end();
    for (std::uint64_t at = 0; at < upto;) {
      const auto piece = read_range(**old, at, std::min(kPieceBytes, upto - at));
      if (!piece) return piece.error();
      if (piece->empty()) break;
      const std::size_t content = end_of_content(*piece, 0);
      if (content > 0) {
        if (const auto done = (*file)->write(at, BytesView(*piece).first(content)); !done)
          return told(done.error());
        end = at + content;
        out_.copied_bytes += content;
      }
      at += piece->size();
    }
    if (whole) {
      if (end < *size) {
        if (const auto done = (*file)->truncate(*size); !done) return told(done.error());
      }
    } else {
      const std::uint64_t records = end > kRecordsAt ? end - kRecordsAt : 0;
      header.segment_bytes = file_bytes_for(records);
      header.index_bytes = index_bytes(header.segment_bytes);
      if (const auto done = (*file)->preallocate(header.segment_bytes); !done) return told(done.error());
      if (const auto done = (*file)->write(0, encode_segment_header(header)); !done)
        return told(done.error());
    }
    if (const auto done = (*file)->sync(); !done) return sync_failed(done.error());
    if (const auto done = disk_.rename(fresh, join(to_, name)); !done) return told(done.error());
    return {};
  }

  Disk& disk_;
  const std::string& from_;
  const std::string& to_;
  LogCopy out_;
};

}  // namespace

Result<LogCopy, JournalError> copy_log(Disk& disk, const std::string& from, const std::string& to) {
  return Copy(disk, from, to).run();
}

}  // namespace mainstay::journal
