#include "io/system_random.h"

#include <sys/random.h>

#include <cerrno>

#include "base/assert.h"

namespace mainstay::io {

std::uint64_t system_seed() {
  std::uint64_t seed = 0;
  ssize_t got = 0;
  do {
    got = ::getrandom(&seed, sizeof seed, 0);
  } while (got < 0 && errno == EINTR);
  MS_ASSERT(got == static_cast<ssize_t>(sizeof seed), "getrandom gives short requests whole");
  return seed;
}

}  // namespace mainstay::io
