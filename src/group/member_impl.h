// The parts of a Member. member.cpp: what drives it, the superblock, the register. member_leader.cpp: R1, R3,
// the leader's half of R6. member_follower.cpp: R2, R4, the follower's half of R6.
#pragma once

#include <set>

#include "group/bugs.h"
#include "group/member.h"
#include "replication/region_follower.h"
#include "replication/region_shipper.h"

namespace mainstay::group {

using coordination::GroupRecord;
using coordination::GroupState;

/// Invariants:
///  - promised_stored ≤ block.promised; nothing is acknowledged, and the register not asked for an epoch,
///  before
///    promised_stored has reached the epoch (R2, R4).
///  - role leader ⇒ the register gave `force` to this life (R5), and force.epoch ≤ promised_stored.
///  - committed ≤ durable of every member of need() at the time it grew (R1).
///  - `change` is there from the wish to change the register until its outcome is certain; while it is there
///  no other
///    change is asked for.
struct Member::Impl {
  Impl(MemberOptions with, journal::Journal& with_journal, Superblock with_block, Random& with_random,
       Instant at);

  MemberOptions options;
  journal::Journal& journal;
  Random& random;
  const std::uint64_t life;  ///< Sender::life
  Instant now;
  WallTime wall{};
  std::vector<Output> out;

  Role role = Role::follower;
  bool over = false;
  bool disk_stalled = false;
  std::string last_problem;
  std::set<std::string> alarms;  ///< raised in this life: each once

  // --- disk ------------------------------------------------------------------------------------------------
  Superblock block;  ///< as it shall be; block.epochs is the log's table
  Epoch promised_stored;
  Epoch promised_at_start;  ///< for Bug::promise_not_durable only
  bool block_dirty = true;
  /// The superblock was stored in this life: its epoch table is that of the log as it was found, perhaps cut.
  /// Nothing is written or asked for before.
  bool ready = false;
  std::optional<Superblock> block_out;
  Lsn block_covers;  ///< the table that is stored reaches up to here
  Lsn committed_stored;
  journal::LogPosition durable;
  Lsn committed;

  // --- register
  // --------------------------------------------------------------------------------------------
  enum class Asking : std::uint8_t { nothing, read, change };
  Asking asking = Asking::nothing;
  bool read_wanted = false;  ///< as soon as possible, whatever the interval
  Epoch seen_when_asked;     ///< what the answer must not be behind
  Instant next_ask, look_at;
  Instant retry_at;  ///< not before: it did not answer
  Instant asked_at;
  Instant register_heard;  ///< last question whose answer agreed with what is known here
  bool register_refused = false;
  std::optional<GroupState> known;
  enum class Purpose : std::uint8_t { create, promote, shrink, add, raise };
  struct Change {
    Purpose purpose{};
    GroupState expected;
    GroupRecord next;
    bool asked = false;     ///< the last attempt's outcome is not known
    bool may_land = false;  ///< an attempt's outcome was unknown: it may be stored, now or later
  };
  std::optional<Change> change;

  // --- peers
  // -------------------------------------------------------------------------------------------------
  struct Peer {
    std::string dialled;             ///< empty: it dialled us
    std::uint16_t version = 0;       ///< of what is sent to it; 0 = nothing is, before its first word
    std::uint64_t connected_at = 0;  ///< by `events`
    std::optional<MemberId> member;  ///< introduced
    Epoch epoch{};                   ///< of its last packet
    Instant epoch_at{};              ///< first heard
    bool leads = false;
    std::optional<Hello> hello;
    std::uint64_t hello_at = 0;  ///< by `events`
    Instant hello_sent{};        ///< by its clock
    bool hello_asked = false;
    bool copy_told = false;      ///< NeedCopy was said
    bool stranger_told = false;  ///< refused: it is no node of the group
    Instant sent{};
    Instant stamp{}, stamp_at{};  ///< what it said its clock was, and when that came: given back to it
    Duration granted{};           ///< of the lease that it asked for with it
    Instant echoed{};             ///< the newest own instant that it gave back
    std::optional<RoundTrip> trip;
    // Leader: what it gets.
    std::optional<replication::RegionShipper> shipper;
    std::optional<journal::LogPosition> follow_waits;  ///< a position that is not durable here yet
    std::optional<Instant> front_since;                ///< nothing but the batches of the moment is missing
  };
  std::map<PeerId, Peer> peers;
  std::map<std::string, std::uint16_t> older;  ///< nodes whose next connection begins in an older version
  std::uint64_t events = 0;                    ///< orders hellos and ends of sessions
  /// Of each node that has introduced itself: its newest connection by `events`, whose life that is, and when
  /// it sent, on any line of that life, the newest of what tells how it stands.
  struct Newest {
    std::uint64_t connected_at = 0, life = 0;
    Instant hello{}, follow{};
  };
  std::map<std::string, Newest> newest_of;
  std::map<std::string, Instant> heard;  ///< of each node, over all roles of this life
  Duration round_trip{};
  Times times;                      ///< in force
  std::map<std::string, Lsn> ends;  ///< to which each node's log is equal to this one, as told last
  Buffer ship_buffer;

  // --- follower
  // --------------------------------------------------------------------------------------------
  std::uint64_t session_ended = 0;  ///< by `events`: a hello from before says too little
  PeerId leader_peer = 0;           ///< whom it follows or has asked to; 0 = nobody
  bool accepted = false;
  Epoch session_epoch;
  /// R8: nothing is asked for before. Never goes back while one leader is followed: a part of it is granted.
  Instant grace_until;
  std::string waits_for;  ///< the leader heard last, in this life
  Duration grace{};
  Duration jitter{};  ///< for the floor of suspect_after; grows as the grace does
  /// When its leader told it to lead. A leader that hears nothing of it for drop_after leads on.
  std::optional<Instant> take_over;
  bool log_begun = false;  ///< restarted as the leader of the register: nobody to wait for
  struct Promotion {
    std::string by;
    Instant until;
  };
  std::optional<Promotion> promotion;  ///< an operator's
  bool waits_for_operator = false;
  std::optional<replication::RegionFollower> follower;
  bool batch_out = false;
  bool ack_due = false;
  Lsn committed_heard;
  /// It no longer has what this log lacks: it is not followed, but asked for a copy.
  std::optional<MemberId> copy_from;
  bool cannot_cut = false;

  // --- leader
  // ----------------------------------------------------------------------------------------------
  GroupRecord force;  ///< the record that this leadership acts on
  /// Won, and its promise is being stored: acted on when that is done.
  std::optional<GroupRecord> won;
  journal::LogPosition appended;  ///< end of what was ordered
  /// End of the log when this leadership began: all of it may have been acknowledged by earlier ones,
  /// whatever `committed` says, which a restart remembers in part only.
  Lsn led_from;
  std::map<MemberId, Lsn> matches;          ///< acknowledged in this epoch, by this disk
  std::map<std::string, Lsn> name_matches;  ///< for Bug::match_by_name only
  /// When it last acknowledged, or held nothing up; later by as long as this node's own disk stood still
  /// since.
  std::map<MemberId, Instant> answered;
  std::optional<Instant> own_sync_waits;  ///< something does, and nothing was synced since then
  Instant own_stall_counted;              ///< up to when pass_over_own_stall() has
  std::set<MemberId> joining;             ///< needed, and not in the set yet (R6: first needed)
  /// Who was dropped in this leadership, when, and how long it has to keep up before it is added again:
  /// longer each time within a minute, so that a link that is too slow for the load does not change the set
  /// all the time.
  struct Dropped {
    Instant at;
    Duration rejoin_after;
  };
  std::map<std::string, Dropped> dropped;
  Instant led_since;
  /// R8: when the newest packet was sent that an in-sync follower has answered in this epoch, and until when
  /// that keeps it from taking over.
  Instant proof, proof_until;
  struct HandOver {
    std::string to;
    std::optional<Instant> told;
    Instant since;
  };
  std::optional<HandOver> handing_over;
  /// Wishes of an operator, until the register has them; forgotten with the leadership.
  std::set<std::string> to_remove, to_accept;
  std::set<std::string> to_drop;  ///< in sync, and taken from the list while this node leads

  [[nodiscard]] static bool bug(Bug which) { return resurrected(which); }
  [[nodiscard]] const MemberId& self() const { return options.self; }
  template <class T>
  void put(T&& output) {
    out.emplace_back(std::forward<T>(output));
  }

  // member.cpp
  /// Records that a node lacks which this one leads, and ships what it misses; nullopt: it is in sync, or not
  /// fed.
  [[nodiscard]] std::optional<std::uint64_t> lag_of_fed(const Peer& peer) const;
  void advance();
  void alarm(const std::string& why);
  void unreadable(Lsn first, const std::string& why);
  void stop_for_good(const std::string& why);
  void restart(std::optional<journal::LogPosition> cut, const std::string& why);
  void promise(Epoch epoch);
  void store_block();
  void ask_register();
  void on_read(RegisterOutcome outcome, const GroupState& state);
  void on_change(RegisterOutcome outcome, const GroupState& state);
  [[nodiscard]] bool trusted(const GroupState& state);
  void begin_change(Purpose purpose, const GroupState& expected, GroupRecord next);
  [[nodiscard]] Sender sender(const Peer& to) const;
  void hear_time(Peer& peer, const Sender& sender);
  [[nodiscard]] Times floor() const;
  void send(PeerId to, const Message& message);
  void forget_line(PeerId id);
  void close(PeerId peer, const std::string& why);
  void hello_to(PeerId peer);
  void hello_to_all();
  bool agree(PeerId from, std::uint16_t version);
  void receive(PeerId from, BytesView bytes);
  [[nodiscard]] bool is_replaced(PeerId from, std::uint64_t life);
  [[nodiscard]] bool is_overtaken(Instant sent, Instant& newest) const;

  // member_follower.cpp
  [[nodiscard]] bool suspects() const;
  void wait_for_leader(Duration lease);
  [[nodiscard]] bool late_on_its_line(PeerId from, const Peer& peer, Epoch epoch) const;
  [[nodiscard]] bool says_so_itself_soon(const Peer& peer) const;
  void consider(const GroupState& state);
  void become_candidate(const GroupState& expected, GroupRecord next, Purpose purpose);
  void stop_following();
  void leader_speaks(PeerId from, Peer& peer, Epoch epoch, Duration lease);
  void find_leader();
  void follow(PeerId from, const Hello& hello);
  void on_records(PeerId from, Epoch epoch, const Records& records);
  void hear_committed(Lsn lsn);
  void acknowledge();

  // member_leader.cpp
  void lead(const GroupRecord& record);
  void go_on_under(const GroupRecord& record);
  /// Calls `each` with every other member whose disk a commit needs, with some of them twice.
  template <class Each>
  void each_needed(const Each& each) const;
  [[nodiscard]] std::set<MemberId> need() const;
  [[nodiscard]] Lsn match(const MemberId& member) const;
  void commit();
  void lead_on();
  void pass_over_own_stall();
  [[nodiscard]] Instant last_answer(const MemberId& member) const;
  [[nodiscard]] Duration unanswered(const MemberId& member) const;
  [[nodiscard]] bool silent(const MemberId& member) const;
  [[nodiscard]] std::string silence(const MemberId& member) const;
  [[nodiscard]] bool nobody_else_may_lead() const;
  void note_dropped(const GroupRecord& record);
  [[nodiscard]] Duration rejoin_after(const std::string& node) const;
  void wish_change();
  bool wish_members();
  void drop_strangers();
  void tell_unlisted();
  [[nodiscard]] std::string stranger(const std::string& node) const;
  void on_follow(PeerId from, Peer& peer, journal::LogPosition position);
  void on_ack(PeerId from, Peer& peer, Epoch epoch, journal::LogPosition position);
  void pump(PeerId id, Peer& peer);
  void needs_copy(PeerId id, Peer& peer, const std::string& why);
};

}  // namespace mainstay::group
