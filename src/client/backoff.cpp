#include "client/backoff.h"

#include <algorithm>

#include "base/doubling_wait.h"

namespace mainstay::client {

Duration full_jitter(const BackoffLimits& limits, unsigned tries, Random& random) {
  const Duration longest = std::max(doubled(limits.first, tries, limits.most), limits.first);
  return {static_cast<std::int64_t>(
      random.between(static_cast<std::uint64_t>(limits.first.ns), static_cast<std::uint64_t>(longest.ns)))};
}

Duration Backoff::next() {
  constexpr Duration kShortest{2};  // it has a half
  const Duration step =
      doubled(std::max(limits_.first, kShortest), tries_++, std::max(limits_.most, kShortest));
  const std::uint64_t half = static_cast<std::uint64_t>(step.ns) / 2;
  return {static_cast<std::int64_t>(half + random_.below(half + 1))};
}

}  // namespace mainstay::client
