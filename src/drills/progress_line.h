// One line that tells how far a long command is: rewritten in place on a terminal, now and then elsewhere.
#pragma once

#include <string>

#include "base/clock.h"

namespace mainstay::drills {

/// Writes to standard error. Not thread-safe.
class ProgressLine {
 public:
  explicit ProgressLine(Clock& clock);
  /// Ends the line, so that what follows stands below it.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  /// The state now; shown at most ten times a second (terminal) or every two seconds.
  void show(const std::string& text);
  /// Something worth keeping: a line of its own, at once.
  void say(const std::string& text);

 private:
  Clock& clock_;
  const bool terminal_;
  Instant next_{};
  bool open_ = false;
};

}  // namespace mainstay::drills
