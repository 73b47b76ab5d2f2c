// Whether looking for work before sleeping pays, learnt from how it went the last times.
#pragma once

#include <algorithm>

namespace mainstay::io {

/// Pure; one thread. Says yes as long as about one look in five finds something, and now and then to see
/// whether that has changed: a thread whose work comes rarely soon stops looking and sleeps at once.
class SpinPolicy {
 public:
  /// Asked before each sleep. True: look for a while, then tell spun().
  [[nodiscard]] bool worthwhile() { return score_ > 0 || ++skipped_ % kTryEvery == 0; }
  void spun(bool found) { score_ = found ? std::min(score_ + kFound, kMost) : std::max(score_ - 1, 0); }

  static constexpr int kFound = 4, kMost = 16, kTryEvery = 16;

 private:
  int score_ = kMost;
  unsigned skipped_ = 0;
};

}  // namespace mainstay::io
