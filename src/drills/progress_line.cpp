#include "drills/progress_line.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace mainstay::drills {

ProgressLine::ProgressLine(Clock& clock) : clock_(clock), terminal_(::isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (open_) fmt::print(stderr, "\n");
}

void ProgressLine::show(const std::string& text) {
  const Instant now = clock_.now();
  if (now < next_) return;
  next_ = now + milliseconds(terminal_ ? 100 : 2000);
  if (terminal_) {
    fmt::print(stderr, "\r\x1b[K{}", text);
    open_ = true;
  } else {
    fmt::print(stderr, "{}\n", text);
  }
  std::fflush(stderr);
}

void ProgressLine::say(const std::string& text) {
  fmt::print(stderr, "{}{}\n", open_ ? "\r\x1b[K" : "", text);
  open_ = false;
  std::fflush(stderr);
}

}  // namespace mainstay::drills
