#include "replication/lag_meter.h"

#include <algorithm>
#include <iterator>

#include "base/assert.h"

namespace mainstay::replication {

LagMeter::Block LagMeter::block_of(std::span<const std::uint32_t> record_bytes, Lsn last, Instant oldest) {
  Block block{last, oldest, record_bytes.size(), 0, record_bytes.front(), record_bytes.front()};
  for (const std::uint32_t bytes : record_bytes) {
    block.bytes += bytes;
    block.smallest = std::min(block.smallest, bytes);
    block.largest = std::max(block.largest, bytes);
  }
  return block;
}

void LagMeter::committed(std::span<const std::uint32_t> record_bytes, Instant at) {
  if (record_bytes.empty()) return;
  committed_ = Lsn{committed_.value + record_bytes.size()};
  const Block block = block_of(record_bytes, committed_, at);
  bytes_ += block.bytes;
  if (!blocks_.empty() && blocks_.back().records + block.records <= joined_records_max()) {
    join(blocks_.back(), block);
  } else {
    blocks_.push_back(block);
    make_room();
  }
}

void LagMeter::behind(std::span<const std::uint32_t> record_bytes, Instant since) {
  if (!record_bytes.empty()) put_before(block_of(record_bytes, there_, since));
}

void LagMeter::behind_at_most(std::uint64_t records, std::uint64_t bytes, Instant since) {
  if (records == 0) return;
  Block block{there_, since, records, bytes};
  block.largest =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(bytes, std::numeric_limits<std::uint32_t>::max()));
  put_before(block);
}

void LagMeter::put_before(const Block& block) {
  MS_ASSERT(block.records <= there_.value, "a record has an LSN of at least 1");
  if (done_ != 0) {
    // What is left of the first block becomes a block of its own: the one before it is the first now.
    Block& first = blocks_.front();
    const std::uint64_t left = bytes_left(first, done_);
    bytes_ -= first.bytes - left;
    first.bytes = left;
    first.records -= done_;
    done_ = 0;
  }
  there_ = Lsn{there_.value - block.records};
  bytes_ += block.bytes;
  blocks_.push_front(block);
  make_room();
}

void LagMeter::durable_there(Lsn lsn) {
  MS_ASSERT(lsn <= committed_, "only committed records are shipped, so no more can be durable there");
  if (lsn <= there_) return;
  there_ = lsn;
  while (!blocks_.empty() && blocks_.front().last <= there_) {
    bytes_ -= blocks_.front().bytes;
    blocks_.pop_front();
  }
  done_ = blocks_.empty() ? 0 : there_.value + blocks_.front().records - blocks_.front().last.value;
}

std::uint64_t LagMeter::bytes_left(const Block& block, std::uint64_t done) {
  const std::uint64_t left = block.bytes - std::min(block.bytes, done * block.smallest);
  std::uint64_t most = 0;
  if (__builtin_mul_overflow(block.records - done, block.largest, &most)) return left;
  return std::min(left, most);
}

std::uint64_t LagMeter::bytes() const {
  if (done_ == 0) return bytes_;
  return bytes_ - blocks_.front().bytes + bytes_left(blocks_.front(), done_);
}

void LagMeter::join(Block& to, const Block& behind) {
  to.last = behind.last;
  to.oldest = std::min(to.oldest, behind.oldest);
  to.records += behind.records;
  to.bytes += behind.bytes;
  to.smallest = std::min(to.smallest, behind.smallest);
  to.largest = std::max(to.largest, behind.largest);
}

/// Two neighbours have more than joined_records_max() records together afterwards: less than a third of the
/// blocks is left, and the next kBlocksMax / 2 commits cost nothing.
void LagMeter::make_room() {
  if (blocks_.size() <= kBlocksMax) return;
  const std::uint64_t most = joined_records_max();
  auto kept = blocks_.begin();
  for (auto next = std::next(kept); next != blocks_.end(); ++next) {
    if (kept->records + next->records <= most) {
      join(*kept, *next);
    } else {
      *++kept = *next;
    }
  }
  blocks_.erase(std::next(kept), blocks_.end());
  MS_ASSERT(blocks_.size() <= kBlocksMax / 2, "neighbours with few records were joined");
}

Duration LagMeter::oldest_age(Instant now) const {
  return blocks_.empty() ? Duration{} : now - blocks_.front().oldest;
}

}  // namespace mainstay::replication
