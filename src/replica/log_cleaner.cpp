#include "replica/log_cleaner.h"

#include <algorithm>

#include "base/assert.h"

namespace mainstay::replica {
namespace {

std::uint64_t part(std::uint64_t whole, std::uint64_t of, std::uint64_t in) {
  return in == 0 ? 0
                 : static_cast<std::uint64_t>(static_cast<double>(whole) * static_cast<double>(of) /
                                              static_cast<double>(in));
}

}  // namespace

LogCleaner::LogCleaner(Lsn first, Lsn end, std::uint64_t bytes) : end_{end, bytes}, bytes_planned_at_(bytes) {
  samples_.push_back({first.value == 0 ? Lsn{} : Lsn{first.value - 1}, 0});
  if (samples_.back().lsn < end) samples_.push_back(end_);
}

void LogCleaner::appended(Lsn end, std::uint64_t bytes_total, std::uint64_t segment_bytes) {
  MS_ASSERT(end >= end_.lsn && bytes_total >= end_.bytes, "a log only grows at its end");
  end_ = {end, bytes_total};
  if (end > samples_.back().lsn && bytes_total - samples_.back().bytes >= segment_bytes / 4) {
    samples_.push_back(end_);
  }
}

std::uint64_t LogCleaner::bytes_from(Lsn lsn) const {
  if (lsn > end_.lsn) return 0;
  const auto after = std::lower_bound(samples_.begin(), samples_.end(), lsn,
                                      [](const Sample& sample, Lsn at) { return sample.lsn < at; });
  if (after == samples_.begin()) return end_.bytes - after->bytes;
  const Sample& low = *std::prev(after);
  const Sample& high = after == samples_.end() ? end_ : *after;
  const std::uint64_t before =
      low.bytes + part(high.bytes - low.bytes, lsn.value - 1 - low.lsn.value, high.lsn.value - low.lsn.value);
  return end_.bytes - before;
}

Lsn LogCleaner::lsn_at(std::uint64_t bytes) const {
  const auto after =
      std::lower_bound(samples_.begin(), samples_.end(), bytes,
                       [](const Sample& sample, std::uint64_t at) { return sample.bytes < at; });
  if (after == samples_.begin()) return after->lsn;
  const Sample& low = *std::prev(after);
  const Sample& high = after == samples_.end() ? end_ : *after;
  return Lsn{low.lsn.value + part(high.lsn.value - low.lsn.value, bytes - low.bytes, high.bytes - low.bytes)};
}

std::uint64_t LogCleaner::limit(const Input& input) {
  const std::uint64_t segments = input.disk_full ? 1 : 4;
  return std::max(segments * input.segment_bytes, 2 * input.live_bytes);
}

LogCleaner::Plan LogCleaner::plan(const Input& input) {
  const std::int64_t step_max = input.disk_full ? kStepBytesDiskFull : kStepBytesMax;
  if (planned_) {
    const auto gone_us = std::min<std::int64_t>((input.now - planned_at_).ns / 1000, 1'000'000);
    const auto appended = std::min<std::uint64_t>(end_.bytes - bytes_planned_at_, 1U << 30);
    budget_bytes_ += std::max(kBytesPerSecondMin * gone_us / 1'000'000,
                              static_cast<std::int64_t>(appended) / kAppendedShare);
  } else {
    budget_bytes_ = step_max;
  }
  planned_ = true;
  planned_at_ = input.now;
  bytes_planned_at_ = end_.bytes;
  budget_bytes_ = std::min(budget_bytes_, step_max);
  // Below the oldest message nobody asks any more.
  while (samples_.size() > 1 && samples_[1].lsn < input.oldest_needed) samples_.pop_front();

  Plan plan;
  const std::uint64_t most = limit(input);
  const std::uint64_t keeps = bytes_from(input.oldest_needed);
  if (!cleaning_) {
    if (keeps <= most) return plan;
    cleaning_ = plan.began = true;
  } else if (keeps <= most / 2) {
    cleaning_ = false;
    plan.ended = true;
    return plan;
  }
  if (budget_bytes_ <= 0) return plan;
  if (input.publishes_held && !input.disk_full) return plan;
  // On a full disk a part of what settlements have: a segment that becomes free gives more than it costs.
  const std::uint64_t kept = input.disk_full ? input.reserve_bytes / 2 : input.reserve_bytes;
  if (input.room <= kept) return plan;
  plan.bytes = std::min(static_cast<std::uint64_t>(budget_bytes_), input.room - kept);
  plan.before = lsn_at(end_.bytes - std::min(end_.bytes, most / 2)).next();
  return plan;
}

void LogCleaner::moved(std::size_t bytes) {
  budget_bytes_ -= static_cast<std::int64_t>(bytes);
}

}  // namespace mainstay::replica
