#include <algorithm>
#include <limits>
#include <utility>

#include "base/assert.h"
#include "journal/journal.h"

namespace mainstay::journal {

void Batch::clear() {
  bytes.clear();
  offsets.clear();
  first = {};
  end = {};
}

Lsn LogBuilder::append(RecordType type, std::span<const BytesView> body_parts) {
  const std::size_t at = batch_.bytes.size();
  MS_ASSERT(at <= std::numeric_limits<std::uint32_t>::max(), "a batch is taken before it reaches 4 GiB");
  const Lsn lsn = end_.lsn.next();
  const std::uint64_t hash = encode_record(batch_.bytes, lsn, epoch_, end_.hash, type, body_parts);
  if (batch_.empty()) batch_.first = lsn;
  batch_.offsets.push_back(static_cast<std::uint32_t>(at));
  end_ = {lsn, hash};
  batch_.end = end_;
  return lsn;
}

void LogBuilder::start_epoch(Epoch epoch) {
  MS_ASSERT(epoch > epoch_, "epochs never go back or repeat");
  epoch_ = epoch;
}

Batch LogBuilder::take(Batch recycled) {
  // One burst of large records must not hold its memory for good.
  constexpr std::size_t kKeptBytes = std::size_t{8} << 20;
  if (recycled.bytes.capacity() > kKeptBytes && batch_.bytes.size() < recycled.bytes.capacity() / 4) {
    recycled = Batch();
  }
  recycled.clear();
  // The next batch is about as large as this one: growing into it would copy it as often as it doubles.
  constexpr std::size_t kReservedFrom = std::size_t{64} << 10;
  if (batch_.bytes.size() >= kReservedFrom) {
    recycled.bytes.reserve(std::min(batch_.bytes.size(), kKeptBytes));
    recycled.offsets.reserve(std::min(batch_.offsets.size(), kKeptBytes / kRecordHeaderBytes));
  }
  std::swap(recycled, batch_);
  return recycled;
}

}  // namespace mainstay::journal
