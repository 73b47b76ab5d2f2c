#include "node/record_reader.h"

#include <algorithm>
#include <string>

namespace mainstay::node {
namespace {

/// A record so close behind the last one is better read with what is between than by itself.
constexpr std::uint64_t kNear = 64;
constexpr std::size_t kStep = 4;

}  // namespace

Result<journal::Record, journal::JournalError> RecordReader::get(Lsn lsn) {
  journal::Record record;
  // Passing over a record costs its header only.
  while (lsn > next_ && at_ + journal::kRecordHeaderBytes <= bytes_.size()) {
    at_ += journal::record_bytes(load_le<std::uint32_t>(bytes_.data() + at_ + 4));
    next_ = next_.next();
  }
  if (lsn != next_ || at_ >= bytes_.size()) {
    const bool near = lsn >= next_ && lsn.value - next_.value <= kNear && reads_ != 0;
    if (!near || used_ < bytes_.size() / 16) {
      chunk_bytes_ = 0;
    } else {
      chunk_bytes_ = std::clamp(chunk_bytes_ * kStep, kChunkBytesMin, kChunkBytesMax);
    }
    bytes_.clear();
    at_ = used_ = 0;
    next_ = lsn;
    ++reads_;
    auto behind = journal_.read(lsn, chunk_bytes_ == 0 ? lsn : Lsn{UINT64_MAX}, chunk_bytes_, bytes_);
    if (!behind && chunk_bytes_ != 0) {
      // Damage further on in the chunk does not keep back what is whole before it.
      chunk_bytes_ = 0;
      ++reads_;
      behind = journal_.read(lsn, lsn, 0, bytes_);
    }
    if (!behind) return behind.error();
  }
  if (journal::decode_record(BytesView(bytes_).subspan(at_), record) != journal::DecodeStatus::ok) {
    return journal::JournalError{journal::JournalErrorCode::corrupt,
                                 "LSN " + std::to_string(lsn.value) + " does not hold a record"};
  }
  used_ += record.raw.size();
  at_ += record.raw.size();
  next_ = lsn.next();
  return record;
}

}  // namespace mainstay::node
