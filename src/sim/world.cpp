#include "sim/world.h"

#include <cstdio>

#include "base/checksum.h"

namespace mainstay::sim {

std::uint64_t World::mix(std::uint64_t a, std::uint64_t b) {
  return mix64(a, b);
}

void World::trace(const std::string& what) const {
  if (options.trace) std::fprintf(stderr, "%10.4f  %s\n", queue.now().seconds(), what.c_str());
}

}  // namespace mainstay::sim
