#include "peers/stamp.h"

#include <charconv>
#include <cstring>

namespace mainstay::bench {

Stamp to_stamp(std::uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  Stamp stamp{'M', 'S', 'G'};
  for (std::size_t i = 0; i < 16; ++i) stamp[kStampBytes - 1 - i] = kDigits[(value >> (4 * i)) & 0xf];
  return stamp;
}

std::uint64_t from_stamp(const char* text) {
  std::uint64_t value = 0;
  const auto read = std::from_chars(text + 3, text + kStampBytes, value, 16);
  if (std::memcmp(text, "MSG", 3) != 0 || read.ptr != text + kStampBytes)
    throw Trouble{"a message arrived that nobody sent"};
  return value;
}

}  // namespace mainstay::bench
