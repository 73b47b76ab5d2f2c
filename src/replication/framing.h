// The frame around every packet between nodes, whatever protocol is in it: magic, length, checksum, version,
// kind. The protocols are replication/packets.h (between regions) and group/packets.h (within one).
//
//   0 magic:u32  4 bytes:u32  8 checksum:u64 (XXH3-64 from 16 on)  16 version:u16  18 kind:u16  20
//   reserved:u32
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "journal/record.h"
#include "replication/packet_error.h"

namespace mainstay::replication {

/// One protocol's constants.
struct Framing {
  std::uint32_t magic{};
  std::uint16_t version{};
  std::size_t bytes_min{};  ///< of a packet with the shortest content
  std::size_t bytes_max{};
  const char* name{};                      ///< "replication": for messages
  std::uint16_t version_oldest = version;  ///< that is still understood
};
/// Behind it comes what the protocol puts in.
inline constexpr std::size_t kFrameBytes = 24;

/// Length of the packet at the front of a stream; see packets.h.
[[nodiscard]] Result<std::optional<std::size_t>, PacketError> packet_bytes(const Framing& framing,
                                                                           BytesView stream);

/// Begins a packet at the end of `to`. @return where; give it to end_packet() when the content is behind it.
[[nodiscard]] std::size_t begin_packet(const Framing& framing, Buffer& to, std::uint16_t version);
/// Asserted: the packet is within the protocol's limit.
void end_packet(const Framing& framing, Buffer& to, std::size_t start, std::uint16_t kind);

/// A packet whose length, version and checksum are right.
struct OpenedPacket {
  std::uint16_t version{};
  std::uint16_t kind{};
  ByteReader content;  ///< from kFrameBytes on
};
[[nodiscard]] Result<OpenedPacket, PacketError> open_packet(const Framing& framing, BytesView bytes);
[[nodiscard]] PacketError malformed_packet(const Framing& framing, std::uint16_t kind);

// What several protocols have in their packets.

void put_position(ByteWriter& out, const journal::LogPosition& position);
[[nodiscard]] journal::LogPosition take_position(ByteReader& in);
/// Asserted: at most 255 bytes; configuration limits names.
void put_name(ByteWriter& out, const std::string& name);
[[nodiscard]] std::string take_name(ByteReader& in);
[[nodiscard]] Uuid take_uuid(ByteReader& in);

}  // namespace mainstay::replication
