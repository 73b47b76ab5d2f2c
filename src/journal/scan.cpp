#include "journal/scan.h"

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

std::size_t end_of_content(BytesView bytes, std::size_t from) {
  std::size_t end = bytes.size();
  while (end >= from + 8 && load_le<std::uint64_t>(bytes.data() + end - 8) == 0) end -= 8;
  while (end > from && bytes[end - 1] == std::byte{0}) --end;
  return end;
}

}  // namespace mainstay::journal
