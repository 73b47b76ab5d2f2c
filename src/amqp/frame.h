// Protocol headers and frame headers (part 2 of the standard, sections 2.2 and 2.3).
#pragma once

#include <array>
#include <cstdint>

#include "base/bytes.h"

namespace mainstay::amqp {

inline constexpr std::size_t kProtocolHeaderBytes = 8;
/// "AMQP", protocol id, major, minor, revision.
inline constexpr std::array<std::uint8_t, 8> kAmqpHeader{'A', 'M', 'Q', 'P', 0, 1, 0, 0};
inline constexpr std::array<std::uint8_t, 8> kSaslHeader{'A', 'M', 'Q', 'P', 3, 1, 0, 0};

inline constexpr std::size_t kFrameHeaderBytes = 8;
/// Every peer can take frames of this size.
inline constexpr std::uint32_t kMinMaxFrameBytes = 512;

enum class FrameType : std::uint8_t { amqp = 0, sasl = 1 };

struct FrameHeader {
  std::uint32_t size{};        ///< of the whole frame
  std::uint8_t data_offset{};  ///< in words of 4 bytes, at least 2
  std::uint8_t type{};
  std::uint16_t channel{};  ///< AMQP frames only
};

/// @param from  kFrameHeaderBytes bytes at least.
inline FrameHeader read_frame_header(const std::byte* from) {
  return {load_be<std::uint32_t>(from), std::to_integer<std::uint8_t>(from[4]),
          std::to_integer<std::uint8_t>(from[5]), load_be<std::uint16_t>(from + 6)};
}
inline void write_frame_header(std::byte* to, std::uint32_t size, FrameType type, std::uint16_t channel) {
  store_be(to, size);
  to[4] = std::byte{2};
  to[5] = static_cast<std::byte>(type);
  store_be(to + 6, channel);
}

}  // namespace mainstay::amqp
