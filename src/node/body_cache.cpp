#include "node/body_cache.h"

#include <algorithm>

namespace mainstay::node {

void BodyCache::add(const journal::Batch& batch) {
  if (batch.empty() || bytes_max_ == 0) return;
  if (!parts_.empty() && parts_.back().first.value + parts_.back().offsets.size() != batch.first.value) {
    parts_.clear();
    bytes_ = 0;
  }
  while (!parts_.empty() && bytes_ + batch.bytes.size() > bytes_max_) {
    bytes_ -= parts_.front().bytes.size();
    spare_ = std::move(parts_.front().bytes);
    parts_.pop_front();
  }
  if (batch.bytes.size() > bytes_max_) return;
  Part part;
  part.first = batch.first;
  part.bytes = std::move(spare_);
  part.bytes.assign(batch.bytes.begin(), batch.bytes.end());
  part.offsets = batch.offsets;
  bytes_ += part.bytes.size();
  parts_.push_back(std::move(part));
  spare_ = Buffer();
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
