#include "base/checksum.h"

#include <xxhash.h>

namespace mainstay {

std::uint64_t checksum64(BytesView bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string digest128(BytesView bytes) {
  const XXH128_hash_t h = XXH3_128bits(bytes.data(), bytes.size());
  return hex(h.high64) + hex(h.low64);
}

}  // namespace mainstay
