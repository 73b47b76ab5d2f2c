// One node's copy of a group: log order, broker state, leadership and region shipping joined, without a
// thread, a socket or a file of its own. `node` drives it with real journal threads and connections, `sim`
// with virtual ones: the same code decides in both.
//
// Any call may throw paging::PageLost (broker/state.h): the driver stops the node.
//
// The driver's loop, on one strand:
//   1. feed commands: publish(), settle(), … (live), packet(), connected(), tick(), promote(), …
//   2. take_batch(): if a batch came out, let the journal write and sync it, then call written(). At most one
//      batch is out at a time; the next one gathers meanwhile (group commit).
//   3. act on outputs(), in order: they are already released, i.e. committed; show them, send them, change
//      roles. StoreTerm comes before whatever depends on it: store first, then go on with the next output.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/wire.h"
#include "broker/leader.h"
#include "broker/state.h"
#include "group/member.h"
#include "journal/journal.h"

namespace mainstay::replica {

/// A connection to the other region's node, or to one of the own group: two sets of numbers.
using PeerId = mainstay::PeerId;

enum class Role : std::uint8_t {
  standby,  ///< stores and applies what the live region, or the leader of its group, ships
  live,     ///< decides
  sealed,   ///< seen a higher term, or diverged, or drained for a switch: keeps data, does nothing. Becomes
            ///< standby by itself when a live region appears whose log continues this one.
};

struct ReplicaOptions {
  Uuid cluster;
  std::string region;
  std::string node;
  std::size_t ship_bytes_max = 1U << 20;        ///< per packet
  std::size_t ship_ahead_bytes_max = 8U << 20;  ///< sent and not yet acknowledged
  Duration heartbeat = milliseconds(200);
  Duration silence_max = seconds(2);        ///< a peer silent for longer is disconnected; several heartbeats
  std::uint64_t state_hash_every = 10'000;  ///< records between state_hash records; 0 = none
  std::uint64_t rpo_records_soft = 0;       ///< lag at which publish credit shrinks; 0 = no limit
  std::uint64_t rpo_records_hard = 0;       ///< lag at which publishes are refused; 0 = no limit
  broker::LeaderLimits leader_limits = {};  ///< of each leadership
  /// There is, or will be, a node of another region to ship to. Without one nothing is kept about how far
  /// behind it is (4 bytes for each record that it lacks), and none may connect.
  bool has_other_region = true;
  /// The node is one of a group within its region: the member decides what is committed, who leads and whom
  /// to follow. Excludes has_other_region, so far.
  struct InGroup {
    group::MemberOptions member;      ///< `cluster`: the journal's
    group::Superblock block;          ///< as loaded, its epochs completed from the log
    std::vector<std::string> others;  ///< nodes of the group but this one
    /// R11. 2 or more: what is published is confirmed when another disk of the group has it too, whatever
    /// durability was asked for.
    unsigned copies_min = 1;
  };
  std::optional<InGroup> group;
};

/// Send the packet to the peer, in order.
struct SendPacket {
  PeerId to{};
  Buffer packet;
};
/// Close the connection: the peer was refused or said something impossible.
struct ClosePeer {
  PeerId peer{};
  std::string why;
};
/// The role changed. Live: the leader takes commands. Sealed: refuse clients, with `why`.
struct RoleChanged {
  Role role{};
  RegionTerm term{};
  std::string why;
  /// Sealed with decisions in memory that never reached the log: only a restart (recovery from the log) makes
  /// this node able to follow.
  bool restart_to_follow = false;
};
/// A higher term was seen: store it (recover.h: store_term()), durably, before acting on any later output.
struct StoreTerm {
  RegionTerm term{};
};
/// An operator must look: something is wrong that no node may decide (two lives in one term, diverged logs).
struct Alarm {
  std::string why;
};
/// This replica must stop now (state hash differs, journal contradicts the log): nothing it would do can be
/// trusted.
struct Fatal {
  std::string why;
};
/// The planned switch: every record up to `at` is durable and applied on the standby with the same hash.
struct SwitchReady {
  journal::LogPosition at{};
};
/// A broker output whose record is committed; the answer to a publish of durability global only when the
/// other region has told that the record is durable there.
///
/// Of a node in a group as well: what its member wants done (group/member.h). After group::Restart this
/// replica is over; only written() and outputs() may still be called.
using Output = std::variant<broker::Output, SendPacket, ClosePeer, RoleChanged, StoreTerm, Alarm, Fatal,
                            SwitchReady, group::SendPacket, group::ClosePeer, group::StoreBlock,
                            group::ReadRegister, group::ChangeRegister, group::Restart, group::Unreadable,
                            group::NeedCopy, group::CopyHeard, group::ReadLog>;

/// What the live region knows is not yet safe elsewhere; for a standby, what it knows to be behind.
struct ReplicationStatus {
  bool connected = false;  ///< live: a standby follows; standby: a live region's log is being followed
  bool known = false;  ///< live: a standby has told its position in this life; until then everything counts
                       ///< as lagging
  std::string peer_region, peer_node;
  Lsn committed{};     ///< live: own commit; standby: last commit heard of
  Lsn peer_durable{};  ///< live: acknowledged by the standby; standby: own durable
  std::uint64_t lag_records{};
  std::uint64_t lag_bytes{};
  double lag_seconds{};  ///< age of the oldest committed record that is not durable there: the RPO if we died
                         ///< now
  std::uint64_t refusals{};
  std::string last_problem;  ///< why the last connection ended or was refused
};

class Replica {
 public:
  /// The page store of `state` outlives the replica. `journal` is used for reading only (shipping, position
  /// checks); the driver writes. `state` is recovered up to `journal.durable()` (recover.h gives both).
  /// Starts as standby, or sealed if the log ends with a seal.
  /// @param last_term  highest ever seen by this node: of its log and of its stored term
  Replica(ReplicaOptions options, journal::Journal& journal, broker::State state, RegionTerm last_term,
          bool ends_sealed, Random& random, Instant now, WallTime wall);
  ~Replica();

  [[nodiscard]] Role role() const;
  /// Of the log's end: the leadership under way, or the last one recovered or received.
  [[nodiscard]] Epoch epoch() const;
  [[nodiscard]] RegionTerm term() const;  ///< highest seen
  [[nodiscard]] const broker::State& state() const;
  /// Asserted: role is live. Ask for it anew for each call: asking takes over what the call before put into
  /// leader_outputs().
  [[nodiscard]] broker::Leader& leader();
  /// Where calls into leader() put their outputs; released through outputs() when committed.
  [[nodiscard]] std::vector<broker::Output>& leader_outputs();

  /// Starts leading in `term`, which the register has given to this region: what was received is written out,
  /// then epoch_started, or forked when `forced`, is appended; when that is durable the role becomes live
  /// (RoleChanged). Refused, and nothing changed: when unfit_to_lead(), or !may_lead_in(term).
  [[nodiscard]] Result<void, Failure> promote(RegionTerm term, bool forced, const std::string& by,
                                              const std::string& reason, Instant now, WallTime wall);
  /// Why this node must not be promoted, whatever the term: it leads already, its log diverged, it must
  /// restart.
  [[nodiscard]] std::optional<std::string> unfit_to_lead() const;
  /// False for a term lower than one seen, and for one that somebody, perhaps this node before a restart, has
  /// led in for all this node knows: take a higher one than term() in the register.
  [[nodiscard]] bool may_lead_in(RegionTerm term) const;
  /// Stops leading, or a promotion under way (then the role stays and RoleChanged says why). Waiting
  /// operations are never answered (their outcome is unknown). A standby only takes note of the term.
  void seal(RegionTerm seen, const std::string& why);
  /// Planned switch, first half: no more commands are fed by the driver; appends `sealed` and waits until the
  /// standby has it durable and applied with the same hashes → SwitchReady. The driver then changes the
  /// register and calls seal() with the new term. Meanwhile leader() may still be told about clients that
  /// leave, nothing else. @pre live
  void begin_switch(Instant now, WallTime wall);
  /// The switch did not come about (the register certainly still names this region and term): leads on in the
  /// same term under a new epoch, by record. @pre live and switching
  void abort_switch(Instant now, WallTime wall);
  [[nodiscard]] bool switching() const;

  /// True and fills `batch` when there is something to write and no batch is out. Standby: `raw` = true, the
  /// bytes came from the peer and go through Journal::write_raw.
  struct PendingWrite {
    journal::Batch batch;
    bool raw = false;
    journal::CatchUp catch_up{};  ///< what is written belongs to, or goes on beside
  };
  [[nodiscard]] bool take_batch(PendingWrite& out);
  /// The batch taken last is durable. In a group: what its follower acknowledges is among the outputs now;
  /// apply() comes after they left.
  void written(const PendingWrite& done, Instant now, WallTime wall);
  /// Memory for a batch to come, whatever it holds: the one written, or another in its place.
  void recycle(journal::Batch memory);
  /// Follower of a group: applies the batch written last, `batch`, to the state. Before the next
  /// take_batch().
  void apply(const journal::Batch& batch, WallTime wall);
  [[nodiscard]] Lsn committed() const;
  /// Bytes ordered or being written: for admission against Journal::room().
  [[nodiscard]] std::size_t bytes_under_way() const;

  /// What a checkpoint holds. Once `lsn` is durable: sealed->sync(), Journal::store_checkpoint() with the
  /// root, then PageStore::checkpoint_stored().
  struct Checkpoint {
    Lsn lsn{};
    Lsn needed{};  ///< State::oldest_needed() then: records from here on stay
    std::uint64_t state_hash{};
    Buffer root;
    std::shared_ptr<paging::PageStore::Sealed> sealed;
  };
  /// Stores what has changed in pages. Nothing when there is no space for them: try again later.
  [[nodiscard]] std::optional<Checkpoint> checkpoint();
  /// Whether it may be stored now: its records are durable; in a group also committed, because a restart may
  /// have to take back what is not, and the superblock on disk tells every epoch that recovery would pass
  /// over. Has that stored when only it is missing: ask again then.
  [[nodiscard]] bool may_store(const Checkpoint& made, Instant now, WallTime wall);
  /// Now and then before a checkpoint: does some of its work. @return bytes stored
  std::size_t write_ahead(std::size_t bytes_max);
  /// With a checkpoint stored at `checkpoint`: nothing here, at the standby or at another node of the group
  /// needs records before this LSN. 0 while somebody has not said yet what it has.
  [[nodiscard]] Lsn removable_before(Lsn checkpoint) const;

  /// All bytes of records the log has had since this replica began, with what it found.
  [[nodiscard]] std::uint64_t appended_bytes() const;

  struct CleanInput {
    std::uint64_t segment_bytes{};  ///< measure of when to clean (log_cleaner.h)
    std::uint64_t reserve_bytes{};  ///< of room, for settlements
    bool publishes_held = false;
    bool disk_full = false;
  };
  struct Cleaned {
    std::uint64_t messages{}, bytes{};  ///< got new records in this call
    bool began = false, ended = false;  ///< a round of cleaning
    std::string problem;                ///< why a message could not be moved; the others were
    std::optional<Lsn> unreadable;      ///< its record, when the disk does not give it back
  };
  /// Moves old messages to the log's end when one that stays keeps too much of the log, a little in each
  /// call: at most 256 messages and about 1 MiB, read from the journal here and now. Nothing while not live,
  /// switching or failed. Cheap when there is nothing to do.
  [[nodiscard]] Cleaned clean(const CleanInput& input, Instant now, WallTime wall);

  /// As the member's functions of the same name (group/member.h). @pre in a group
  void group_connected(PeerId peer, const std::string& dialled, Instant now, WallTime wall);
  void group_disconnected(PeerId peer, Instant now, WallTime wall);
  void group_packet(PeerId from, BytesView packet, Instant now, WallTime wall);
  void block_stored(Instant now, WallTime wall);
  void log_read(PeerId to, replication::ShipAhead part, Instant now, WallTime wall);
  void register_read(group::RegisterOutcome outcome, const coordination::GroupState& state, Instant now,
                     WallTime wall);
  void register_changed(group::RegisterOutcome outcome, const coordination::GroupState& state, Instant now,
                        WallTime wall);
  void disk_stalled(bool stalled, Instant now, WallTime wall);
  void disk_is_ours(Instant when);
  /// As group::Member::promote().
  [[nodiscard]] std::optional<std::string> promote_node(const std::string& by, Duration most, Instant now,
                                                        WallTime wall);
  [[nodiscard]] std::optional<std::string> hand_over(const std::string& to, Instant now, WallTime wall);
  void cover(Lsn lsn, Instant now, WallTime wall);
  /// Also says whose copies the log is kept for (removable_before()).
  void list_nodes(const std::vector<std::string>& others, Instant now, WallTime wall);
  [[nodiscard]] std::optional<std::string> remove_node(const std::string& node, Instant now, WallTime wall);
  void send_copy(PeerId to, const group::Message& message, Instant now, WallTime wall);
  void end_for_copy(Instant now, WallTime wall);
  /// Nothing: in no group.
  [[nodiscard]] const group::Member* member() const;

  /// A connection is up, whoever made it. Both sides introduce themselves; a live and a standby then find
  /// together, over any number of connections.
  void connected(PeerId peer, bool outgoing, Instant now, WallTime wall);
  /// One whole packet (replication/packets.h: packet_bytes() cuts the stream). Ignored from a peer that was
  /// closed.
  void packet(PeerId from, BytesView packet, Instant now, WallTime wall);
  void disconnected(PeerId peer, Instant now, WallTime wall);

  void tick(Instant now, WallTime wall);
  /// When tick() is due at the latest.
  [[nodiscard]] Instant next_deadline() const;

  /// Appends what was released since the last call. Per consumer and per peer in order; answers to publishes
  /// and settlements when their record is committed.
  void outputs(std::vector<Output>& into);
  [[nodiscard]] ReplicationStatus status(Instant now) const;
  /// Confirms of durability region or global that wait until another node has their messages.
  [[nodiscard]] std::size_t confirms_waiting() const;
  /// Publishes must be refused (hard RPO limit), with the reason.
  [[nodiscard]] std::optional<std::string> publish_refusal() const;
  /// The part of publish credit to keep back: 0 up to the soft RPO limit, 1 at the hard one (without one, at
  /// twice the soft one).
  [[nodiscard]] double publish_held_back() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainstay::replica
