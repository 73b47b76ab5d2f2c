// What writer and reader of checkpoint roots share. Private to the room.
#pragma once

#include <cstdint>

namespace mainstay::broker {

inline constexpr std::uint32_t kRootMagic = 0x5342534d;  // "MSBS"
inline constexpr std::uint32_t kRootVersion = 3;
inline constexpr std::uint32_t kRootVersionWithoutStates = 2;  ///< is read too
inline constexpr std::uint64_t kSequenceMax = std::uint64_t{1} << 62;

}  // namespace mainstay::broker
