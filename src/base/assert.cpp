#include "base/assert.h"

#include <cstdio>
#include <cstdlib>

namespace mainstay {

void assertion_failed(const char* condition, const char* why, const char* file, int line) noexcept {
  std::fprintf(stderr, "mainstay: assertion failed: %s\n  because: %s\n  at %s:%d\n", condition, why, file,
               line);
  std::fflush(stderr);
  std::abort();
}

}  // namespace mainstay
