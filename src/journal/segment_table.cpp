#include "journal/segment_table.h"

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "journal/errors.h"
#include "journal/scan.h"
#include "journal/tail.h"

namespace mainstay::journal {
namespace {

JournalError removed(Lsn lsn) {
  return {JournalErrorCode::not_found,
          "LSN " + std::to_string(lsn.value) + " has been removed from this journal"};
}

JournalError would_wait() {
  return {JournalErrorCode::would_wait, "the disk has to be waited for"};
}

}  // namespace

void SegmentTable::start(std::vector<std::shared_ptr<Segment>> segments, LogPosition durable) {
  const std::lock_guard hold(mutex_);
  segments_ = std::move(segments);
  if (!segments_.empty()) current_ = segments_.back();
  written_ = durable_ = durable;
}

void SegmentTable::add(std::shared_ptr<Segment> segment) {
  const std::lock_guard hold(mutex_);
  if (!segments_.empty()) {
    if (segments_.back()->empty()) {
      // Too small for the first record; it has just been replaced on disk: same LSN, same name.
      segments_.pop_back();
    } else {
      segments_.back()->last_use = ++uses_;
      ++sealed_open_;
    }
  }
  current_ = segment;
  segments_.push_back(std::move(segment));
  close_unused();
}

void SegmentTable::close_unused() {
  if (sealed_open_ <= kSealedOpenMax) return;
  Segment* oldest = nullptr;
  for (const auto& each : segments_) {
    if (each != current_ && each->opened && (oldest == nullptr || each->last_use < oldest->last_use)) {
      oldest = each.get();
    }
  }
  oldest->opened.reset();
  --sealed_open_;
}

void SegmentTable::wrote(const Encoded& records, std::size_t from, std::size_t behind) {
  const std::lock_guard hold(mutex_);
  Segment& segment = *current_;
  const std::uint64_t shift = segment.end_offset - records.begin_of(from);
  const std::uint64_t number = segment.end.lsn.value + 1 - segment.header.first.value - from;
  SegmentIndex& index = segment.opened->index;
  for (std::size_t i = from; i < behind; ++i) index.note(number + i, records.offsets[i] + shift);
  segment.end_offset += records.begin_of(behind) - records.begin_of(from);
  written_ = {Lsn{records.first.value + behind - 1}, records.hash_of(behind - 1)};
  segment.end = written_;
}

void SegmentTable::set_durable() {
  const std::lock_guard hold(mutex_);
  durable_ = written_;
}

bool SegmentTable::empty() const {
  const std::lock_guard hold(mutex_);
  return segments_.empty();
}
std::size_t SegmentTable::count() const {
  const std::lock_guard hold(mutex_);
  return segments_.size();
}
LogPosition SegmentTable::written() const {
  const std::lock_guard hold(mutex_);
  return written_;
}
LogPosition SegmentTable::durable() const {
  const std::lock_guard hold(mutex_);
  return durable_;
}

std::shared_ptr<Segment> SegmentTable::find(Lsn lsn) const {
  const auto behind = std::upper_bound(
      segments_.begin(), segments_.end(), lsn,
      [](Lsn wanted, const std::shared_ptr<Segment>& segment) { return wanted < segment->header.first; });
  MS_ASSERT(behind != segments_.begin(), "the LSN is not before the oldest segment");
  return *std::prev(behind);
}

std::shared_ptr<Segment> SegmentTable::take_oldest_before(Lsn before) {
  const std::lock_guard hold(mutex_);
  if (segments_.size() < 2 || segments_.front()->end.lsn >= before) return nullptr;
  std::shared_ptr<Segment> oldest = std::move(segments_.front());
  segments_.erase(segments_.begin());
  if (std::exchange(oldest->opened, nullptr)) --sealed_open_;
  return oldest;
}

std::vector<Journal::Extent> SegmentTable::extents() const {
  const std::lock_guard hold(mutex_);
  std::vector<Journal::Extent> found;
  for (const auto& segment : segments_) {
    if (segment->empty()) continue;
    found.push_back({segment->header.first, segment->end.lsn, segment->end_offset - kRecordsAt});
  }
  return found;
}

std::uint64_t SegmentTable::record_bytes() const {
  const std::lock_guard hold(mutex_);
  std::uint64_t sum = 0;
  for (const auto& segment : segments_) sum += segment->end_offset - kRecordsAt;
  return sum;
}

std::uint64_t SegmentTable::file_bytes() const {
  const std::lock_guard hold(mutex_);
  std::uint64_t sum = 0;
  for (const auto& segment : segments_) sum += segment->header.segment_bytes;
  return sum;
}

JournalError SegmentTable::not_as_written(const Segment& segment, std::uint64_t offset, Lsn lsn) const {
  return corrupt(disk_.describe(segment.path), offset, lsn, "the record read is not the one written");
}

// --- Reading

Result<std::size_t, JournalError> SegmentTable::read_file(File& file, std::uint64_t offset,
                                                          std::span<std::byte> into, Wait wait) {
  if (wait == Wait::no) {
    const auto got = file.read_if_cached(offset, into);
    if (!got) return from_disk(got.error());
    if (!*got) return would_wait();
    return **got;
  }
  const auto got = wait == Wait::once ? file.read_once(offset, into) : file.read(offset, into);
  if (!got) return from_disk(got.error());
  return *got;
}
Result<std::shared_ptr<OpenSegment>, JournalError> SegmentTable::open(const std::shared_ptr<Segment>& segment,
                                                                      Wait wait) {
  {
    const std::lock_guard hold(mutex_);
    segment->last_use = ++uses_;
    if (segment->opened) return segment->opened;
  }
  if (wait == Wait::no) return would_wait();
  auto file = disk_.open(segment->path, OpenMode::read);
  if (!file) {
    const std::lock_guard hold(mutex_);
    if (segments_.front()->header.first > segment->header.first) return removed(segment->header.first);
    return from_disk(file.error());
  }
  auto opened = std::make_shared<OpenSegment>();
  opened->file = std::move(*file);
  auto index = load_index(*opened->file, *segment);
  if (!index) return index.error();
  opened->index = std::move(*index);
  const std::lock_guard hold(mutex_);
  if (segment->opened || segments_.front()->header.first > segment->header.first) return opened;
  segment->opened = opened;
  ++sealed_open_;
  close_unused();
  return opened;
}

/// Of a sealed segment: the one stored in it, or one made anew from its records.
Result<SegmentIndex, JournalError> SegmentTable::load_index(File& file, const Segment& segment) const {
  const SegmentHeader& header = segment.header;
  const auto stored = read_range(file, header.records_end(), header.index_bytes);
  if (!stored) return stored.error();
  if (auto index = decode_index(*stored, header, {segment.end, {}, segment.end_offset})) return *index;
  SegmentIndex index;
  index.reserve(header.segment_bytes);
  SegmentScan walk(file, header, header.before(), header.epoch);
  for (Record record; walk.end().lsn < segment.end.lsn;) {
    index.note(walk.end().lsn.value + 1 - header.first.value, walk.offset());
    const auto more = walk.next(record);
    if (!more) return more.error();
    // What is readable behind the damage is still found from here.
    if (!*more) break;
  }
  return index;
}

/// Walks over the headers from a known place to the record at `lsn`.
Result<std::uint64_t, JournalError> SegmentTable::locate(File& file, const Segment& segment,
                                                         SegmentIndex::Place from, Lsn lsn, Wait wait) const {
  std::array<std::byte, kIndexSpacingBytes> window;
  std::uint64_t window_at = 0;
  std::size_t window_bytes = 0;
  const std::uint64_t number = lsn.value - segment.header.first.value;
  for (; from.number < number; ++from.number) {
    if (from.offset < window_at || from.offset + kRecordHeaderBytes > window_at + window_bytes) {
      window_at = from.offset;
      const auto got = read_file(file, window_at, window, wait);
      if (!got) return got.error();
      window_bytes = *got;
    }
    const Lsn at{segment.header.first.value + from.number};
    const std::byte* header = window.data() + (from.offset - window_at);
    if (window_bytes < kRecordHeaderBytes || load_le<std::uint32_t>(header) != kRecordMagic ||
        load_le<std::uint64_t>(header + 24) != at.value) {
      return not_as_written(segment, from.offset, at);
    }
    from.offset += mainstay::journal::record_bytes(load_le<std::uint32_t>(header + 4));
  }
  return from.offset;
}

/// Appends records from `first` on, none behind `upto`, all in this segment. @return LSN behind the last one.
Result<Lsn, JournalError> SegmentTable::read_segment(Segment& segment, OpenSegment& opened, Lsn first,
                                                     Lsn upto, std::size_t room, bool one_at_least,
                                                     Buffer& to, Wait wait) {
  SegmentIndex::Place from;
  std::uint64_t begin = 0;
  std::uint64_t bound = 0;  // all up to `upto` ends before it
  {
    const std::lock_guard hold(mutex_);  // the index of the current segment grows
    from = opened.index.at_or_before(first.value - segment.header.first.value);
    bound = opened.index.offset_behind(upto.value - segment.header.first.value).value_or(segment.end_offset);
    if (segment.resume.lsn == first) begin = segment.resume.offset;
  }
  if (begin == 0) {
    const auto located = locate(*opened.file, segment, from, first, wait);
    if (!located) return located.error();
    begin = *located;
  }
  if (begin >= bound) return not_as_written(segment, begin, first);

  const std::size_t start = to.size();
  std::uint64_t wanted = std::min<std::uint64_t>(bound - begin, room);
  if (one_at_least) wanted = std::min(bound - begin, std::max(wanted, kIndexSpacingBytes));
  std::uint64_t have = 0;
  std::uint64_t used = 0;
  Lsn next = first;
  while (next <= upto) {
    if (have < wanted) {
      to.resize(start + wanted);
      const auto got = read_file(*opened.file, begin + have, std::span(to).subspan(start + have), wait);
      if (!got) return got.error();
      have += *got;
      if (have < wanted) return not_as_written(segment, begin + have, next);
    }
    const BytesView rest = BytesView(to).subspan(start + used);
    const bool enough = next != first || !one_at_least;
    if (rest.size() < kRecordHeaderBytes && have < bound - begin && enough) break;
    Record record;
    const DecodeStatus status = decode_record(rest, record);
    if (status == DecodeStatus::ok && record.header.lsn == next) {
      if (used + record.raw.size() > room && enough) break;
      used += record.raw.size();
      next = next.next();
      continue;
    }
    if (status == DecodeStatus::truncated && have < bound - begin) {
      if (enough) break;
      // One longer than asked for: all of it.
      wanted = mainstay::journal::record_bytes(load_le<std::uint32_t>(rest.data() + 4));
      if (wanted > have && wanted <= bound - begin) continue;
    }
    return not_as_written(segment, begin + used, next);
  }
  to.resize(start + used);
  const std::lock_guard hold(mutex_);
  segment.resume = {next, begin + used};
  return next;
}

Result<Lsn, JournalError> SegmentTable::read(Lsn first, Lsn last, std::size_t bytes_max, Buffer& to,
                                             Wait wait) {
  const std::size_t start = to.size();
  const auto give_up = [&](JournalError error) {
    to.resize(start);
    return error;
  };
  for (Lsn next = first;;) {
    std::shared_ptr<Segment> segment;  // shared: it may be removed while it is being read
    Lsn upto{};
    {
      const std::lock_guard hold(mutex_);
      const Lsn limit = std::min(last, durable_.lsn);
      if (next < segments_.front()->header.first) {
        if (next == first) return removed(first);
        return next;  // the rest was removed meanwhile
      }
      if (next > limit) return next;
      segment = find(next);
      upto = std::min(limit, segment->end.lsn);
    }
    const std::size_t taken = to.size() - start;
    const std::size_t room = bytes_max > taken ? bytes_max - taken : 0;
    if (room == 0 && next != first) return next;
    const auto opened = open(segment, wait);
    if (!opened) {
      if (opened.error().code == JournalErrorCode::not_found && next != first) return next;
      if (opened.error().code == JournalErrorCode::would_wait && next != first) return next;
      return give_up(opened.error());
    }
    const std::size_t whole = to.size();
    const auto behind = read_segment(*segment, **opened, next, upto, room, next == first, to, wait);
    if (!behind && behind.error().code == JournalErrorCode::would_wait && next != first) {
      to.resize(whole);
      return next;
    }
    if (!behind) return give_up(behind.error());
    next = *behind;
    if (next <= upto) return next;
  }
}

Result<std::uint64_t, JournalError> SegmentTable::hash_at(Lsn lsn) {
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

}  // namespace mainstay::journal
