// Waits that double: what has failed is tried again, ever more seldom, up to a bound. Without chance: what
// many would do in step wants jitter, too (client/backoff.h).
#pragma once

#include <algorithm>

#include "base/clock.h"

namespace mainstay {

/// `first`, doubled `times` times, but at most `most`.
/// @pre `most` is less than half of what a Duration can hold (146 years)
[[nodiscard]] constexpr Duration doubled(Duration first, unsigned times, Duration most) {
  Duration wait = first;
  for (unsigned i = 0; i < times && wait < most; ++i) wait.ns *= 2;
  return std::min(wait, most);
}

/// A value; one thread.
class DoublingWait {
 public:
  DoublingWait(Duration first, Duration most) : first_(first), most_(most) {}
  /// The wait from here on: `first` once, then each time twice as long, up to `most`.
  [[nodiscard]] Duration next() { return doubled(first_, times_++, most_); }
  /// What was tried went well: the next wait is `first` again.
  void reset() { times_ = 0; }

 private:
  Duration first_, most_;
  unsigned times_ = 0;
};

}  // namespace mainstay
