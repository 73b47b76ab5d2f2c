// What two regions say to each other. Every packet carries who speaks (cluster, region, node) and under which
// leadership (region term, epoch), and a checksum over all of it. Format: docs/formats/replication.md.
//
// Decoding is safe on arbitrary bytes. Packets follow each other on a stream without anything in between;
// packet_bytes() tells the reader of the stream where one ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "journal/record.h"
#include "replication/packet_error.h"

namespace mainstay::replication {

/// Raised when a packet's meaning changes. A peer of another version is refused by name.
inline constexpr std::uint16_t kPacketVersion = 1;
/// Enough to know a packet's length.
inline constexpr std::size_t kPacketPrefixBytes = 8;
/// A packet holds at least one record, so the limit is the largest record and room for the rest.
inline constexpr std::size_t kPacketBytesMax = journal::kBodyBytesMax + (std::size_t{1} << 20);
/// Region and node names.
inline constexpr std::size_t kNameBytesMax = 255;

/// On the wire: never renumber.
enum class NodeRole : std::uint8_t { standby = 0, live = 1, sealed = 2 };

/// Who speaks and under which leadership.
struct Sender {
  Uuid cluster;
  std::string region, node;
  RegionTerm term{};  ///< highest the sender has seen; its own when it is live
  Epoch epoch{};      ///< of the last record in its log
};

/// Introduces the sender: first packet both ways, and again whenever its role changes.
struct Hello {
  NodeRole role{};
  journal::LogPosition end{};  ///< of its durable log
};
/// Standby to live, once per hello of the live: "ship what comes after `from`, my durable end".
struct Follow {
  journal::LogPosition from{};
};
/// Live to standby: the position is in my log; records after it follow.
struct Accept {
  journal::LogPosition from{};
  Lsn committed{};
};
/// On the wire: never renumber.
enum class RefusalCode : std::uint8_t {
  lower_term = 1,     ///< the sender's term is over; the packet's term is the newer one
  diverged = 2,       ///< other record at the same LSN, or records that the live does not have
  removed = 3,        ///< the live no longer has the records after the position
  two_lives = 4,      ///< both lead in the same term: one of two promotions was wrong
  foreign = 5,        ///< other cluster, or the same region
  impossible = 6,     ///< data out of place, an acknowledgement of what was never sent
  state_differs = 7,  ///< same log, other state
};
/// The sender will not go on; it closes the connection after this, but for lower_term.
struct Refuse {
  RefusalCode code{};
  journal::LogPosition ours{};    ///< of the sender of this packet, where that explains the refusal
  journal::LogPosition theirs{};  ///< of the receiver
  std::string what;
};
/// Live to standby: whole committed records in LSN order, byte-identical.
struct Records {
  Lsn committed{};  ///< the live's commit, ≥ the last record here
  BytesView raw;    ///< view into the packet
};
/// Both ways when there is nothing else to say.
struct Heartbeat {
  NodeRole role{};
  Lsn committed{};
};
/// Standby to live.
struct Ack {
  journal::LogPosition durable{};
  Lsn applied{};
  std::uint64_t state_hash{};  ///< broker::State::hash() at `applied`
};
using Message = std::variant<Hello, Follow, Accept, Refuse, Records, Heartbeat, Ack>;

struct Packet {
  Sender sender;
  Message message;
};

/// Length of the packet at the front of a stream. Nothing yet: fewer than kPacketPrefixBytes are there.
/// Error: the stream is not ours or the length is over kPacketBytesMax; close the connection.
[[nodiscard]] Result<std::optional<std::size_t>, PacketError> packet_bytes(BytesView stream);

/// Appends one encoded packet to `to`.
void encode(const Sender& sender, const Message& message, Buffer& to);

/// Decodes exactly one whole packet. `Records::raw` is a view into `bytes`; the records in it are not looked
/// at.
[[nodiscard]] Result<Packet, PacketError> decode(BytesView bytes);

}  // namespace mainstay::replication
