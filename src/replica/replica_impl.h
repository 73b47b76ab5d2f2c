// The parts of a Replica. replica.cpp: commands, group commit, leadership. replica_peers.cpp: what peers say.
#pragma once

#include <deque>
#include <map>
#include <optional>

#include "replica/held_outputs.h"
#include "replica/log_cleaner.h"
#include "replica/replica.h"
#include "replication/lag_meter.h"
#include "replication/packets.h"
#include "replication/region_follower.h"
#include "replication/region_shipper.h"

namespace mainstay::replica {

/// Invariants:
///  - durable ≤ what is being written ≤ state.applied() when live; equal to state.applied() when
///  standby
///    and nothing is being written.
///  - leader exists ⇔ a leadership record of `term` has been appended and the role is not sealed.
///  - role live ⇒ that record is committed.
///  - follower exists ⇒ no leader. Its pending bytes continue the durable log (or the batch being written).
///  - in a group: leader exists ⇒ the member leads, or did until it said Restart. committed = what the member
///    says; without one, what is durable.
struct Replica::Impl {
  Impl(ReplicaOptions with, journal::Journal& with_journal, broker::State with_state, RegionTerm last_term,
       bool ends_sealed, Random& with_random, Instant at)
      : options(std::move(with)),
        journal(with_journal),
        random(with_random),
        state(std::move(with_state)),
        role(ends_sealed ? Role::sealed : Role::standby),
        term(last_term),
        term_used(last_term),
        epoch(with_journal.recovery().epoch),
        durable(with_journal.durable()),
        log_bytes(with_journal.record_bytes_total()),
        cleaner(with_journal.recovery().first, durable.lsn, log_bytes),
        committed(durable.lsn),
        committed_heard(committed),
        now(at) {
    if (!options.group) return;
    member =
        std::make_unique<group::Member>(options.group->member, journal, options.group->block, random, at);
    committed = committed_heard = member->committed();
    options.group->block = {};
    if (options.group->copies_min > 1) held.set_floor(broker::Durability::region);
  }

  // --- what this node is -----------------------------------------------------------------------------------
  ReplicaOptions options;
  journal::Journal& journal;
  Random& random;
  broker::State state;
  Role role;
  RegionTerm term;       ///< highest seen; the own one when leading
  RegionTerm term_used;  ///< highest that somebody led in, for all we know: not to be led in again
  Epoch epoch;           ///< of the last record ordered or applied here
  /// End of what is durable here, as told by written(): the journal itself must not be asked while it writes.
  journal::LogPosition durable;
  std::uint64_t log_bytes;  ///< of all its records
  LogCleaner cleaner;
  std::uint64_t clean_segment_bytes = 1U << 20;  ///< as clean() was told last
  Buffer clean_buffer;
  Lsn committed;
  Lsn committed_heard;                    ///< highest commit that a live peer told of
  Instant now;                            ///< of the last call
  WallTime wall_now{};                    ///< of the last call that told it
  std::unique_ptr<group::Member> member;  ///< in a group
  std::vector<group::Output> member_outputs;
  bool to_apply = false;  ///< the batch written last has not been applied yet
  bool fatal = false;
  std::string blocked;               ///< why this log must not follow or lead (diverged); empty = it may
  bool unwritten_decisions = false;  ///< sealed while the state was ahead of the log

  // --- live ------------------------------------------------------------------------------------------------
  std::optional<journal::LogBuilder> log;
  std::unique_ptr<broker::Leader> leader;
  std::vector<broker::Output> leader_outputs;
  HeldOutputs held;
  struct Promotion {
    RegionTerm term{};
    bool forced = false;
    std::string by, reason;
    Lsn record{};  ///< of the leadership record; 0 = not appended yet
  };
  std::optional<Promotion> promotion;
  struct Switch {
    journal::LogPosition seal;
    std::uint64_t state_hash{};
    bool ready = false;
  };
  std::optional<Switch> switching;
  Lsn last_state_hash{};
  Instant leading_since{};
  Instant last_leader_tick{};
  std::optional<replication::RegionShipper> shipper;
  std::optional<replication::LagMeter> lag;
  bool standby_known = false;
  /// What the standby says is durable there and was checked to be a prefix of this log; 0 = nothing is known.
  /// Not the lag meter's: that one assumes until it knows.
  Lsn global{};
  Lsn region{};  ///< on another disk of the group
  PeerId ship_to = 0;
  struct HashAt {
    Lsn lsn;
    std::uint64_t hash{};
  };
  std::deque<HashAt> own_hashes;  ///< at ends of batches, to compare with what the standby computed
  Buffer ship_buffer;

  // --- group commit
  // ------------------------------------------------------------------------------------------
  bool batch_out = false;
  bool out_raw = false;
  std::size_t out_bytes = 0;
  journal::Batch recycled;

  // --- standby
  // -----------------------------------------------------------------------------------------------
  std::optional<replication::RegionFollower> follower;
  PeerId source = 0;      ///< live peer asked to ship; 0 = none (peer ids start at 1)
  bool accepted = false;  ///< the source has accepted our position
  Instant behind_since{};

  // --- peers
  // -------------------------------------------------------------------------------------------------
  struct Peer {
    std::string region, node;
    replication::NodeRole role = replication::NodeRole::standby;
    RegionTerm term{};
    bool introduced = false;
    bool told_of_higher_term = false;
    Instant last_heard{}, last_sent{};
  };
  std::map<PeerId, Peer> peers;
  std::uint64_t refusals = 0;
  std::string last_problem;

  std::vector<Output> released;

  // replica.cpp
  void become_fatal(std::string why);
  void raise_term(RegionTerm seen, const std::string& why);
  void seal(const std::string& why);
  void block(const std::string& why);
  void finish_promotion(Epoch next, WallTime wall);
  void become_live(WallTime wall);
  void absorb_leader_outputs();
  void written_by_leader(const journal::Batch& batch, WallTime wall);
  void commit(Lsn lsn, WallTime wall);
  void written_raw(const journal::Batch& batch, WallTime wall);
  bool apply(const journal::Batch& batch, WallTime wall);
  void reach_far();

  // replica_group.cpp
  template <class Tell>
  auto tell_member(Instant at, WallTime wall, Tell&& tell);
  void absorb_member(WallTime wall);
  void lead_group(const group::Lead& lead, WallTime wall);
  void end_in_group();
  [[nodiscard]] bool log_is_whole() const;  ///< state = durable log, nothing under way

  // replica_peers.cpp
  [[nodiscard]] replication::NodeRole wire_role() const;
  void send(PeerId to, const replication::Message& message);
  void introduce_to_all();
  void close(PeerId peer, const std::string& why);
  void refuse(PeerId peer, replication::Refuse refusal);
  void forget(PeerId peer);
  void receive(PeerId from, BytesView bytes, WallTime wall);
  void on(PeerId from, const replication::Hello& hello);
  void on(PeerId from, const replication::Follow& follow);
  void on(PeerId from, const replication::Accept& accept);
  void on(PeerId from, const replication::Refuse& refusal);
  void on(PeerId from, const replication::Records& records, Epoch sender_epoch);
  void on(PeerId from, const replication::Heartbeat& heartbeat);
  void on(PeerId from, const replication::Ack& ack);
  void hear_committed(Lsn heard);
  void count_as_behind(Lsn from);
  void check_switch(const replication::Ack& ack);
  void try_follow();
  void acknowledge();
  void pump();
  void tick_peers();
};

}  // namespace mainstay::replica
