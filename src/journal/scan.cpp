#include "journal/scan.h"

#include <algorithm>

#include "journal/errors.h"

namespace mainstay::journal {

const char* describe(StopReason reason) {
  switch (reason) {
    case StopReason::end:
      return "nothing is written there";
    case StopReason::truncated:
      return "the record is longer than what is left of the file";
    case StopReason::damaged:
      return "the record's checksum or form is wrong";
    case StopReason::wrong_lsn:
      return "a whole record with another LSN stands there";
    case StopReason::wrong_previous:
      return "the record does not continue the hash chain";
    case StopReason::wrong_epoch:
      return "the record's epoch is lower than the one before";
  }
  return "unknown";
}

bool RecordWalk::next(Record& out) {
  misfit_ = {};
  switch (decode_record(bytes_.subspan(at_), out)) {
    case DecodeStatus::ok:
      break;
    case DecodeStatus::end:
      reason_ = StopReason::end;
      return false;
    case DecodeStatus::truncated:
      reason_ = StopReason::truncated;
      return false;
    case DecodeStatus::damaged:
      reason_ = StopReason::damaged;
      return false;
  }
  misfit_ = out.header;
  if (out.header.lsn != end_.lsn.next()) {
    reason_ = StopReason::wrong_lsn;
    return false;
  }
  if (out.header.previous != end_.hash) {
    reason_ = StopReason::wrong_previous;
    return false;
  }
  if (out.header.epoch < epoch_) {
    reason_ = StopReason::wrong_epoch;
    return false;
  }
  at_ += out.raw.size();
  end_ = {out.header.lsn, out.header.checksum};
  epoch_ = out.header.epoch;
  return true;
}

Result<BytesView, JournalError> SegmentScan::window(std::uint64_t bytes) {
  constexpr std::uint64_t kWindowBytes = 1U << 20;
  const std::uint64_t wanted = std::min(bytes, area_end_ - at_);
  if (at_ < window_at_ || at_ + wanted > window_at_ + window_.size()) {
    window_.resize(std::min(std::max(wanted, kWindowBytes), area_end_ - at_));
    window_at_ = at_;
    const auto got = file_.read(at_, window_);
    if (!got) return from_disk(got.error());
    window_.resize(*got);
  }
  return BytesView(window_).subspan(at_ - window_at_);
}

Result<bool, JournalError> SegmentScan::next(Record& out) {
  auto bytes = window(kRecordHeaderBytes);
  if (!bytes) return bytes.error();
  if (bytes->size() >= 8 && load_le<std::uint32_t>(bytes->data()) == kRecordMagic) {
    const auto body_bytes = load_le<std::uint32_t>(bytes->data() + 4);
    if (body_bytes <= kBodyBytesMax && record_bytes(body_bytes) <= area_end_ - at_) {
      bytes = window(record_bytes(body_bytes));
      if (!bytes) return bytes.error();
    }
  }
  RecordWalk walk(*bytes, 0, end_, epoch_);
  if (!walk.next(out)) {
    reason_ = walk.reason();
    return false;
  }
  at_ += walk.offset();
  end_ = walk.end();
  epoch_ = walk.epoch();
  return true;
}

std::optional<Found> find_record(BytesView bytes, std::size_t from, Lsn above) {
  for (std::size_t at = (from + 7) & ~std::size_t{7}; at + kRecordHeaderBytes <= bytes.size(); at += 8) {
    if (load_le<std::uint32_t>(bytes.data() + at) != kRecordMagic) continue;
    Found found{at, {}};
    if (decode_record(bytes.subspan(at), found.record) == DecodeStatus::ok &&
        found.record.header.lsn > above) {
      return found;
    }
  }
  return std::nullopt;
}

std::size_t end_of_traces(BytesView bytes, Lsn first) {
  std::size_t end = 0;
  for (std::size_t at = 0; at + kRecordHeaderBytes <= bytes.size();) {
    Record record;
    if (load_le<std::uint32_t>(bytes.data() + at) != kRecordMagic) {
      at += 8;
    } else if (decode_record(bytes.subspan(at), record) == DecodeStatus::ok) {
      at += record.raw.size();
      if (record.header.lsn >= first) end = at;
    } else {
      // Torn, or an old one that is partly overwritten: its LSN tells, if that is where the header is.
      const std::size_t length = record_bytes(load_le<std::uint32_t>(bytes.data() + at + 4));
      if (load_le<std::uint64_t>(bytes.data() + at + 24) >= first.value) {
        end = std::max(end, std::min(bytes.size(), at + length));
      }
      at += 8;
    }
  }
  return end;
}

std::size_t end_of_content(BytesView bytes, std::size_t from) {
  std::size_t end = bytes.size();
  while (end >= from + 8 && load_le<std::uint64_t>(bytes.data() + end - 8) == 0) end -= 8;
  while (end > from && bytes[end - 1] == std::byte{0}) --end;
  return end;
}

}  // namespace mainstay::journal
