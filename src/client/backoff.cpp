#include "client/backoff.h"

#include <algorithm>

namespace mainstay::client {

Duration full_jitter(const BackoffLimits& limits, unsigned tries, Random& random) {
  std::int64_t most_ns = limits.first.ns;
  for (unsigned i = 0; i < tries && most_ns < limits.most.ns; ++i) most_ns *= 2;
  most_ns = std::max(std::min(most_ns, limits.most.ns), limits.first.ns);
  return {static_cast<std::int64_t>(
      random.between(static_cast<std::uint64_t>(limits.first.ns), static_cast<std::uint64_t>(most_ns)))};
}

Duration Backoff::next() {
  std::int64_t step_ns = std::max<std::int64_t>(limits_.first.ns, 2);
  for (unsigned i = 0; i < tries_ && step_ns < limits_.most.ns; ++i) step_ns *= 2;
  step_ns = std::min(step_ns, std::max<std::int64_t>(limits_.most.ns, 2));
  ++tries_;
  const std::uint64_t half = static_cast<std::uint64_t>(step_ns) / 2;
  return {static_cast<std::int64_t>(half + random_.below(half + 1))};
}

}  // namespace mainstay::client
