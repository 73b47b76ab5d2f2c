#include "node/body_cache.h"

#include <algorithm>
#include <utility>

namespace mainstay::node {
namespace {

/// Smaller batches gather in one part: a part's fixed cost is paid once for many of them.
constexpr std::size_t kPartBytes = std::size_t{128} << 10;
/// From here on moving a buffer costs less than copying it.
constexpr std::size_t kMovedBytes = std::size_t{64} << 10;

}  // namespace

std::uint64_t BodyCache::memory_of(const Part& part) {
  return part.bytes.capacity() + part.offsets.capacity() * sizeof(part.offsets[0]);
}

void BodyCache::count(Part& part) {
  bytes_ += memory_of(part) - part.counted;
  part.counted = memory_of(part);
}

void BodyCache::drop_oldest() {
  bytes_ -= spare_.counted;
  spare_ = std::move(parts_.front());  // still counted
  parts_.pop_front();
}

void BodyCache::start_part(std::size_t bytes, Lsn first) {
  Part part = std::exchange(spare_, Part{});
  part.bytes.clear();
  part.offsets.clear();
  // A spare that one large batch left would be held for many small ones.
  if (part.bytes.capacity() > 4 * bytes) part.bytes = Buffer();
  if (part.bytes.capacity() < bytes) part.bytes.reserve(bytes);
  part.first = first;
  count(part);
  parts_.push_back(std::move(part));
}

void BodyCache::add(journal::Batch& batch) {
  if (batch.empty() || bytes_max_ == 0) return;
  if (!parts_.empty() && parts_.back().first.value + parts_.back().offsets.size() != batch.first.value) {
    parts_.clear();
    spare_ = {};
    bytes_ = 0;
  }
  const std::size_t size = batch.bytes.size();
  if (size > bytes_max_) {  // more than all there may be: its memory is worth more to the next batch
    parts_.clear();
    spare_ = {};
    bytes_ = 0;
    return;
  }
  if (size >= kMovedBytes && size >= batch.bytes.capacity() / 2) {
    Part part = std::exchange(spare_, Part{});
    part.first = batch.first;
    std::swap(part.bytes, batch.bytes);
    std::swap(part.offsets, batch.offsets);
    count(part);
    parts_.push_back(std::move(part));
  } else {
    Part* last = parts_.empty() ? nullptr : &parts_.back();
    if (last == nullptr || last->bytes.capacity() - last->bytes.size() < size) {
      start_part(std::max<std::size_t>(size, std::min<std::uint64_t>(kPartBytes, bytes_max_ / 8)),
                 batch.first);
      last = &parts_.back();
    }
    const auto shift = static_cast<std::uint32_t>(last->bytes.size());
    last->bytes.insert(last->bytes.end(), batch.bytes.begin(), batch.bytes.end());
    for (const std::uint32_t offset : batch.offsets) last->offsets.push_back(offset + shift);
    count(*last);
  }
  while (bytes_ > bytes_max_ && parts_.size() > 1) drop_oldest();
  if (bytes_ > bytes_max_) bytes_ -= std::exchange(spare_, Part{}).counted;
  if (bytes_ > bytes_max_) {
    // One batch larger than all there may be.
    parts_.clear();
    bytes_ = 0;
  }
}

std::optional<BytesView> BodyCache::find(Lsn lsn) const {
  const auto after = std::upper_bound(parts_.begin(), parts_.end(), lsn,
                                      [](Lsn wanted, const Part& part) { return wanted < part.first; });
  if (after == parts_.begin()) return std::nullopt;
  const Part& part = *std::prev(after);
  const std::uint64_t index = lsn.value - part.first.value;
  if (index >= part.offsets.size()) return std::nullopt;
  const std::size_t from = part.offsets[index];
  const std::size_t to = index + 1 < part.offsets.size() ? part.offsets[index + 1] : part.bytes.size();
  return BytesView(part.bytes).subspan(from, to - from);
}

}  // namespace mainstay::node
