// Randomness of the machine: a seed for everything that draws.
#pragma once

#include <cstdint>

#include "base/random.h"

namespace mainstay::io {

/// 64 bits from getrandom(2).
std::uint64_t system_seed();

/// A SeededRandom seeded by the machine. Not thread-safe: one per strand. Not for secrets.
class SystemRandom final : public Random {
 public:
  SystemRandom() : random_(system_seed()) {}
  std::uint64_t next() override { return random_.next(); }

 private:
  SeededRandom random_;
};

}  // namespace mainstay::io
