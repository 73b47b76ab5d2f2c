// Offline check: everything open() would look at and more, nothing changed, and unlike open() it goes on
// behind the first problem, so that the reader sees all of the damage.
#include <algorithm>
#include <map>
#include <optional>

#include "journal/checkpoint.h"
#include "journal/errors.h"
#include "journal/format.h"
#include "journal/identity.h"
#include "journal/journal.h"
#include "journal/recovery.h"
#include "journal/scan.h"

namespace mainstay::journal {
namespace {

class Verification {
 public:
  Verification(Disk& disk, const std::string& directory, const std::function<void(const Record&)>& each)
      : disk_(disk), directory_(directory), each_(each) {}

  VerifyReport run() {
    const auto names = disk_.list(directory_);
    if (!names) {
      problem(names.error().what);
      return std::move(out_);
    }
    const auto superblocks = load_superblocks(disk_, directory_);
    if (!superblocks) {
      problem(superblocks.error().what);
    } else if (superblocks->superblock) {
      identity_ = superblocks->superblock->identity;
      if (superblocks->repair) {
        problem(shown("") +
                ": one of the two superblocks is missing or damaged; opening the journal restores it");
      }
    }
    std::vector<Lsn> firsts;
    for (const std::string& name : *names) {
      if (const auto first = parse_segment_name(name)) firsts.push_back(*first);
    }
    std::sort(firsts.begin(), firsts.end());
    if (superblocks && !superblocks->superblock) {
      problem(shown("") + (firsts.empty()
                               ? ": no journal here; give the directory that a node was started with"
                               : ": segment files but no superblock; restore this node from its "
                                 "standby or backup"));
    }
    if (superblocks && superblocks->superblock && superblocks->superblock->in_use && firsts.empty()) {
      problem(shown("") + ": the segment files are gone; restore this node from its standby or backup");
    }
    for (const Lsn lsn : checkpoints_in(*names)) positions_[lsn];
    for (std::size_t i = 0; i < firsts.size(); ++i) check_segment(firsts[i], i + 1 == firsts.size());
    check_checkpoints(*names);
    out_.ok = out_.problems.empty();
    return std::move(out_);
  }

 private:
  std::string shown(const std::string& name) const { return disk_.describe(join_or_root(name)); }
  std::string join_or_root(const std::string& name) const {
    return name.empty() ? directory_ : join(directory_, name);
  }
  void problem(std::string what) { out_.problems.push_back(std::move(what)); }
  void problem(const std::string& name, std::uint64_t offset, Lsn lsn, const std::string& reason) {
    problem(corrupt(shown(name), offset, lsn, reason).what);
  }

  void check_segment(Lsn named, bool last) {
    const std::string name = segment_name(named);
    ++out_.segments;
    const auto content = read_file(disk_, join(directory_, name), kSegmentFileBytesMax);
    if (!content) {
      problem(content.error().what);
      return;
    }
    SegmentHeader header;
    switch (decode_segment_header(BytesView(*content).first(std::min(content->size(), kPageBytes)), header)) {
      case PageStatus::ok:
        break;
      case PageStatus::too_new:
        problem(too_new(shown(name)).what);
        return;
      case PageStatus::blank:
      case PageStatus::damaged:
        if (last &&
            end_of_content(*content, std::min<std::size_t>(kPageBytes, content->size())) <= kPageBytes) {
          problem(shown(name) +
                  ": the header page is damaged; nothing is behind it, opening the journal sets "
                  "the file aside");
          return;
        }
        problem(corrupt(shown(name), "the header page is damaged").what);
        header.first = named;
        header.segment_bytes = content->size();
        header.epoch = epoch_;
        header.hash_before = out_.end.hash;
        if (identity_) header.identity = *identity_;
        break;
    }
    if (identity_ && !(header.identity == *identity_)) {
      problem(shown(name) + ": written by another node or incarnation (" + header.identity.node + ", " +
              header.identity.incarnation.text() + "); move the file out of the directory");
      return;
    }
    if (header.first != named || named.value == 0 || header.segment_bytes != content->size() ||
        content->size() < kRecordsAt || header.index_bytes > content->size() - kRecordsAt) {
      problem(corrupt(shown(name), "name or length and header contradict each other").what);
      return;
    }
    if (!begun_) {
      begun_ = true;
      out_.first = header.first;
    } else if (out_.end != LogPosition{Lsn{header.first.value - 1}, header.hash_before}) {
      problem(shown(name) + ": it does not continue LSN " + std::to_string(out_.end.lsn.value) +
              ", where the readable part before it ends; restore this node from its standby or backup");
    }
    out_.end = {Lsn{header.first.value - 1}, header.hash_before};
    expect_checkpoint(out_.end);
    epoch_ = std::max(epoch_, header.epoch);
    check_records(name, BytesView(*content).first(header.records_end()), header, last);
  }

  void check_records(const std::string& name, BytesView content, const SegmentHeader& header, bool last) {
    if (content.size() < kRecordsAt) return;
    const auto mark = decode_marks(content.subspan(kMarksAt, kPageBytes), header.first);
    std::size_t at = kRecordsAt;
    for (;;) {
      RecordWalk walk(content, at, out_.end, epoch_);
      Record record;
      while (walk.next(record)) {
        ++out_.records;
        expect_checkpoint(walk.end());
        if (each_) each_(record);
      }
      at = walk.offset();
      out_.end = walk.end();
      epoch_ = walk.epoch();
      const Lsn missing = out_.end.lsn.next();
      const bool was_durable = (mark && mark->durable.lsn >= missing) || !last;
      const auto later = find_record(content, at, out_.end.lsn);
      if (!was_durable) {
        out_.torn_bytes = header.recycled ? end_of_traces(content.subspan(at), header.first)
                                          : end_of_content(content, at) - at;
        return;
      }
      // Behind the last record of a full segment there is nothing; the next header says whether that is
      // right.
      if (!later && !(mark && mark->durable.lsn >= missing)) return;
      problem(
          name, at, missing,
          std::string(describe(walk.reason())) +
              (later ? "; the next whole record is LSN " + std::to_string(later->record.header.lsn.value) +
                           " at offset " + std::to_string(later->offset)
                     : ", but this record was durable (mark at LSN " +
                           std::to_string(mark->durable.lsn.value) + ")"));
      if (!later) return;
      at = later->offset;
      out_.end = {Lsn{later->record.header.lsn.value - 1}, later->record.header.previous};
      epoch_ = later->record.header.epoch;
    }
  }

  void expect_checkpoint(LogPosition at) {
    const auto wanted = positions_.find(at.lsn);
    if (wanted != positions_.end()) wanted->second = at.hash;
  }

  void check_checkpoints(const std::vector<std::string>& names) {
    for (const Lsn lsn : checkpoints_in(names)) {
      const std::string name = checkpoint_name(lsn);
      const auto head = read_checkpoint_head(disk_, directory_, lsn);
      const auto state = read_checkpoint_state(disk_, directory_, lsn);
      if (!head || !state) {
        problem(head ? state.error().what : head.error().what);
        continue;
      }
      if (!*head || !*state) {
        problem(shown(name) + ": damaged; opening skips it and uses the one before, remove the file");
        continue;
      }
      if (lsn > out_.end.lsn) {
        problem(
            shown(name) + ": the log ends at LSN " + std::to_string(out_.end.lsn.value) +
            ", before this checkpoint: durable records are missing; restore this node from its standby or "
            "backup");
      } else if (const auto& hash = positions_[lsn]; hash && *hash != (*head)->at.hash) {
        problem(shown(name) +
                ": of another history than the log; restore this node from its standby or backup");
      }
    }
  }

  Disk& disk_;
  const std::string& directory_;
  const std::function<void(const Record&)>& each_;
  VerifyReport out_;
  std::optional<Identity> identity_;
  std::map<Lsn, std::optional<std::uint64_t>> positions_;  // of the checkpoints, as the log has them
  Epoch epoch_{};
  bool begun_ = false;
};

}  // namespace

VerifyReport verify(Disk& disk, const std::string& directory,
                    const std::function<void(const Record&)>& each) {
  return Verification(disk, directory, each).run();
}

}  // namespace mainstay::journal
