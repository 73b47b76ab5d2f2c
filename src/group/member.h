// One node's part in its group: whose copies a commit needs, who may lead, who follows whom. The rules R1 to
// R9 of the pair (model/README.md maps them), decided from values: no thread, socket, clock, file or register
// of its own. `replica` and `sim` drive it.
//
// The driver's loop, on one strand:
//   1. feed what happened: packet(), synced(), register_answer(), …, tick().
//   2. act on outputs(), in order.
//   3. follower: take_batch(), write and sync it as raw records, then synced(). Leader: appended() for each
//      batch that goes to the disk, then synced().
// A member lives until it says Restart: the driver then reads its log again, cut where it says, and makes a
// new one. So nobody ever takes back what was applied to a state: a state is rebuilt.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/wire.h"
#include "coordination/group_register.h"
#include "group/epoch_table.h"
#include "group/packets.h"
#include "group/round_trip.h"
#include "group/superblock.h"
#include "journal/journal.h"
#include "replication/region_shipper.h"

namespace mainstay::group {

struct MemberOptions {
  Uuid cluster;
  MemberId self;
  /// Newest version of packets that it speaks; lower than kPacketVersion: as an older release does.
  std::uint16_t packet_version = kPacketVersion;
  /// Why it leads when the register names it already; empty: its node was started again.
  std::string begun_because;
  /// Shared-store mode: nodes that the register does not name may take the disk. Then being alone in the
  /// in-sync set proves nothing, and disk_is_ours() does.
  bool disk_is_shared = false;
  std::string register_name = "the register";  ///< for messages: where it is
  bool may_create = false;  ///< may write the register's first record (a new group; every node of it may)
  /// A follower that hears nothing of its leader asks to lead (R4, R8). Otherwise promote() alone makes it
  /// ask. A planned move, and the return of the node that the register names as leader, are no promotions.
  bool promotes_itself = true;
  Duration beacon_every = milliseconds(100);
  /// R3: an in-sync follower that is not heard of for so long, or has not acknowledged for so long what is on
  /// the leader's own disk, is dropped.
  Duration drop_after = milliseconds(500);
  /// R8: a follower that has not heard of its leader for so long asks to lead. More than drop_after, so that
  /// the leader wins when both are alive.
  Duration suspect_after = milliseconds(1'200);
  /// drop_after, lease and suspect_after are a floor: they grow together with the measured round trip until
  /// suspect_after is this. A node that starts anew waits so long for a leader: it may have granted as much
  /// in its life before.
  Duration suspect_after_max = milliseconds(1'200);
  /// R8: a leader delivers nothing when what it sent so long ago is the newest that an in-sync follower has
  /// answered, and the register did not answer later than that either. Less than suspect_after. A follower
  /// waits for at least the lease it has granted, times suspect_after / lease of its own: so the order holds
  /// although nodes measure different round trips.
  Duration lease = milliseconds(800);
  Duration register_every = milliseconds(500);  ///< a leader looks into the register
  Duration register_retry = milliseconds(100);  ///< after no answer
  /// A follower looks into it although it hears its leader: what is wrong with it is told before it is
  /// needed.
  Duration backup_register_every = seconds(2);
  /// R7: alone, and without the register for so long: nothing is accepted, nothing delivered.
  Duration alone_without_register_max = milliseconds(10'000);
  Duration rejoin_after = milliseconds(200);  ///< a follower must have kept up for so long to be added
  /// Names of the other nodes of the group: a leader takes in no others. Whom it finds in the in-sync set and
  /// not here it keeps, with an alarm, until list() or remove() says otherwise. Nothing: anybody.
  std::optional<std::set<std::string>> listed;
  std::size_t ship_bytes_max = 1U << 20;        ///< per packet
  std::size_t ship_ahead_bytes_max = 8U << 20;  ///< sent and not acknowledged
  std::size_t ship_packets_read_ahead = 4;      ///< for a follower that is far behind
  std::uint64_t far_behind = 10'000;            ///< records that a follower lacks: feeds_far_behind()
};

enum class Role : std::uint8_t {
  follower,   ///< of whoever leads; perhaps of nobody yet
  candidate,  ///< has promised an epoch and asks the register for it
  leader,
  stopped,  ///< must not lead or follow until a person has looked (Alarm says why)
};

struct SendPacket {
  PeerId to{};
  Buffer packet;
};
/// Read it, replication::read_ahead(), on any thread, and call log_read(); or set
/// MemberOptions::ship_packets_read_ahead to 0.
struct ReadLog {
  PeerId to{};  ///< whom it is for
  std::shared_ptr<replication::ShipAhead> part;
};
struct ClosePeer {
  PeerId peer{};
  std::string why;
};
/// Store it durably, then call block_stored(). At most one is out.
struct StoreBlock {
  Superblock block;
};
/// Ask the register (linearizable), then call register_read(). At most one question is out.
struct ReadRegister {};
/// coordination::GroupRegister::compare_and_swap(), then call register_changed().
struct ChangeRegister {
  coordination::GroupState expected;
  coordination::GroupRecord next;
};
/// Committed up to here: answers that depend on it may leave. Grows.
struct Committed {
  Lsn lsn{};
};
/// The epoch is this member's: append its epoch_started record, and go on. Also when a leader goes on under a
/// new epoch (`continues`): records from now on carry it.
struct Lead {
  Epoch epoch{};
  bool continues = false;
};
/// This member is over. Read the log again, cut after `cut` if it says so (what is cut goes to quarantine),
/// and begin a new one. Operations that were not answered have an unknown outcome.
struct Restart {
  std::optional<journal::LogPosition> cut;
  std::string why;
};
struct Alarm {
  std::string why;
};
/// This node's own log could not be read here, twice: what begins with this record. Whether it is damaged the
/// driver finds out, and what then (group/log_repair.h).
struct Unreadable {
  Lsn first{};
  std::string why;
};
/// The leader at this peer no longer has the records after this log's end: only a copy of everything brings
/// this node back (group/full_copy.h). Said once per connection, as long as it is so.
struct NeedCopy {
  PeerId from{};
  std::string node;
};
/// A packet about a full copy, whole: decode() gives a CopyAsk to a leader, anything else to a follower.
struct CopyHeard {
  PeerId from{};
  MemberId who;
  Buffer packet;
};
using Output = std::variant<SendPacket, ClosePeer, StoreBlock, ReadRegister, ChangeRegister, Committed, Lead,
                            Restart, Alarm, Unreadable, NeedCopy, CopyHeard, ReadLog>;

/// Of a read or a change of the register.
enum class RegisterOutcome : std::uint8_t {
  done,         ///< read: here it is; change: won
  lost,         ///< change: somebody was first; `state` is what is there
  unavailable,  ///< read: no answer; change: certainly not stored
  unknown,      ///< change: may have been stored, or may still be
};

struct MemberStatus {
  Role role{};
  Epoch epoch{};             ///< that it leads, or whose leader it follows; 0 = neither
  Epoch promised{}, seen{};  ///< Superblock has the same names
  /// No epoch above was ever promised, seen or asked for here: what a repair of the register goes beyond.
  Epoch highest{};
  /// What the register said last, in this life or before, as far as it was believed.
  std::optional<coordination::GroupRecord> known;
  Lsn durable{}, committed{};
  std::string leader;                ///< node; empty = unknown
  std::vector<std::string> in_sync;  ///< nodes, as last known
  std::vector<std::string> need;     ///< leader: nodes whose acknowledgement a commit waits for
  bool alone = false;                ///< leader whose in-sync set is itself
  std::set<std::string> removed;     ///< nodes that an operator took out, as last known
  std::set<std::string> following;   ///< leader: nodes that it ships to
  std::string last_problem;
  bool cannot_cut = false;  ///< stopped, because the record after which its log must be cut is unreadable
  std::vector<std::string> connected;             ///< a node once for each line to it
  std::map<std::string, std::uint16_t> versions;  ///< of packets to each of them
  bool register_refused = false;  ///< its last answer was older than what was seen, or of another cluster
  Times times;                    ///< in force; a leader's lease is what it asks for
  Duration grace{};       ///< follower: for how long after its leader's last word it waits, without jitter
  Instant grace_until{};  ///< follower: that, as an instant, jitter included
  bool waits_for_operator = false;  ///< it would ask to lead, and may not by itself
  Duration round_trip{};            ///< counted with: the longest to a node that is connected; 0 = not known
};

class Member {
 public:
  /// @param journal  read only, and only what is durable
  /// @param block    as loaded; its epochs completed by what the log holds (recovery notes each record)
  Member(MemberOptions options, journal::Journal& journal, Superblock block, Random& random, Instant now);
  ~Member();

  [[nodiscard]] Role role() const;
  /// Of the leadership; asserted: leader.
  [[nodiscard]] Epoch epoch() const;
  [[nodiscard]] Lsn committed() const;
  /// It has said Restart; every call is ignored.
  [[nodiscard]] bool over() const;

  void register_read(RegisterOutcome outcome, const coordination::GroupState& state, Instant now,
                     WallTime wall);
  void register_changed(RegisterOutcome outcome, const coordination::GroupState& state, Instant now,
                        WallTime wall);
  void block_stored(Instant now, WallTime wall);

  /// Who dials speaks first, in its newest version; who was dialled answers in the newest that both speak. An
  /// older release hangs up on a version that it does not know, after a word in its own: the next connection
  /// to that node begins in that version, and the one after it in the newest again, since the node may have
  /// been upgraded meanwhile.
  /// @param dialled  the node that this one has connected to; empty: the peer has connected to this one
  void connected(PeerId peer, const std::string& dialled, Instant now, WallTime wall);
  void disconnected(PeerId peer, Instant now, WallTime wall);
  /// One whole packet (packets.h: packet_bytes() cuts the stream). Ignored from a peer that was closed; what
  /// is not well-formed closes it.
  void packet(PeerId from, BytesView packet, Instant now, WallTime wall);

  /// Leader: the batch is on its way to the own disk now. Ships it.
  void appended(const journal::Batch& batch, Instant now, WallTime wall);
  /// Leader: a part of the log that ReadLog asked for. Dropped when nobody waits for it any more.
  void log_read(PeerId to, replication::ShipAhead part, Instant now, WallTime wall);
  /// Follower: records to write, when no batch is out.
  [[nodiscard]] bool take_batch(journal::Batch& into);
  /// Leads, and ships a node that is not in sync what it misses: more than MemberOptions::far_behind.
  [[nodiscard]] bool feeds_far_behind() const;
  /// Leads, with the only copy in sync, and ships others what they miss: records that the nearest of them
  /// lacks. Nullopt: there is a second copy, or nobody is about to become one.
  [[nodiscard]] std::optional<std::uint64_t> second_copy_lag() const;
  /// Whether its leader's group has committed a record behind this one already: a follower that is given such
  /// records is behind, since what it has in sync is not committed without it.
  [[nodiscard]] bool committed_beyond(Lsn lsn) const;
  /// Own log durable up to here.
  void synced(journal::LogPosition durable, Instant now, WallTime wall);

  /// Has the superblock stored unless block_covers(lsn).
  void cover(Lsn lsn, Instant now, WallTime wall);

  /// R9: syncs take too long or stand still; a leader hands over, a follower says nothing more.
  void disk_stalled(bool stalled, Instant now, WallTime wall);
  /// Shared-store mode: at `when` the disk, which other nodes can take, had not been taken. As good as the
  /// word of a follower or of the register that nobody else leads (R7, R8).
  void disk_is_ours(Instant when);
  /// Leader, planned move: nothing more is appended until the move succeeded or was given up. When all is
  /// committed and on the follower's disk it is told to take over. @return why not.
  [[nodiscard]] std::optional<std::string> hand_over(const std::string& to, Instant now, WallTime wall);

  /// Follower: asks to lead in the place of a leader that it does not hear, by R4 as it would by itself;
  /// which set and epoch is not the operator's to choose. Forgotten when it leads, when it hears a leader,
  /// and after `most` unless it has asked the register by then. @param by  for the register's record. @return
  /// why not.
  [[nodiscard]] std::optional<std::string> promote(const std::string& by, Duration most, Instant now,
                                                   WallTime wall);
  /// As MemberStatus has it.
  [[nodiscard]] bool waits_for_operator() const;
  /// What promote() asked for is still wanted.
  [[nodiscard]] bool promoting() const;

  /// A planned move is under way.
  [[nodiscard]] bool handing_over() const;

  /// The other nodes of the group from now on. A leader drops from the in-sync set who is not among them, and
  /// takes in again who is and was removed.
  void list(std::set<std::string> others, Instant now, WallTime wall);
  /// Leader: drops the node from the in-sync set (R3) and takes it in no more, whoever leads, until it is
  /// listed anew. Done when status() tells it as removed and not in sync. @return why not.
  [[nodiscard]] std::optional<std::string> remove(const std::string& node, Instant now, WallTime wall);

  /// Of a full copy, in this node's name. Nothing when the peer is gone.
  void send_copy(PeerId to, const Message& message, Instant now, WallTime wall);
  /// NeedCopy was said, and no leader has been followed since.
  [[nodiscard]] bool wants_copy() const;
  /// A copy is whole and takes the place of this log: says Restart.
  void end_for_copy(Instant now, WallTime wall);
  /// Of the log, as far as it is noted: durable or not.
  [[nodiscard]] const EpochTable& epochs() const;

  void tick(Instant now, WallTime wall);
  /// When tick() is due at the latest.
  [[nodiscard]] Instant next_deadline() const;
  /// Appends what came out since the last call.
  void outputs(std::vector<Output>& into);

  /// The superblock on disk has the log's epoch table up to `lsn`: a checkpoint there may let recovery pass
  /// over what is before.
  [[nodiscard]] bool block_covers(Lsn lsn) const;
  /// Leader: up to here the disk of another node that may lead has acknowledged every record in this epoch.
  /// Of a group of any size: what is committed by a leader alone need not be there, and a node that is still
  /// catching up does not count, because nobody would ask it when this node is lost.
  [[nodiscard]] Lsn second_copy() const;
  /// Of the packets that are exchanged with that node; 0 = there is no connection that it has spoken on.
  [[nodiscard]] std::uint16_t version_with(const std::string& node) const;
  /// Leader: how many nodes are in sync, itself included; of anybody else 0.
  [[nodiscard]] std::size_t copies() const;
  /// Nodes whose log is known to be equal to this one up to this LSN, over all roles of this life, by what
  /// they said last: who keeps a log keeps what they lack.
  [[nodiscard]] const std::map<std::string, Lsn>& known_ends() const;

  /// R8. Why nothing may be delivered now; nothing = it may.
  [[nodiscard]] std::optional<std::string> delivery_refusal(Instant now) const;
  /// R7. Why nothing may be accepted now.
  [[nodiscard]] std::optional<std::string> accept_refusal(Instant now) const;
  /// As in status(); stays when it is over.
  [[nodiscard]] const std::string& last_problem() const;
  [[nodiscard]] MemberStatus status() const;
  /// In force: MemberStatus::times.
  [[nodiscard]] Times times() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainstay::group
