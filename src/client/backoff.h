// How long to wait before trying again: doubling, bounded, with jitter, so that many clients of a returning
// server do not come back in step.
#pragma once

#include "base/clock.h"
#include "base/random.h"

namespace mainstay::client {

struct BackoffLimits {
  Duration first = milliseconds(50);
  Duration most = seconds(5);
};

/// A wait before try number `tries` (1 = the first wait): uniform between `first` and a step that doubles
/// from there up to `most` ("full jitter").
[[nodiscard]] Duration full_jitter(const BackoffLimits& limits, unsigned tries, Random& random);

/// Pure: the randomness comes in. One thread.
class Backoff {
 public:
  explicit Backoff(Random& random, BackoffLimits limits = {}) : random_(random), limits_(limits) {}
  /// The wait before the next try: uniform between half of and the whole current step; the step doubles up to
  /// `most`.
  Duration next();
  /// After a success.
  void reset() { tries_ = 0; }
  /// Tries since the last success.
  [[nodiscard]] unsigned tries() const { return tries_; }

 private:
  Random& random_;
  BackoffLimits limits_;
  unsigned tries_ = 0;
};

}  // namespace mainstay::client
