// Randomness comes in from outside, and its distributions are ours: <random>'s differ between standard
// libraries, which would make a seed mean something else on another machine.
#pragma once

#include <cstdint>

#include "base/ids.h"

namespace mainstay {

/// Not thread-safe: one per strand.
class Random {
 public:
  virtual ~Random() = default;
  virtual std::uint64_t next() = 0;

  /// Uniform in [0, bound). @param bound  at least 1.
  std::uint64_t below(std::uint64_t bound);
  /// Uniform in [low, high].
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  /// True with probability `numerator` / `denominator`.
  bool chance(std::uint64_t numerator, std::uint64_t denominator) { return below(denominator) < numerator; }
  /// Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  /// A random (version 4) UUID.
  Uuid uuid();
};

/// xoshiro256** seeded by splitmix64 (Blackman and Vigna, public domain algorithm). The same seed gives the
/// same sequence on every machine.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(std::uint64_t seed);
  std::uint64_t next() override;

 private:
  std::uint64_t s_[4];
};

}  // namespace mainstay
