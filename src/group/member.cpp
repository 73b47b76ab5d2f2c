#include "group/member.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "group/member_impl.h"

namespace mainstay::group {
namespace {

std::string says(const GroupState& state) {
  if (!state.record) return "the register has no record of this group any more";
  return "the register says that " + state.record->leader.node + " leads, in epoch " +
         std::to_string(state.epoch().value);
}

}  // namespace

Member::Impl::Impl(MemberOptions with, journal::Journal& with_journal, Superblock with_block,
                   Random& with_random, Instant at)
    : options(std::move(with)),
      journal(with_journal),
      random(with_random),
      life(1 + with_random.below(UINT64_MAX - 1)),
      now(at),
      block(std::move(with_block)),
      durable(with_journal.durable()),
      grace_until(at),
      led_since(at),
      proof(at),
      proof_until(at) {
  block.epochs.cut(durable.lsn);
  MS_ASSERT(options.drop_after < options.suspect_after && options.lease < options.suspect_after,
            "a leader must lose its follower, and stop, before the follower takes over");
  options.suspect_after_max = std::max(options.suspect_after_max, options.suspect_after);
  times = floor();
  // A record of an epoch is in the log only because its leadership was followed, or was our own.
  promised_stored = promised_at_start = block.promised;
  if (!bug(Bug::no_promise) && !bug(Bug::promise_not_durable))
    block.promised = std::max(block.promised, block.epochs.last());
  block.seen = std::max(block.seen, block.epochs.last());
  committed = committed_stored = std::min(block.committed, durable.lsn);
  if (block.committed > durable.lsn)
    stop_for_good("this log ends at LSN " + std::to_string(durable.lsn.value) + ", and up to LSN " +
                  std::to_string(block.committed.value) +
                  " it was committed: the disk has lost records. Give this node a new, empty directory; its "
                  "leader has them");
  committed_heard = committed;
  jitter = Duration{
      static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(options.suspect_after.ns / 4) + 1))};
  // Whoever has promised something may have granted a lease in its life before; nobody knows how long a one.
  grace = block.promised == Epoch{} ? options.suspect_after : options.suspect_after_max;
  grace_until = now + grace + jitter;
  read_wanted = true;
}

void Member::Impl::alarm(const std::string& why) {
  last_problem = why;
  if (alarms.insert(why).second) put(Alarm{why});
}

void Member::Impl::unreadable(Lsn first, const std::string& why) {
  last_problem = why;
  put(Unreadable{first, why});
}

void Member::Impl::stop_for_good(const std::string& why) {
  alarm(why);
  stop_following();
  change.reset();
  role = Role::stopped;
}

void Member::Impl::restart(std::optional<journal::LogPosition> cut, const std::string& why) {
  if (over) return;
  over = true;
  put(Restart{cut, why});
}

/// R2. Acted on when promised_stored has reached it.
void Member::Impl::promise(Epoch epoch) {
  if (epoch <= block.promised) return;
  block.promised = epoch;
  block_dirty = true;
}

void Member::Impl::store_block() {
  if (!block_dirty || block_out) return;
  block_dirty = false;
  block.committed = committed_stored = committed;
  if (known && known->record) block.record = known->record;
  ++block.generation;
  block_out = block;
  StoreBlock store{block};
  if (bug(Bug::promise_not_durable)) store.block.promised = promised_at_start;
  put(std::move(store));
}

void Member::Impl::begin_change(Purpose purpose, const GroupState& expected, GroupRecord next) {
  next.epoch = next.epoch.next();
  next.by = "node " + self().node;
  next.at = wall;
  change = Change{purpose, expected, std::move(next), false};
  next_ask = std::max(now, retry_at);  // it does not wait for the next look
}

/// Register and superblock: the one question that is due, if none is out.
void Member::Impl::ask_register() {
  if (!ready || asking != Asking::nothing || role == Role::stopped || now < next_ask) return;
  if (change) {
    if (change->asked) {
      // The outcome of the last attempt is not known: look before anything else.
      asking = Asking::read;
      asked_at = now;
      seen_when_asked = block.seen;
      put(ReadRegister{});
      return;
    }
    const bool promised =
        promised_stored >= change->next.epoch || bug(Bug::no_promise) || role == Role::leader;
    if (!promised || batch_out) return;
    change->asked = true;
    asking = Asking::change;
    asked_at = now;
    seen_when_asked = block.seen;
    put(ChangeRegister{change->expected, change->next});
    return;
  }
  const bool look = role == Role::follower && (suspects() || now >= look_at);
  if (role == Role::leader || read_wanted || look) {
    read_wanted = false;
    look_at = now + options.backup_register_every;
    asking = Asking::read;
    asked_at = now;
    seen_when_asked = block.seen;
    put(ReadRegister{});
  }
}

/// Whether the register is at least as new as what this node has seen of it.
bool Member::Impl::trusted(const GroupState& state) {
  if (bug(Bug::trust_older_register)) return true;
  if (state.record && state.record->cluster != options.cluster) {
    register_refused = true;
    stop_for_good("the register's record belongs to another cluster (" + state.record->cluster.text() +
                  "): this node's register or its directory is not the right one");
    return false;
  }
  // Between the answer and now a leader may have shown more: then the answer is only late.
  if (state.epoch() < block.seen && state.epoch() >= seen_when_asked) return false;
  register_refused = state.epoch() < seen_when_asked;
  if (register_refused) {
    alarm(!state.record
              ? options.register_name + " has no record of this group, which has been in epoch " +
                    std::to_string(block.seen.value) +
                    ": it was lost or put back, or [register] here names another one than the files of the "
                    "other nodes. Nothing is decided until `mainstay group repair-register`"
              : options.register_name + " says epoch " + std::to_string(state.epoch().value) +
                    ", and epoch " + std::to_string(block.seen.value) +
                    " has been seen: it was put back to an older state, or [register] here names another one "
                    "than the files of the other nodes. Nothing is decided until `mainstay group "
                    "repair-register`");
    return false;
  }
  if (state.epoch() > block.seen) {
    block.seen = state.epoch();
    block_dirty = true;
  }
  return true;
}

void Member::Impl::on_read(RegisterOutcome outcome, const GroupState& state) {
  MS_ASSERT(asking == Asking::read, "an answer follows its question");
  asking = Asking::nothing;
  if (outcome != RegisterOutcome::done) {
    next_ask = retry_at = now + options.register_retry;
    last_problem = "the register does not answer";
    return;
  }
  // From question to question: a slow answer leaves as many of them within a lease.
  next_ask =
      role == Role::leader ? std::max(now, asked_at + options.register_every) : now + options.register_retry;
  if (!trusted(state)) {
    next_ask = now + options.register_every;
    return;
  }
  known = state;
  if (change && change->asked) {
    const GroupRecord& next = change->next;
    if (state.record && state.record->epoch == next.epoch && state.record->leader == self() &&
        state.record->isr == next.isr) {
      on_change(RegisterOutcome::done, state);
      return;
    }
    if (state.revision == change->expected.revision && state.epoch() == change->expected.epoch()) {
      // Not stored, so far: it may still be. The same change again is the only one that cannot contradict it.
      change->asked = false;
      next_ask = now;
      if (role == Role::candidate && !suspects()) {
        role = Role::follower;
        change.reset();
      }
      return;
    }
    on_change(RegisterOutcome::lost, state);
    return;
  }
  if (role == Role::leader) {
    if (state.epoch() == force.epoch && state.record->leader == self()) {
      register_heard = asked_at;
    } else if (!won || won->epoch != state.epoch()) {
      restart({}, says(state));
    }
    return;
  }
  if (role != Role::follower) return;
  // R5: a restarted leader has nobody to wait for, and a new leadership to ask for.
  if (leader_peer == 0 && state.record && state.record->leader == self()) log_begun = true;
  if (suspects()) consider(state);
  if (role == Role::follower) next_ask = now + options.register_retry;
}

void Member::Impl::on_change(RegisterOutcome outcome, const GroupState& state) {
  asking = Asking::nothing;
  next_ask = now;
  if (!change) return;  // somebody else's leadership is followed meanwhile
  const Change asked = *change;
  switch (outcome) {
    case RegisterOutcome::done:
      known = state;
      change.reset();
      if (role == Role::candidate) {
        block.seen = std::max(block.seen, state.epoch());
        block_dirty = true;
        lead(*state.record);
        register_heard = asked_at;
      } else if (role == Role::leader) {
        // R2: its promise first; until then both the old set and the new one are needed.
        block.seen = std::max(block.seen, state.epoch());
        if (!bug(Bug::no_promise)) promise(state.epoch());
        won = state.record;
        register_heard = asked_at;
      }
      return;
    case RegisterOutcome::lost: {
      if (!trusted(state)) return;
      known = state;
      const bool ours = state.record && state.record->leader == self() &&
                        state.record->epoch == asked.next.epoch && state.record->isr == asked.next.isr;
      if (ours) {
        // An earlier attempt of the same change had landed.
        on_change(RegisterOutcome::done, state);
        return;
      }
      change.reset();
      if (role == Role::leader) {
        restart({}, says(state));
      } else if (role == Role::candidate) {
        role = Role::follower;
        grace_until = now;
        wait_for_leader({});  // the winner gets its time
        take_over.reset();
        log_begun = false;
      }
      return;
    }
    case RegisterOutcome::unavailable:
      // Certainly not stored. When an earlier attempt may still be, only the same change may be asked for.
      next_ask = retry_at = now + options.register_retry;
      change->asked = false;
      if (role == Role::leader && !change->may_land) {
        change.reset();
      } else if (role == Role::candidate && !suspects()) {
        role = Role::follower;
        change.reset();
      }
      return;
    case RegisterOutcome::unknown:
      next_ask = retry_at = now + options.register_retry;
      change->may_land = true;
      last_problem = "the register did not say whether it stored a change";
      return;
  }
}

Sender Member::Impl::sender(const Peer& to) const {
  Sender from;
  from.cluster = options.cluster;
  from.member = self();
  from.leads = role == Role::leader;
  from.epoch = role == Role::leader ? force.epoch : block.promised;
  from.sent = now;
  if (role == Role::leader) from.lease = times.lease;
  from.heard = to.stamp;
  if (to.stamp.ns != 0) from.held = now - to.stamp_at;
  from.granted = to.granted;
  from.life = life;
  return from;
}

void Member::Impl::send(PeerId to, const Message& message) {
  const auto peer = peers.find(to);
  if (peer == peers.end() || peer->second.version == 0) return;
  if (!speaks(peer->second.version, message)) {
    last_problem = "node " + (peer->second.member ? peer->second.member->node : peer->second.dialled) +
                   " is of an older release, which neither asks for nor gives full copies: upgrade it first";
    return;
  }
  SendPacket packet{to, {}};
  encode(sender(peer->second), message, packet.packet, peer->second.version);
  peer->second.sent = now;
  put(std::move(packet));
}

Times Member::Impl::floor() const {
  return {options.drop_after, options.lease, options.suspect_after};
}

/// What a packet says about time: the way there and back, and the lease that it grants (R8).
void Member::Impl::hear_time(Peer& peer, const Sender& sender) {
  peer.stamp = sender.sent;
  peer.stamp_at = now;
  peer.granted = {};  // until the leader is found to be one
  if (peer.version < kPacketVersionOfTimes && role == Role::leader && !sender.leads &&
      force.isr.contains(sender.member) && sender.epoch == force.epoch) {
    // It grants nothing and says nothing about time: that it spoke has to do, and the configured times.
    proof = now;
    proof_until = std::max(proof_until, now + options.lease);
  }
  const bool possible = sender.heard.ns > 0 && sender.heard <= now;
  // R8. Not when it came counts but what it answers: what lay in a socket while this process stood still says
  // nothing about now.
  if (possible && role == Role::leader && !sender.leads && force.isr.contains(sender.member) &&
      sender.epoch == force.epoch && sender.granted.ns > 0) {
    proof = std::max(proof, sender.heard);
    proof_until = std::max(proof_until, sender.heard + std::min(sender.granted, options.suspect_after_max));
  }
  if (!possible || sender.heard <= peer.echoed) return;
  peer.echoed = sender.heard;
  if (!peer.trip) peer.trip.emplace(options.beacon_every);
  if (!peer.trip->sample(now - sender.heard - sender.held, now)) return;
  // A node is as near as the quicker one of its lines, and the group as far as its farthest node.
  std::map<std::string, Duration> nodes;
  for (const auto& [id, each] : peers) {
    if (!each.member || !each.trip || each.trip->used() == Duration{}) continue;
    const auto [node, first] = nodes.emplace(each.member->node, each.trip->used());
    if (!first) node->second = std::min(node->second, each.trip->used());
  }
  round_trip = {};
  for (const auto& [node, trip] : nodes) round_trip = std::max(round_trip, trip);
  times = times_for(floor(), options.suspect_after_max, options.beacon_every, round_trip);
}

/// A copy that went over this line goes on over another one, which is told again.
void Member::Impl::forget_line(PeerId id) {
  const auto gone = peers.find(id);
  if (gone == peers.end()) return;
  const bool copy_told = gone->second.copy_told;
  peers.erase(gone);
  for (auto& [other, peer] : peers) {
    if (copy_told) peer.copy_told = false;
    peer.hello_asked = false;  // the question on that line may have overtaken it, and has no answer now
  }
}

void Member::Impl::close(PeerId id, const std::string& why) {
  if (!peers.contains(id)) return;
  forget_line(id);
  last_problem = why;
  if (leader_peer == id) stop_following();
  put(ClosePeer{id, why});
}

void Member::Impl::hello_to(PeerId peer) {
  // A leader's end is that of all it has ordered: a follower must not cut what is on its way to our disk.
  send(peer, Hello{role == Role::leader ? appended : durable, committed, block.epochs});
}

void Member::Impl::hello_to_all() {
  std::vector<PeerId> all;
  for (const auto& [id, peer] : peers) all.push_back(id);
  for (const PeerId id : all) hello_to(id);
}

/// Which version is spoken on this connection. @return false: none, it is closed
bool Member::Impl::agree(PeerId from, std::uint16_t version) {
  Peer& peer = peers.at(from);
  if (peer.version == 0) {
    peer.version = version;
    hello_to(from);
  } else if (version < peer.version) {
    if (!peer.dialled.empty()) older[peer.dialled] = version;
    close(from,
          "the peer speaks version " + std::to_string(version) + " of the group protocol: again in that");
    return false;
  }
  return true;
}

/// A node that has connected again may still have packets on the way in its old connections: what they say
/// was true before what the new one has said. Lines of one life (of one Member) go on beside each other, and
/// what is newer is told by `sent`; those of an older life are over. Version 1 says neither: the newest
/// connection counts.
bool Member::Impl::is_replaced(PeerId from, std::uint64_t its_life) {
  if (bug(Bug::believe_replaced_connection)) return false;
  const Peer& peer = peers.at(from);
  Newest& newest = newest_of[peer.member->node];
  const bool same_life = its_life != 0 && its_life == newest.life;
  if (peer.connected_at <= newest.connected_at) return peer.connected_at < newest.connected_at && !same_life;
  newest.connected_at = peer.connected_at;
  if (same_life) return false;
  newest = {peer.connected_at, its_life, {}, {}};
  std::vector<PeerId> before;
  for (const auto& [id, other] : peers)
    if (id != from && other.member && other.member->node == peer.member->node) before.push_back(id);
  for (const PeerId id : before) close(id, "node " + peer.member->node + " has connected again");
  return false;
}

/// Overtaken by a later one of the same kind on another line.
bool Member::Impl::is_overtaken(Instant sent, Instant& newest) const {
  if (sent < newest && !bug(Bug::believe_replaced_connection)) return true;
  newest = std::max(newest, sent);
  return false;
}

void Member::Impl::receive(PeerId from, BytesView bytes) {
  if (peers.count(from) == 0) return;
  const auto packet = decode(bytes);
  if (!packet || packet->version > options.packet_version) {
    Peer& stranger = peers.at(from);
    const bool newer = packet || packet.error().code == replication::PacketErrorCode::version;
    if (stranger.version == 0 && newer) {
      // In which version it may come back. It hangs up on this: what is sent before a close of ours may be
      // lost.
      stranger.version = options.packet_version;
      last_problem = packet ? "a peer speaks a newer version of the group protocol" : packet.error().what;
      hello_to(from);
      return;
    }
    close(from, packet ? "the peer speaks a newer version of the group protocol" : packet.error().what);
    return;
  }
  if (!agree(from, packet->version)) return;
  const Sender& sender = packet->sender;
  if (sender.cluster != options.cluster || sender.member.node == self().node) {
    const std::string who = "node " + sender.member.node;
    const std::string why =
        sender.cluster != options.cluster
            ? who + " belongs to cluster " + sender.cluster.text() + ", and " + self().node + " to " +
                  options.cluster.text() +
                  ": the nodes of a group have the same `cluster` under [node]; or an address under "
                  "[[group.node]] is that of another group"
            : "two nodes call themselves " + self().node +
                  ": each has a `name` of its own under [node]; or an address under [[group.node]] is that "
                  "of the node itself";
    alarm("a peer was refused: " + why);
    send(from, Refuse{RefusalCode::foreign, why});
    close(from, why);
    return;
  }
  Peer& peer = peers.at(from);
  if (!peer.dialled.empty() && peer.dialled != sender.member.node)
    alarm("at the address of node " + peer.dialled + " under [[group.node]] is node " + sender.member.node +
          ": one of the two names, or the address, is wrong there");
  if (peer.member && *peer.member != sender.member) {
    close(from, "it changed its name or disk within a connection");
    return;
  }
  peer.member = sender.member;
  if (is_replaced(from, sender.life)) {
    close(from, "node " + sender.member.node + " has connected again");
    return;
  }
  if (std::exchange(peer.epoch, sender.epoch) != sender.epoch) peer.epoch_at = now;
  peer.leads = sender.leads;
  heard[sender.member.node] = now;
  hear_time(peer, sender);
  Newest& newest = newest_of[sender.member.node];
  if (const auto* hello = std::get_if<Hello>(&packet->message);
      hello != nullptr && !is_overtaken(sender.sent, newest.hello)) {
    peer.hello_sent = sender.sent;
    peer.hello = *hello;
    peer.hello_at = ++events;
    peer.hello_asked = false;
    // What it has beyond the common part it will cut, and then need from us.
    const Lsn own_end = role == Role::leader ? appended.lsn : durable.lsn;
    ends[sender.member.node] =
        bug(Bug::keep_by_diverged_end)
            ? hello->end.lsn
            : common_end(block.epochs, own_end, hello->epochs, hello->end.lsn).value_or(Lsn{});
    // A leader's end is what it has ordered; on its disk is what is committed, for certain.
    if (sender.leads) ends[sender.member.node] = std::min(ends[sender.member.node], hello->committed);
    if (role == Role::leader && !sender.leads) hello_to(from);
  }
  if (role == Role::leader && sender.epoch > force.epoch) {
    // Somebody promised more: has the register given it to anybody?
    if (asking == Asking::nothing) next_ask = std::min(next_ask, now);
  }
  if (sender.leads) leader_speaks(from, peer, sender.epoch, sender.lease);
  if (over || peers.count(from) == 0) return;
  const bool ours = role == Role::follower && from == leader_peer && sender.epoch == session_epoch;
  if (std::get_if<Follow>(&packet->message) != nullptr) {
    if (role == Role::leader && sender.epoch == force.epoch && !is_overtaken(sender.sent, newest.follow))
      on_follow(from, peer, std::get<Follow>(packet->message).from);
  } else if (const auto* ack = std::get_if<Ack>(&packet->message)) {
    if (role == Role::leader) on_ack(from, peer, sender.epoch, ack->durable);
  } else if (std::get_if<Accept>(&packet->message) != nullptr) {
    if (ours && !accepted) {
      accepted = true;
      ack_due = true;
    }
  } else if (const auto* records = std::get_if<Records>(&packet->message)) {
    on_records(from, sender.epoch, *records);
  } else if (const auto* beacon = std::get_if<Beacon>(&packet->message)) {
    if (ours) hear_committed(beacon->committed);
    Lsn& end = ends[sender.member.node];
    end = std::max(end, beacon->committed);
  } else if (const auto* refusal = std::get_if<Refuse>(&packet->message)) {
    last_problem = refusal->what;
    if (from == leader_peer) {
      stop_following();
      if (refusal->code == RefusalCode::removed) copy_from = sender.member;
      if (refusal->code == RefusalCode::diverged)
        alarm("leader " + sender.member.node + " refused this node: " + refusal->what);
    }
  } else if (std::get_if<TakeOver>(&packet->message) != nullptr) {
    if (ours && accepted) {
      take_over = now;
      next_ask = now;
    }
  } else if (std::get_if<CopyAsk>(&packet->message) != nullptr) {
    if (role == Role::leader && !sender.leads && stranger(sender.member.node).empty())
      put(CopyHeard{from, sender.member, to_buffer(bytes)});
  } else if (sender.leads && role == Role::follower && copy_from == sender.member &&
             sender.epoch >= block.promised) {
    put(CopyHeard{from, sender.member, to_buffer(bytes)});  // the other packets about a copy
  }
}

void Member::Impl::advance() {
  if (over) return;
  if (role == Role::follower) {
    if (promotion && now > promotion->until) promotion.reset();
    find_leader();
    if (over) return;
    acknowledge();
  }
  if (role == Role::leader) {
    if (won && (promised_stored >= won->epoch || bug(Bug::no_promise))) {
      const GroupRecord record = *won;
      won.reset();
      go_on_under(record);
    }
    lead_on();
  }
  store_block();
  ask_register();
}

Member::Member(MemberOptions options, journal::Journal& journal, Superblock block, Random& random,
               Instant now)
    : impl_(std::make_unique<Impl>(std::move(options), journal, std::move(block), random, now)) {
  impl_->advance();
}
Member::~Member() = default;

Role Member::role() const {
  return impl_->role;
}
Epoch Member::epoch() const {
  MS_ASSERT(impl_->role == Role::leader, "only a leader has an epoch of its own");
  return impl_->force.epoch;
}
Lsn Member::committed() const {
  return impl_->committed;
}
bool Member::over() const {
  return impl_->over;
}

void Member::register_read(RegisterOutcome outcome, const GroupState& state, Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  impl_->on_read(outcome, state);
  impl_->advance();
}

void Member::register_changed(RegisterOutcome outcome, const GroupState& state, Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  MS_ASSERT(impl_->asking == Impl::Asking::change, "an answer follows its question");
  impl_->on_change(outcome, state);
  impl_->advance();
}

void Member::block_stored(Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  MS_ASSERT(impl_->block_out, "a superblock is stored when it was asked for");
  impl_->promised_stored = std::max(impl_->promised_stored, impl_->block_out->promised);
  impl_->block_covers = impl_->block_out->epochs.through();
  impl_->block_out.reset();
  impl_->ready = true;
  impl_->advance();
}

void Member::connected(PeerId peer, const std::string& dialled, Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  Impl::Peer& it = impl_->peers[peer];
  it.dialled = dialled;
  it.connected_at = ++impl_->events;
  if (!dialled.empty()) {
    const auto older = impl_->older.extract(dialled);
    it.version = older ? older.mapped() : impl_->options.packet_version;
  }
  impl_->hello_to(peer);
  impl_->advance();
}

void Member::disconnected(PeerId peer, Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  impl_->forget_line(peer);
  if (impl_->leader_peer == peer) impl_->stop_following();
  impl_->advance();
}

void Member::packet(PeerId from, BytesView packet, Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  impl_->receive(from, packet);
  impl_->advance();
}

void Member::appended(const journal::Batch& batch, Instant now, WallTime wall) {
  Impl& it = *impl_;
  if (it.over) return;
  it.now = now, it.wall = wall;
  MS_ASSERT(it.role == Role::leader && batch.first == it.appended.lsn.next(),
            "a leader's batches follow each other");
  it.block.epochs.note(batch);
  if (it.durable == it.appended) it.own_sync_waits = now;
  it.appended = batch.end;
  for (auto& [id, peer] : it.peers) {
    if (!peer.shipper || !peer.shipper->following() || peer.shipper->sent().next() != batch.first ||
        peer.shipper->window_full())
      continue;
    if (peer.member && it.match(*peer.member).next() >= batch.first) {
      // It had nothing to acknowledge until now.
      Instant& when = it.answered[*peer.member];
      when = std::max(when, now);
    }
    it.send(id, Records{it.committed, batch.bytes});
    peer.shipper->sent_directly(batch.end, batch.bytes.size());
  }
  it.advance();
}

void Member::log_read(PeerId to, replication::ShipAhead part, Instant now, WallTime wall) {
  Impl& it = *impl_;
  if (it.over) return;
  it.now = now, it.wall = wall;
  const auto peer = it.peers.find(to);
  if (peer == it.peers.end() || !peer->second.shipper) return;
  peer->second.shipper->arrived(std::move(part));
  it.pump(to, peer->second);
  it.advance();
}

bool Member::take_batch(journal::Batch& into) {
  Impl& it = *impl_;
  if (it.over || it.batch_out || !it.follower || !it.follower->take(into)) return false;
  it.block.epochs.note(into);
  it.batch_out = true;
  return true;
}

std::optional<std::uint64_t> Member::Impl::lag_of_fed(const Peer& peer) const {
  if (role != Role::leader || !peer.shipper || !peer.shipper->following() || !peer.member ||
      force.isr.contains(*peer.member))
    return std::nullopt;
  return durable.lsn.value - std::min(durable.lsn.value, peer.shipper->sent().value);
}

bool Member::feeds_far_behind() const {
  const Impl& it = *impl_;
  return std::any_of(it.peers.begin(), it.peers.end(), [&](const auto& each) {
    return it.lag_of_fed(each.second).value_or(0) > it.options.far_behind;
  });
}

std::optional<std::uint64_t> Member::second_copy_lag() const {
  const Impl& it = *impl_;
  std::optional<std::uint64_t> nearest;
  if (it.force.isr.size() != 1) return nearest;
  for (const auto& [id, peer] : it.peers) {
    const auto lag = it.lag_of_fed(peer);
    if (lag && (!nearest || *lag < *nearest)) nearest = lag;
  }
  return nearest;
}

bool Member::committed_beyond(Lsn lsn) const {
  return impl_->committed_heard > lsn;
}

void Member::synced(journal::LogPosition durable, Instant now, WallTime wall) {
  Impl& it = *impl_;
  if (it.over) return;
  it.now = now, it.wall = wall;
  MS_ASSERT(durable.lsn >= it.durable.lsn, "what is durable stays so");
  it.durable = durable;
  it.batch_out = false;
  if (it.role == Role::leader) {
    it.pass_over_own_stall();
    it.own_sync_waits = durable == it.appended ? std::nullopt : std::optional(now);
    it.commit();
    std::vector<PeerId> behind;
    for (const auto& [id, peer] : it.peers)
      if (peer.shipper && peer.shipper->sent() < durable.lsn) behind.push_back(id);
    for (const PeerId id : behind) it.pump(id, it.peers.at(id));
  } else {
    it.ack_due = true;
    it.hear_committed({});
    // A leader ships before its own sync: it has what is committed, and may lose the rest with its power.
    if (const auto leader = it.peers.find(it.leader_peer); leader != it.peers.end()) {
      Lsn& end = it.ends[leader->second.member->node];
      end = std::max(end, it.committed);
    }
  }
  it.advance();
}

void Member::disk_stalled(bool stalled, Instant now, WallTime wall) {
  Impl& it = *impl_;
  if (it.over) return;
  it.now = now, it.wall = wall;
  it.disk_stalled = stalled;
  if (stalled && it.role == Role::leader) it.restart({}, "its disk has stalled");
  it.advance();
}

void Member::disk_is_ours(Instant when) {
  impl_->proof = std::max(impl_->proof, when);
  impl_->proof_until = std::max(impl_->proof_until, when + impl_->times.lease);
  impl_->register_heard = std::max(impl_->register_heard, when);
}

std::optional<std::string> Member::hand_over(const std::string& to, Instant now, WallTime wall) {
  Impl& it = *impl_;
  it.now = now, it.wall = wall;
  if (it.over || it.role != Role::leader) return "this node does not lead";
  if (it.handing_over) return "a move to " + it.handing_over->to + " is under way";
  if (to == it.self().node) return "it leads already";
  for (const MemberId& member : it.force.isr) {
    if (member.node != to || member == it.self()) continue;
    it.handing_over = Impl::HandOver{to, {}, now};
    it.advance();
    return {};
  }
  const bool listed = !it.options.listed || it.options.listed->contains(to);
  return listed ? "it is not in the in-sync set: see `mainstay group status`"
                : "no node of this name is listed under [[group.node]] of leader " + it.self().node;
}

std::optional<std::string> Member::promote(const std::string& by, Duration most, Instant now, WallTime wall) {
  Impl& it = *impl_;
  it.now = now, it.wall = wall;
  if (it.over) return "it is beginning anew from its log: try again in a moment";
  if (it.role == Role::leader) return "it leads already";
  if (it.role == Role::stopped) return it.last_problem;
  if (it.disk_stalled) return "its disk does not answer";
  if (!it.suspects()) {
    const auto heard = it.heard.find(it.waits_for);
    const std::string when =
        heard == it.heard.end() ? "" : " " + std::to_string((now - heard->second).milliseconds()) + " ms ago";
    return it.waits_for.empty() ? "it has begun just now and may hear of a leader yet: try again in a moment"
                                : "leader " + it.waits_for + " was heard" + when +
                                      ": `mainstay group switch` moves the lead of a leader that is there";
  }
  if (it.known && it.known->record && !it.known->record->isr.contains(it.self()))
    return "by the register it is not in the in-sync set and may lack what was acknowledged";
  it.promotion = Impl::Promotion{by, now + most};
  it.next_ask = std::min(it.next_ask, now);
  it.advance();
  return {};
}

bool Member::waits_for_operator() const {
  return !impl_->over && impl_->waits_for_operator;
}

bool Member::promoting() const {
  return !impl_->over && impl_->promotion.has_value();
}

bool Member::handing_over() const {
  return !impl_->over && impl_->handing_over.has_value();
}

void Member::list(std::set<std::string> others, Instant now, WallTime wall) {
  Impl& it = *impl_;
  if (it.over) return;
  it.now = now, it.wall = wall;
  if (it.role == Role::leader) {
    for (const std::string& node : others)
      if (it.force.removed.contains(node)) it.to_accept.insert(node);
    it.to_drop.clear();
    for (const MemberId& member : it.need())
      if (!others.contains(member.node)) it.to_drop.insert(member.node);
  }
  it.options.listed = std::move(others);
  if (it.role == Role::leader) it.drop_strangers();
  it.advance();
}

std::optional<std::string> Member::remove(const std::string& node, Instant now, WallTime wall) {
  Impl& it = *impl_;
  it.now = now, it.wall = wall;
  if (it.over || it.role != Role::leader) return "this node does not lead";
  if (node == it.self().node) return "it leads: move the lead first";
  if (it.handing_over) return "a move to " + it.handing_over->to + " is under way";
  if (!it.force.removed.contains(node)) it.to_remove.insert(node);
  it.to_accept.erase(node);
  it.drop_strangers();
  it.advance();
  return {};
}

void Member::send_copy(PeerId to, const Message& message, Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  impl_->send(to, message);
}

bool Member::wants_copy() const {
  return !impl_->over && impl_->role == Role::follower && impl_->copy_from.has_value();
}

void Member::end_for_copy(Instant now, WallTime wall) {
  if (impl_->over) return;
  impl_->now = now, impl_->wall = wall;
  MS_ASSERT(impl_->role == Role::follower && impl_->copy_from, "a copy is for a node that cannot follow");
  impl_->restart({},
                 "a full copy of the log of node " + impl_->copy_from->node + " takes the place of this one");
}

const EpochTable& Member::epochs() const {
  return impl_->block.epochs;
}

void Member::tick(Instant now, WallTime wall) {
  Impl& it = *impl_;
  if (it.over) return;
  it.now = now, it.wall = wall;
  if (!it.disk_stalled && it.role != Role::stopped) {
    std::vector<PeerId> due;
    for (const auto& [id, peer] : it.peers)
      if (now - peer.sent >= it.options.beacon_every) due.push_back(id);
    for (const PeerId id : due) it.send(id, Beacon{it.committed});
  }
  // Now and then, so that a restart knows most of what must not be cut.
  if (it.committed.value > it.committed_stored.value + 10'000) it.block_dirty = true;
  if (it.known && it.known->record && it.block.record != it.known->record) it.block_dirty = true;
  it.advance();
}

bool Member::block_covers(Lsn lsn) const {
  return impl_->block_covers >= lsn;
}

void Member::cover(Lsn lsn, Instant now, WallTime wall) {
  Impl& it = *impl_;
  if (it.over || it.block_covers >= lsn) return;
  it.now = now, it.wall = wall;
  // One that is being stored may cover it.
  if (!it.block_out || it.block_out->epochs.through() < lsn) it.block_dirty = true;
  it.advance();
}

Lsn Member::second_copy() const {
  Lsn most{};
  for (const auto& [member, lsn] : impl_->matches)
    if (impl_->force.isr.contains(member)) most = std::max(most, lsn);
  return std::min(most, impl_->durable.lsn);
}

std::uint16_t Member::version_with(const std::string& node) const {
  std::uint16_t lowest = 0;
  for (const auto& [id, peer] : impl_->peers)
    if (peer.member && peer.member->node == node)
      lowest = lowest == 0 ? peer.version : std::min(lowest, peer.version);
  return lowest;
}

std::size_t Member::copies() const {
  return impl_->role == Role::leader && !impl_->over ? impl_->force.isr.size() : 0;
}

const std::map<std::string, Lsn>& Member::known_ends() const {
  return impl_->ends;
}

Instant Member::next_deadline() const {
  return impl_->now + Duration{impl_->options.beacon_every.ns / 2};
}

void Member::outputs(std::vector<Output>& into) {
  for (Output& each : impl_->out) into.push_back(std::move(each));
  impl_->out.clear();
}

std::optional<std::string> Member::delivery_refusal(Instant now) const {
  const Impl& it = *impl_;
  if (it.over || it.role != Role::leader) return "this node does not lead";
  Instant until = std::max(it.proof_until, it.register_heard + it.times.lease);
  if (it.nobody_else_may_lead())
    until = std::max(until, it.register_heard + it.options.alone_without_register_max);
  if (now > until && !Impl::bug(Bug::deliver_under_stale_lease))
    return "this node has heard neither of an in-sync follower nor of the register for " +
           std::to_string((now - std::max(it.proof, it.register_heard)).milliseconds()) + " ms";
  return {};
}

std::optional<std::string> Member::accept_refusal(Instant now) const {
  const Impl& it = *impl_;
  if (it.over || it.role != Role::leader) return "this node does not lead";
  if (it.handing_over) return "the lead is being handed to " + it.handing_over->to;
  if (it.force.isr.size() == 1 && now - it.register_heard > it.options.alone_without_register_max)
    return "this node is alone and has not heard of the register for " +
           std::to_string((now - it.register_heard).milliseconds()) + " ms";
  return {};
}

Times Member::times() const {
  return impl_->times;
}

const std::string& Member::last_problem() const {
  return impl_->last_problem;
}

MemberStatus Member::status() const {
  const Impl& it = *impl_;
  MemberStatus status;
  status.role = it.role;
  status.promised = it.block.promised;
  status.seen = it.block.seen;
  status.highest = std::max({it.block.seen, it.block.promised, it.change ? it.change->next.epoch : Epoch{}});
  status.known = it.known ? it.known->record : it.block.record;
  status.durable = it.durable.lsn;
  status.committed = it.committed;
  status.last_problem = it.last_problem;
  status.cannot_cut = it.cannot_cut;
  for (const auto& [id, peer] : it.peers) {
    if (!peer.member) continue;
    status.connected.push_back(peer.member->node);
    status.versions[peer.member->node] = peer.version;
    if (peer.shipper && peer.shipper->following()) status.following.insert(peer.member->node);
  }
  if (status.known) status.removed = status.known->removed;
  status.register_refused = it.register_refused;
  status.times = it.times;
  status.round_trip = it.round_trip;
  if (it.role == Role::follower) {
    status.grace = it.grace;
    status.grace_until = it.grace_until;
    status.waits_for_operator = waits_for_operator();
  }
  if (it.role == Role::leader) {
    status.removed = it.force.removed;
    status.epoch = it.force.epoch;
    status.leader = it.self().node;
    for (const MemberId& member : it.need()) status.need.push_back(member.node);
    status.alone = it.force.isr.size() == 1;
    for (const MemberId& member : it.force.isr) status.in_sync.push_back(member.node);
    return status;
  }
  const auto peer = it.peers.find(it.leader_peer);
  if (peer != it.peers.end() && it.accepted) {
    status.epoch = it.session_epoch;
    status.leader = peer->second.member->node;
  }
  if (it.known && it.known->record)
    for (const MemberId& member : it.known->record->isr) status.in_sync.push_back(member.node);
  return status;
}

}  // namespace mainstay::group
