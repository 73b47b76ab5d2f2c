#include "node/commit_policy.h"

#include <algorithm>

namespace mainstay::node {
namespace {

// The last sync counts for an eighth: one that is a little slow changes nothing, a few do.
constexpr std::int64_t kWeight = 8;
// What one sync can count at most, in limits: just above what takes a disk at rest over the limit, so that
// one hiccup, however long, is forgotten after a few quick syncs.
constexpr std::int64_t kOutlierLimits = 10;

}  // namespace

void CommitPolicy::written(std::size_t records, std::size_t bytes, Duration took, Instant now) {
  if (took > options_.stall_max) stalled_ = now;
  if (!small(records, bytes)) return;
  const std::int64_t ns = std::clamp<std::int64_t>(took.ns, 0, options_.sync_max.ns * kOutlierLimits);
  average_ = average_ ? Duration{average_->ns + (ns - average_->ns) / kWeight} : Duration{ns};
}

}  // namespace mainstay::node
