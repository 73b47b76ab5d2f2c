// XXH3 checksums: they find damage and divergence, not forgery.
#pragma once

#include <cstdint>
#include <string>

#include "base/bytes.h"

namespace mainstay {

/// XXH3-64 with a seed. Stable across versions and machines: it is in our file and wire formats.
std::uint64_t checksum64(BytesView bytes, std::uint64_t seed = 0);

/// XXH3-128 as 32 lower-case hexadecimal digits: names and content digests.
std::string digest128(BytesView bytes);

/// One well-mixed 64-bit word from two. For incremental multiset hashes and seeded maps.
constexpr std::uint64_t mix64(std::uint64_t a, std::uint64_t b) {
  std::uint64_t z = a + 0x9e3779b97f4a7c15ULL + (b ^ (b >> 29)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace mainstay
