// What the nodes of one group say to each other in their region. Every packet carries who speaks, on which
// disk, and under which epoch (R2), and a checksum over all of it. Format: docs/formats/group-replication.md.
//
// Decoding is safe on arbitrary bytes. Packets follow each other on a stream without anything in between;
// packet_bytes() tells the reader of the stream where one ends.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "coordination/group_record.h"
#include "group/epoch_table.h"
#include "journal/record.h"
#include "replication/packets.h"

namespace mainstay::group {

/// Raised when a packet's meaning changes. The one before is spoken too, so that a group can be upgraded one
/// node after the other; a peer of any other version is refused by name. Which of the two a connection
/// speaks: member.h, connected().
inline constexpr std::uint16_t kPacketVersion = 2;
inline constexpr std::uint16_t kPacketVersionOldest = 1;
/// From this one on packets say something about time.
inline constexpr std::uint16_t kPacketVersionOfTimes = 2;
inline constexpr std::size_t kPacketPrefixBytes = 8;
inline constexpr std::size_t kPacketBytesMax = replication::kPacketBytesMax;

/// A node and the disk it has: a node that comes back with a new disk is another member.
using MemberId = coordination::Member;

/// Who speaks. `epoch`: a leader's own; of anybody else the highest promised.
///
/// Every packet is a question and an answer about time, too. `sent` is on the sender's monotonic clock and
/// means nothing to others: they give it back. `heard` is the newest that the sender was given on this
/// connection, `held` since when. So the receiver learns how long the way there and back takes, and a leader,
/// for how long after its own `sent` this follower does not take over, whatever happens to the packets in
/// between. Durations are whole microseconds, at most 71 minutes.
struct Sender {
  Uuid cluster;
  MemberId member;
  Epoch epoch{};
  bool leads = false;
  Instant sent{};
  Duration lease{};    ///< leader: what it asks for, from `sent` on; of anybody else 0
  Instant heard{};     ///< 0 = nothing yet
  Duration held{};     ///< from hearing it to sending this
  Duration granted{};  ///< of the lease in that packet, to the receiver; 0 = nothing
  /// Drawn by each Member: lines of one life carry one clock's `sent`, and an older life's are over. Not 0.
  std::uint64_t life{};
};

/// First packet both ways, and again whenever role or epoch change.
struct Hello {
  journal::LogPosition end{};  ///< of what is durable; a leader's: of all that it has ordered
  Lsn committed{};             ///< known to be
  EpochTable epochs;           ///< of the log
};
/// Follower to leader: "ship what comes after `from`, my durable end".
struct Follow {
  journal::LogPosition from{};
};
/// Leader to follower: the position is in my log; records after it follow.
struct Accept {
  journal::LogPosition from{};
};
/// On the wire: never renumber.
enum class RefusalCode : std::uint8_t {
  lower_epoch = 1,  ///< the receiver's epoch is over: the sender has promised a higher one
  diverged = 2,     ///< other record at the same LSN though the tables agree: damage or a bug
  removed = 3,      ///< the leader no longer has the records after the position
  foreign = 4,      ///< other cluster, the sender's own name, or a node that is not one of the group
  impossible = 5,   ///< data out of place, an acknowledgement of what was never sent
};
/// The sender will not go on. It closes the connection after `diverged` and `impossible`, and after `foreign`
/// unless only the group's list keeps the node out: it may become one of the group. The line also stays after
/// `lower_epoch`, and after `removed` for a peer that knows of full copies.
struct Refuse {
  RefusalCode code{};
  std::string what;
};
/// Leader to follower: whole records in LSN order, byte-identical, committed or not.
struct Records {
  Lsn committed{};
  BytesView raw;  ///< view into the packet
};
/// Follower to leader: durable on the sender's disk, which has promised no more than the sender's epoch.
struct Ack {
  journal::LogPosition durable{};
};
/// Both ways when there is nothing else to say.
struct Beacon {
  Lsn committed{};
};
/// Leader to follower: every record is committed and on your disk; take the lead now.
struct TakeOver {};

/// On the wire: never renumber.
enum class CopyKind : std::uint8_t {
  root = 1,     ///< the checkpoint's content
  pages = 2,    ///< a file of pages: paging::page_file_name(number)
  records = 3,  ///< of the log, from `before` to `end`. The last item
};
struct CopyItem {
  CopyKind kind{};
  std::uint32_t number{};  ///< of a file of pages; otherwise 0
  std::uint64_t bytes{};   ///< its length; of records as reckoned
  friend bool operator==(const CopyItem&, const CopyItem&) = default;
};
/// Follower to leader, whose log no longer begins early enough: give me this part of a copy. With no cut:
/// take one, and say what it consists of. With no bytes: only that the copy is still wanted.
struct CopyAsk {
  Uuid cut;
  std::uint32_t item{};    ///< index in CopyPlan::items
  std::uint64_t offset{};  ///< in it; of records the LSN to begin with
  std::uint32_t bytes{};   ///< wanted at most
  friend bool operator==(const CopyAsk&, const CopyAsk&) = default;
};
/// Leader to follower: the state at one committed LSN, as files that do not change any more.
struct CopyPlan {
  Uuid cut;                     ///< drawn by the leader
  journal::LogPosition before;  ///< the record before the first one of the copy
  journal::LogPosition end;     ///< of the copy's records, and of the state
  std::uint64_t state_hash{};   ///< broker::State::hash() there
  RegionTerm region_term{};
  EpochTable epochs;            ///< of the log up to `end`
  std::vector<CopyItem> items;  ///< root, pages …, records
  [[nodiscard]] std::uint64_t bytes() const;
  friend bool operator==(const CopyPlan&, const CopyPlan&) = default;
};
inline constexpr std::size_t kCopyItemsMax = 1U << 20;
/// Leader to follower. Of records: whole ones.
struct CopyPart {
  Uuid cut;
  std::uint32_t item{};
  std::uint64_t offset{};
  BytesView bytes;  ///< view into the packet; not empty unless the item is
};
/// On the wire: never renumber.
enum class CopyRefusal : std::uint8_t {
  gone = 1,   ///< there is no such cut (any more): ask for a new one
  later = 2,  ///< not now: another copy is under way, no space for a checkpoint, …
};
/// Leader to follower: there will be no answer to what was asked.
struct CopyRefused {
  CopyRefusal code{};
  std::string what;
};

using Message = std::variant<Hello, Follow, Accept, Refuse, Records, Ack, Beacon, TakeOver, CopyAsk, CopyPlan,
                             CopyPart, CopyRefused>;

/// Whether this version of packets has a word for it: version 1 knows no full copies.
[[nodiscard]] bool speaks(std::uint16_t version, const Message& message);

struct Packet {
  std::uint16_t version{};
  Sender sender;
  Message message;
};

/// A plan by itself, to be kept beside the copy. decode_plan() takes exactly what encode_plan() appends.
void encode_plan(const CopyPlan& plan, Buffer& to);
[[nodiscard]] std::optional<CopyPlan> decode_plan(BytesView bytes);

/// As replication::packet_bytes().
[[nodiscard]] Result<std::optional<std::size_t>, replication::PacketError> packet_bytes(BytesView stream);
/// Appends one encoded packet to `to`. What an older version has no field for is left out.
void encode(const Sender& sender, const Message& message, Buffer& to, std::uint16_t version = kPacketVersion);
/// Decodes exactly one whole packet. `Records::raw` is a view into `bytes`; its records are not looked at.
[[nodiscard]] Result<Packet, replication::PacketError> decode(BytesView bytes);

}  // namespace mainstay::group
