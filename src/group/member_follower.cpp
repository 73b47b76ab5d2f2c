#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "group/member_impl.h"

namespace mainstay::group {
namespace {

constexpr Lsn kAnyLsn{~std::uint64_t{0}};

}  // namespace

/// R8: nobody leads, for all this node can tell.
bool Member::Impl::suspects() const {
  if (disk_stalled) return false;
  if (log_begun || (take_over && now - *take_over < times.drop_after)) return true;
  return now > grace_until;
}

/// R8: a word of the leader, which asks for this lease.
void Member::Impl::wait_for_leader(Duration lease) {
  const double ratio = static_cast<double>(options.suspect_after.ns) / static_cast<double>(options.lease.ns);
  const Duration for_lease{static_cast<std::int64_t>(static_cast<double>(lease.ns) * ratio)};
  grace = std::min(std::max(times.suspect_after, for_lease), options.suspect_after_max);
  const Duration spread{
      static_cast<std::int64_t>(static_cast<double>(jitter.ns) * static_cast<double>(grace.ns) /
                                static_cast<double>(options.suspect_after.ns))};
  grace_until = std::max(grace_until, now + grace + spread);
}

/// What the register says, to a node that suspects.
void Member::Impl::consider(const GroupState& state) {
  if (!state.record) {
    if (!options.may_create) {
      last_problem =
          options.register_name +
          " has no record of this group, and this node may not create one: a new group begins with "
          "`create = true` under [group] of one node; does [register] here name the same one as the "
          "files of the other nodes?";
      return;
    }
    GroupRecord next;
    next.cluster = options.cluster;
    // Above every leadership that this log has seen; a promise that came to nothing is used again.
    next.epoch =
        Epoch{std::max(block.epochs.last().value, std::max<std::uint64_t>(block.promised.value, 1) - 1)};
    next.isr = {self()};
    next.reason = "the group begins";
    become_candidate(state, next, Purpose::create);
    return;
  }
  const GroupRecord& record = *state.record;
  if (bug(Bug::resume_epoch) && record.leader == self()) {
    known = state;
    lead(record);
    return;
  }
  const bool named = std::any_of(record.isr.begin(), record.isr.end(),
                                 [&](const MemberId& each) { return each.node == self().node; });
  const bool may =
      record.isr.contains(self()) || bug(Bug::promote_outside_set) || (bug(Bug::member_by_name) && named);
  if (!may) {
    // R4. Its log may lack what was acknowledged meanwhile: only a leader's word brings it back.
    const std::string& leader = record.leader.node;
    const bool unlisted = options.listed && !options.listed->contains(leader) && leader != self().node;
    if (record.removed.contains(self().node)) {
      last_problem =
          "this node was removed from the group: `mainstay group reload` on the node that leads (" + leader +
          "), with a file that lists it, takes it in again";
    } else if (named) {
      last_problem =
          "the register counts on another disk of node " + self().node +
          " than this one, and nothing is heard of leader " + leader +
          ", which takes this one in by itself when it is there; if another process calls itself " +
          self().node + ", too, give one of them another name";
    } else {
      last_problem =
          "this node is not in the in-sync set, and nothing is heard of leader " + leader +
          ", for which it waits" +
          (unlisted
               ? ": it is not listed under [[group.node]] here, where the files of all nodes name the same"
               : "");
    }
    take_over.reset();
    log_begun = false;
    return;
  }
  const bool by_itself = options.promotes_itself || take_over || log_begun;
  if (!by_itself && !promotion) {
    waits_for_operator = true;
    last_problem =
        "nothing is heard of leader " + record.leader.node +
        ", and an operator promotes here: once that one is gone, `mainstay group promote` with this "
        "node's configuration makes it the leader";
    return;
  }
  GroupRecord next = record;
  next.reason = promotion && !take_over && !log_begun         ? "promoted by " + promotion->by
                : take_over                                   ? "planned move from " + record.leader.node
                : log_begun && !options.begun_because.empty() ? options.begun_because
                : log_begun                                   ? "restart of the leader"
                            : "nothing heard of leader " + record.leader.node;
  become_candidate(state, next, Purpose::promote);
}

void Member::Impl::become_candidate(const GroupState& expected, GroupRecord next, Purpose purpose) {
  stop_following();
  role = Role::candidate;
  next.leader = self();
  begin_change(purpose, expected, std::move(next));
  next_ask = now;  // as soon as the promise is durable
  if (!bug(Bug::no_promise)) promise(change->next.epoch);
}

void Member::Impl::stop_following() {
  session_ended = ++events;
  leader_peer = 0;
  accepted = false;
  // What was received and not handed out was not acknowledged either.
  follower.reset();
  ack_due = false;
}

/// Two nodes have more than one line: one carries the log, the others beacons, which overtake it. This is
/// what was said on the line of the log before the same leader went on under the epoch that is promised here.
bool Member::Impl::late_on_its_line(PeerId from, const Peer& peer, Epoch epoch) const {
  if (from != leader_peer || epoch < session_epoch) return false;
  return std::any_of(peers.begin(), peers.end(), [&](const auto& each) {
    return each.first != from && each.second.member == peer.member && each.second.leads &&
           each.second.epoch >= block.promised;
  });
}

/// The leader that is followed leads a later epoch, as another line to it says. Its log's line will say so as
/// well, unless that one is dead and the leader is in a new life.
bool Member::Impl::says_so_itself_soon(const Peer& peer) const {
  const auto leader = peers.find(leader_peer);
  return leader != peers.end() && leader->second.member == peer.member &&
         now - leader->second.stamp_at <= times.drop_after;
}

/// A packet of somebody who leads `epoch`. What it says is looked at afterwards, if it is our leader then.
void Member::Impl::leader_speaks(PeerId from, Peer& peer, Epoch epoch, Duration lease) {
  if (epoch < block.promised) {
    if (late_on_its_line(from, peer, epoch)) {
      // It goes through an epoch between the one that was followed and the promised one. What it ships in it
      // is passed over (R2), and what comes behind does not fit: ask anew.
      if (epoch > session_epoch) stop_following();
      return;
    }
    send(from, Refuse{RefusalCode::lower_epoch, "epoch " + std::to_string(epoch.value) +
                                                    " is over: this node has promised epoch " +
                                                    std::to_string(block.promised.value)});
    return;
  }
  if (epoch > block.seen) {
    block.seen = epoch;
    block_dirty = true;
  }
  if (role == Role::leader) {
    if (epoch > force.epoch) {
      restart({}, "node " + peer.member->node + " leads epoch " + std::to_string(epoch.value));
    } else if (epoch == force.epoch) {
      stop_for_good("node " + peer.member->node + " leads epoch " + std::to_string(epoch.value) +
                    " as this node does: the register gave it twice. Keep both logs and call support");
    }
    return;
  }
  if (role == Role::candidate) {
    // Whoever leads our epoch or a later one has won; what we asked for can only lose.
    role = Role::follower;
    change.reset();
  }
  if (role == Role::stopped) return;
  // What its leader says after it gave the lead away is no reason to leave it there, unless it leads anew.
  const auto followed = peers.find(leader_peer);
  const bool by_whom_we_follow = followed != peers.end() && followed->second.member == peer.member;
  if (!by_whom_we_follow || epoch > session_epoch) take_over.reset();
  log_begun = false;
  if (waits_for != peer.member->node) {
    // It has been granted nothing yet, and who led before has lost.
    waits_for = peer.member->node;
    grace_until = now;
  }
  promotion.reset();
  waits_for_operator = false;
  wait_for_leader(lease);
  const double part = static_cast<double>(options.lease.ns) / static_cast<double>(options.suspect_after.ns);
  peer.granted = std::min(lease, Duration{static_cast<std::int64_t>(static_cast<double>(grace.ns) * part)});
  if (epoch > block.promised) promise(epoch);
  if (leader_peer != from && leader_peer != 0 && epoch > session_epoch && !says_so_itself_soon(peer))
    stop_following();
  if (leader_peer == from && epoch > session_epoch) {
    if (accepted) {
      // The same life of the same leader: its log goes on. Say again what is durable here, in its new epoch.
      session_epoch = epoch;
      ack_due = true;
    } else {
      stop_following();  // what was asked of it was asked in its old epoch
    }
  }
}

/// Follows whoever leads, once the own disk is quiet.
void Member::Impl::find_leader() {
  if (!ready || role != Role::follower || leader_peer != 0 || batch_out) return;
  for (auto& [id, peer] : peers) {
    if (!peer.leads || peer.epoch < block.promised) continue;
    if (copy_from && peer.member == copy_from) {
      if (!std::exchange(peer.copy_told, true)) put(NeedCopy{id, peer.member->node});
      continue;
    }
    const bool overtaken = peer.member && peer.hello_sent < newest_of[peer.member->node].hello &&
                           !bug(Bug::believe_replaced_connection);
    if (!peer.hello || overtaken || peer.hello_at < session_ended) {
      // It has gone on since it introduced itself: how far?
      if (!peer.hello_asked) hello_to(id);
      peer.hello_asked = true;
      continue;
    }
    const Hello hello = *peer.hello;
    follow(id, hello);
    return;
  }
}

/// R6: what this log has and the leader's has not is cut.
void Member::Impl::follow(PeerId from, const Hello& hello) {
  std::optional<Lsn> common = common_end(block.epochs, durable.lsn, hello.epochs, hello.end.lsn);
  Peer& peer = peers.at(from);
  if (!common && durable.lsn == Lsn{}) common = Lsn{};
  if (!common) {
    stop_for_good("this log and that of leader " + peer.member->node +
                  " have no leadership in common: they cannot be compared. If this disk was put back from an "
                  "old copy, give this node a new, empty directory");
    return;
  }
  if (*common < durable.lsn) {
    if (*common < committed) {
      stop_for_good("leader " + peer.member->node + " lacks records after LSN " +
                    std::to_string(common->value) + ", and up to LSN " + std::to_string(committed.value) +
                    " they were committed. Keep this directory: it may hold the only copy");
      return;
    }
    auto hash = journal.hash_at(*common);
    if (!hash) hash = journal.hash_at(*common);  // a read may fail once
    if (!hash) {
      cannot_cut = true;
      unreadable(*common, hash.error().what);
      stop_for_good("the record at LSN " + std::to_string(common->value) +
                    ", after which this log must be cut, cannot be read: " + hash.error().what);
      return;
    }
    restart(journal::LogPosition{*common, *hash}, "leader " + peer.member->node + " does not have the " +
                                                      std::to_string(durable.lsn.value - common->value) +
                                                      " records after LSN " + std::to_string(common->value) +
                                                      ", which were never acknowledged");
    return;
  }
  copy_from.reset();  // another leader: its log may reach back far enough
  leader_peer = from;
  accepted = false;
  session_epoch = peer.epoch;
  follower.emplace(durable, block.epochs.last(), options.ship_ahead_bytes_max + 2 * journal::kBodyBytesMax);
  send(from, Follow{durable});
}

void Member::Impl::on_records(PeerId from, Epoch epoch, const Records& records) {
  if (from != leader_peer || !accepted || epoch != session_epoch) return;
  // A leader ships before it commits; the follower's own check of that belongs to the other region's path.
  const auto taken = follower->offer(replication::Records{kAnyLsn, records.raw}, epoch);
  if (!taken) {
    last_problem = taken.error().what;
    alarm("what leader " + peers.at(from).member->node + " shipped was refused: " + taken.error().what);
    close(from, taken.error().what);
    return;
  }
  if (bug(Bug::ack_before_sync)) send(from, Ack{follower->end()});
  hear_committed(records.committed);
}

void Member::Impl::hear_committed(Lsn lsn) {
  committed_heard = std::max(committed_heard, lsn);
  const Lsn here = std::min(committed_heard, durable.lsn);
  if (here <= committed || !accepted) return;
  committed = here;
  put(Committed{committed});
}

/// R1, R2: durable here, and no higher epoch promised.
void Member::Impl::acknowledge() {
  if (!ack_due || !accepted || role != Role::follower) return;
  if (promised_stored < session_epoch || block.promised > session_epoch) return;
  ack_due = false;
  send(leader_peer, Ack{durable});
}

}  // namespace mainstay::group
