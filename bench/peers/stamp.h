// What each message begins with, so that it is known again: "MSG" and 16 hexadecimal digits. Text, so that a
// trace of system calls shows it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace mainstay::bench {

/// What keeps a measurement from being made. Thrown; the peer is then shown as such and the others go on.
struct Trouble {
  std::string what;  ///< a sentence for a stranger
};

inline constexpr std::size_t kStampBytes = 19;
using Stamp = std::array<char, kStampBytes>;
[[nodiscard]] Stamp to_stamp(std::uint64_t value);
/// @param text  kStampBytes of them. Throws Trouble when they are no stamp.
[[nodiscard]] std::uint64_t from_stamp(const char* text);

}  // namespace mainstay::bench
