#include "replica/replica.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "group/bugs.h"
#include "replica/leadership.h"
#include "replica/replica_impl.h"

namespace mainstay::replica {

Replica::Replica(ReplicaOptions options, journal::Journal& journal, broker::State state, RegionTerm last_term,
                 bool ends_sealed, Random& random, Instant now, WallTime)
    : impl_(std::make_unique<Impl>(std::move(options), journal, std::move(state), last_term, ends_sealed,
                                   random, now)) {
  MS_ASSERT(impl_->log_is_whole(), "a replica starts with exactly what its log holds");
}
Replica::~Replica() = default;

Role Replica::role() const {
  return impl_->role;
}
Epoch Replica::epoch() const {
  return impl_->epoch;
}
RegionTerm Replica::term() const {
  return impl_->term;
}
const broker::State& Replica::state() const {
  return impl_->state;
}
Lsn Replica::committed() const {
  return impl_->committed;
}
bool Replica::switching() const {
  return impl_->switching.has_value();
}

broker::Leader& Replica::leader() {
  MS_ASSERT(impl_->role == Role::live, "commands are for the live replica");
  impl_->absorb_leader_outputs();
  return *impl_->leader;
}
std::vector<broker::Output>& Replica::leader_outputs() {
  return impl_->leader_outputs;
}

// --- leadership
// ----------------------------------------------------------------------------------------------

bool Replica::Impl::log_is_whole() const {
  return !batch_out && !unwritten_decisions && state.applied() == durable.lsn &&
         (!follower || follower->pending_bytes() == 0);
}

void Replica::Impl::become_fatal(std::string why) {
  if (std::exchange(fatal, true)) return;
  last_problem = why;
  released.emplace_back(Fatal{std::move(why)});
}

void Replica::Impl::raise_term(RegionTerm seen, const std::string& why) {
  if (seen <= term) return;
  term = seen;
  released.emplace_back(StoreTerm{term});
  // What was followed belongs to a leadership that is over.
  source = 0;
  accepted = false;
  if (leader || promotion) seal(why);
  introduce_to_all();
}

void Replica::Impl::seal(const std::string& why) {
  absorb_leader_outputs();
  held.drop();
  switching.reset();
  shipper.reset();
  lag.reset();
  ship_to = 0;
  own_hashes.clear();
  const bool appended = leader != nullptr;
  promotion.reset();
  leader.reset();
  if (log && !log->gathering().empty()) unwritten_decisions = true;
  log.reset();
  if (!appended) {  // asked to lead and had not begun: stays what it was
    released.emplace_back(RoleChanged{role, term, why, false});
    return;
  }
  role = Role::sealed;
  released.emplace_back(RoleChanged{role, term, why, unwritten_decisions});
}

void Replica::Impl::block(const std::string& why) {
  blocked = why;
  last_problem = why;
  source = 0;
  accepted = false;
  released.emplace_back(Alarm{why});
  if (role != Role::sealed) {
    role = Role::sealed;
    released.emplace_back(RoleChanged{role, term, why, false});
    introduce_to_all();
  }
}

std::optional<std::string> Replica::unfit_to_lead() const {
  const Impl& me = *impl_;
  if (me.fatal) return me.last_problem;
  if (me.member) return "its group's register decides who leads";
  if (me.role == Role::live || me.promotion) return "it leads or is about to";
  if (!me.blocked.empty()) return me.blocked;
  if (me.unwritten_decisions) return "it must be restarted first, to recover from its log";
  return std::nullopt;
}

bool Replica::may_lead_in(RegionTerm term) const {
  return term >= impl_->term && term > impl_->term_used;
}

Result<void, Failure> Replica::promote(RegionTerm term, bool forced, const std::string& by,
                                       const std::string& reason, Instant now, WallTime wall) {
  Impl& me = *impl_;
  me.now = now;
  const auto refused = [&](const std::string& why) {
    return Failure{"node " + me.options.node + " does not take the lead in term " +
                   std::to_string(term.value) + ": " + why};
  };
  if (const auto unfit = unfit_to_lead()) return refused(*unfit);
  if (!may_lead_in(term)) {
    return refused("term " + std::to_string(me.term.value) +
                   " was seen before; take a higher one in the register");
  }
  me.promotion = Impl::Promotion{term, forced, by, reason, {}};
  me.term_used = term;
  if (term > me.term) {
    me.term = term;
    me.released.emplace_back(StoreTerm{term});
  }
  me.source = 0;
  me.accepted = false;
  if (me.log_is_whole()) me.finish_promotion(me.epoch.next(), wall);
  return {};
}

void Replica::Impl::finish_promotion(Epoch next, WallTime wall) {
  MS_ASSERT(log_is_whole() && promotion, "a leadership begins at the end of a whole log");
  MS_ASSERT(next > epoch, "a leadership's epoch is above all in its log");
  follower.reset();
  epoch = next;
  log.emplace(durable, epoch);
  leader = std::make_unique<broker::Leader>(state, *log, random, options.leader_limits);
  if (promotion->forced) {
    promotion->record = leader->record_other(
        journal::RecordType::forked, encode(Forked{promotion->term, committed_heard, options.region,
                                                   options.node, wall, promotion->by, promotion->reason}));
  } else {
    promotion->record = leader->record_other(
        journal::RecordType::epoch_started, encode(EpochStarted{promotion->term, options.region, options.node,
                                                                wall, promotion->by, promotion->reason}));
  }
}

void Replica::Impl::become_live(WallTime wall) {
  const std::string why = promotion->reason;
  promotion.reset();
  role = Role::live;
  leading_since = now;
  last_leader_tick = now;
  last_state_hash = committed;
  shipper.emplace(journal, replication::ShipLimits{options.ship_bytes_max, options.ship_ahead_bytes_max});
  lag.emplace(committed);
  standby_known = false;
  global = {};
  region = member ? member->second_copy() : Lsn{};
  const bool early = group::resurrected(group::Bug::deliver_before_first_commit);
  leader->committed(early ? log->end().lsn : committed, now, wall, leader_outputs);
  absorb_leader_outputs();
  released.emplace_back(RoleChanged{role, term, why, false});
  introduce_to_all();
}

void Replica::seal(RegionTerm seen, const std::string& why) {
  Impl& me = *impl_;
  if (seen > me.term) {
    me.raise_term(seen, why);
  } else if (me.leader || me.promotion) {
    me.seal(why);
    me.introduce_to_all();
  }
}

void Replica::begin_switch(Instant now, WallTime wall) {
  Impl& me = *impl_;
  me.now = now;
  MS_ASSERT(me.role == Role::live && !me.switching, "a switch begins once, on the live replica");
  me.absorb_leader_outputs();
  me.leader->record_state_hash();
  const std::uint64_t hash = me.state.hash();
  me.leader->record_other(journal::RecordType::sealed, encode(Sealed{me.term, hash, wall}));
  MS_ASSERT(me.state.hash() == hash, "a seal changes no state");
  me.switching = Impl::Switch{me.log->end(), hash, false};
}

void Replica::abort_switch(Instant now, WallTime wall) {
  Impl& me = *impl_;
  me.now = now;
  MS_ASSERT(me.role == Role::live && me.switching, "only a switch under way can be called off");
  me.switching.reset();
  me.epoch = me.epoch.next();
  me.log->start_epoch(me.epoch);
  me.leader->record_other(journal::RecordType::epoch_started,
                          encode(EpochStarted{me.term, me.options.region, me.options.node, wall,
                                              me.options.node, "planned switch called off"}));
}

// --- group commit
// --------------------------------------------------------------------------------------------

bool Replica::take_batch(PendingWrite& out) {
  Impl& me = *impl_;
  if (me.batch_out || me.fatal) return false;
  if (me.leader) {
    me.absorb_leader_outputs();
    if (me.log->gathering().empty()) return false;
    MS_ASSERT(me.state.applied() == me.log->end().lsn, "the live state is the log's end");
    MS_ASSERT(!me.switching || me.log->end() == me.switching->seal, "nothing follows the seal of a switch");
    out.batch = me.log->take(std::move(me.recycled));
    out.raw = false;
    out.catch_up =
        me.member && me.member->feeds_far_behind() ? journal::CatchUp::gives : journal::CatchUp::none;
    me.own_hashes.push_back({out.batch.end.lsn, me.state.hash()});
    constexpr std::size_t kHashesMax = 4096;
    if (me.own_hashes.size() > kHashesMax) me.own_hashes.pop_front();
    if (me.member) me.member->appended(out.batch, me.now, me.wall_now);
  } else {
    MS_ASSERT(!me.to_apply, "a follower applies what it has written before it takes more");
    const bool taken = me.member     ? me.member->take_batch(me.recycled)
                       : me.follower ? me.follower->take(me.recycled)
                                     : false;
    if (!taken) return false;
    out.batch = std::move(me.recycled);
    out.raw = true;
    // Others have committed more already: nobody waits for this batch.
    const bool behind = me.member && me.member->committed_beyond(out.batch.end.lsn);
    out.catch_up = behind ? journal::CatchUp::takes : journal::CatchUp::none;
  }
  me.recycled = {};
  me.batch_out = true;
  me.out_raw = out.raw;
  me.out_bytes = out.batch.bytes.size();
  if (me.member) me.absorb_member(me.wall_now);
  return true;
}

void Replica::written(const PendingWrite& done, Instant now, WallTime wall) {
  Impl& me = *impl_;
  me.now = now;
  MS_ASSERT(me.batch_out && done.raw == me.out_raw && done.batch.bytes.size() == me.out_bytes,
            "the batch taken last comes back");
  me.batch_out = false;
  me.out_bytes = 0;
  me.durable = done.batch.end;
  me.log_bytes += done.batch.bytes.size();
  me.cleaner.appended(me.durable.lsn, me.log_bytes, me.clean_segment_bytes);
  me.wall_now = wall;
  if (me.member) {
    me.to_apply = done.raw;
    me.member->synced(me.durable, now, wall);
    me.absorb_member(wall);
    if (me.leader && group::resurrected(group::Bug::answer_when_durable_here))
      me.commit(me.durable.lsn, wall);
  } else if (done.raw) {
    me.written_raw(done.batch, wall);
  } else if (me.leader) {
    me.written_by_leader(done.batch, wall);
  } else {
    me.committed = done.batch.end.lsn;  // sealed meanwhile: in the log, never answered
    me.try_follow();
  }
}

void Replica::recycle(journal::Batch memory) {
  memory.clear();
  impl_->recycled = std::move(memory);
}

void Replica::Impl::written_by_leader(const journal::Batch& batch, WallTime wall) {
  if (lag && options.has_other_region) {
    std::vector<std::uint32_t> sizes(batch.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
      const std::size_t end = i + 1 < sizes.size() ? batch.offsets[i + 1] : batch.bytes.size();
      sizes[i] = static_cast<std::uint32_t>(end - batch.offsets[i]);
    }
    lag->committed(sizes, now);
  }
  commit(batch.end.lsn, wall);
}

void Replica::Impl::commit(Lsn lsn, WallTime wall) {
  committed = lsn;
  absorb_leader_outputs();
  if (promotion && promotion->record <= committed) {
    become_live(wall);
  } else if (role == Role::live) {
    leader->committed(committed, now, wall, leader_outputs);
    absorb_leader_outputs();
    if (options.state_hash_every != 0 && !switching &&
        log->end().lsn.value - last_state_hash.value >= options.state_hash_every) {
      leader->record_state_hash();
      last_state_hash = log->end().lsn;
    }
  }
  held.release(committed, released);
  reach_far();
  pump();
}

/// Answers to publishes of a higher durability, as far as it is reached.
void Replica::Impl::reach_far() {
  held.release_far({std::min(region, committed), std::min(global, committed)}, released);
}

/// @return false: the log and the state contradict each other, and this replica has ended
bool Replica::Impl::apply(const journal::Batch& batch, WallTime /*wall*/) {
  for (BytesView rest(batch.bytes); !rest.empty();) {
    journal::Record record;
    const auto decoded = journal::decode_record(rest, record);
    MS_ASSERT(decoded == journal::DecodeStatus::ok, "records were checked when they came in");
    if (const auto applied = state.apply(record); !applied) {
      become_fatal("this standby's state is not what the log says at LSN " +
                   std::to_string(applied.error().lsn.value) + ": " + applied.error().what);
      return false;
    }
    epoch = record.header.epoch;
    const RegionTerm of_record = term_of(record);
    term_used = std::max(term_used, of_record);
    raise_term(of_record, "the log holds a record of term " + std::to_string(of_record.value));
    rest = rest.subspan(record.raw.size());
  }
  return true;
}

void Replica::Impl::written_raw(const journal::Batch& batch, WallTime wall) {
  if (!apply(batch, wall)) return;
  committed = batch.end.lsn;
  if (committed >= committed_heard) behind_since = now;
  acknowledge();
  if (promotion && log_is_whole()) finish_promotion(epoch.next(), wall);
  try_follow();
}

void Replica::Impl::absorb_leader_outputs() {
  if (!leader_outputs.empty()) held.add(leader_outputs, committed, released, {region, global});
}

std::size_t Replica::bytes_under_way() const {
  const Impl& me = *impl_;
  std::size_t bytes = me.out_bytes;
  if (me.log) bytes += me.log->gathering().bytes.size();
  if (me.follower) bytes += me.follower->pending_bytes();
  return bytes;
}

std::optional<Replica::Checkpoint> Replica::checkpoint() {
  auto made = impl_->state.checkpoint();
  if (!made) return std::nullopt;
  return Checkpoint{impl_->state.applied(), impl_->state.oldest_needed(), impl_->state.hash(),
                    std::move(made->root), std::move(made->sealed)};
}

bool Replica::may_store(const Checkpoint& made, Instant now, WallTime wall) {
  Impl& me = *impl_;
  using group::Bug, group::resurrected;
  if (made.lsn > me.durable.lsn) return false;
  if (!me.member) return true;
  if (made.lsn > me.committed && !resurrected(Bug::checkpoint_of_uncommitted)) return false;
  if (me.member->block_covers(made.lsn) || resurrected(Bug::checkpoint_without_epochs)) return true;
  cover(made.lsn, now, wall);
  return false;
}

std::size_t Replica::write_ahead(std::size_t bytes_max) {
  return impl_->state.write_ahead(bytes_max);
}

Lsn Replica::removable_before(Lsn checkpoint) const {
  const Impl& me = *impl_;
  // The record at a position stays: its hash proves to the other side that the logs agree there.
  Lsn keep = std::min(checkpoint, me.state.oldest_needed());
  if (me.member) {
    if (group::resurrected(group::Bug::remove_what_peers_need)) return keep;
    const auto& ends = me.member->known_ends();
    for (const std::string& other : me.options.group->others) {
      const auto end = ends.find(other);
      keep = std::min(keep, end == ends.end() ? Lsn{} : end->second);
    }
    return keep;
  }
  if (me.lag && me.standby_known) return std::min(keep, me.lag->there());
  // A standby's records are all at the live it follows. Otherwise the other region may be behind this log: a
  // live that has just restarted does not know.
  return me.accepted ? keep : Lsn{};
}

std::uint64_t Replica::appended_bytes() const {
  return impl_->log_bytes;
}

Replica::Cleaned Replica::clean(const CleanInput& input, Instant now, WallTime wall) {
  constexpr std::uint64_t kRecordOverhead = 128;  // of a small message
  constexpr std::size_t kMessagesMax = 256;       // each may cost a read of its own
  Impl& me = *impl_;
  Cleaned cleaned;
  me.clean_segment_bytes = input.segment_bytes;
  if (me.fatal || me.role != Role::live || !me.leader || me.switching) return cleaned;
  LogCleaner::Input facts;
  facts.now = now;
  facts.segment_bytes = input.segment_bytes;
  facts.live_bytes = me.state.payload_bytes_total() + me.state.messages_total() * kRecordOverhead;
  facts.publishes_held = input.publishes_held;
  facts.disk_full = input.disk_full;
  // The oldest message is looked for only when the whole log is long: that takes a look at every queue.
  if (!me.cleaner.cleaning() && me.journal.record_bytes_total() <= LogCleaner::limit(facts)) return cleaned;
  const std::uint64_t under_way = bytes_under_way();
  const std::uint64_t room = me.journal.room();
  facts.room = room > under_way ? room - under_way : 0;
  facts.reserve_bytes = input.reserve_bytes;
  facts.oldest_needed = me.state.oldest_needed();
  const LogCleaner::Plan plan = me.cleaner.plan(facts);
  cleaned.began = plan.began;
  cleaned.ended = plan.ended;
  if (plan.bytes == 0) return cleaned;
  auto old = me.state.collect_older_than(plan.before, kMessagesMax);
  std::sort(old.begin(), old.end(), [](const auto& a, const auto& b) { return a.lsn < b.lsn; });
  me.absorb_leader_outputs();
  for (const broker::State::Place& place : old) {
    if (cleaned.bytes >= plan.bytes) break;
    me.clean_buffer.clear();
    const auto read = me.journal.read(place.lsn, place.lsn, 0, me.clean_buffer);
    journal::Record record;
    if (!read) {
      cleaned.problem = read.error().what;
      if (journal::is_unreadable(read.error())) cleaned.unreadable = place.lsn;
      continue;
    }
    if (journal::decode_record(me.clean_buffer, record) != journal::DecodeStatus::ok) {
      cleaned.problem = "LSN " + std::to_string(place.lsn.value) + " does not hold a whole record";
      continue;
    }
    const std::size_t bytes = record.raw.size();
    if (me.leader->move_message(record, place.sequence, wall) == Lsn{}) continue;
    ++cleaned.messages;
    cleaned.bytes += bytes;
  }
  me.cleaner.moved(cleaned.bytes);
  return cleaned;
}

// --- time, outputs, figures
// ----------------------------------------------------------------------------------

void Replica::tick(Instant now, WallTime wall) {
  Impl& me = *impl_;
  me.now = now;
  if (me.fatal) return;
  if (me.role == Role::live && !me.switching) {
    me.absorb_leader_outputs();
    me.leader->tick(now, wall, me.leader_outputs);
    me.last_leader_tick = now;
    me.absorb_leader_outputs();
  }
  me.wall_now = wall;
  if (me.member) {
    me.member->tick(now, wall);
    me.absorb_member(wall);
    return;
  }
  me.tick_peers();
  me.try_follow();
  me.pump();
}

Instant Replica::next_deadline() const {
  const Impl& me = *impl_;
  Instant next = me.now + seconds(1);
  if (me.member) next = std::min(next, me.member->next_deadline());
  for (const auto& [id, peer] : me.peers) {
    next = std::min({next, peer.last_sent + me.options.heartbeat, peer.last_heard + me.options.silence_max});
  }
  if (me.role == Role::live && !me.switching) {
    next = std::min(next, me.last_leader_tick + seconds(1));
    if (const auto deadline = me.leader->next_deadline()) next = std::min(next, *deadline);
  }
  return next;
}

void Replica::outputs(std::vector<Output>& into) {
  Impl& me = *impl_;
  me.absorb_leader_outputs();
  into.insert(into.end(), std::make_move_iterator(me.released.begin()),
              std::make_move_iterator(me.released.end()));
  me.released.clear();
}

ReplicationStatus Replica::status(Instant now) const {
  const Impl& me = *impl_;
  ReplicationStatus status;
  status.refusals = me.refusals;
  status.last_problem = me.last_problem;
  const PeerId with = me.role == Role::live ? me.ship_to : me.source;
  if (const auto peer = me.peers.find(with); peer != me.peers.end()) {
    status.connected = me.role == Role::live || me.accepted;
    status.peer_region = peer->second.region;
    status.peer_node = peer->second.node;
  }
  if (me.lag) {
    status.committed = me.committed;
    status.known = me.standby_known;
    if (me.standby_known) {
      status.peer_durable = me.lag->there();
      status.lag_records = me.lag->records();
      status.lag_bytes = me.lag->bytes();
      status.lag_seconds = me.lag->oldest_age(now).seconds();
    } else {
      status.lag_records = me.committed.value;
      status.lag_bytes = me.log_bytes;
      status.lag_seconds = (now - me.leading_since).seconds();
    }
    return status;
  }
  status.known = me.accepted;
  status.committed = std::max(me.committed_heard, me.committed);
  status.peer_durable = me.committed;
  status.lag_records = status.committed.value - me.committed.value;
  if (status.lag_records != 0) status.lag_seconds = (now - me.behind_since).seconds();
  return status;
}

std::size_t Replica::confirms_waiting() const {
  return impl_->held.held_far();
}

std::optional<std::string> Replica::publish_refusal() const {
  const std::uint64_t limit = impl_->options.rpo_records_hard;
  if (limit == 0) return std::nullopt;
  const auto lagging = status(impl_->now).lag_records;
  if (lagging < limit) return std::nullopt;
  return std::to_string(lagging) + " records are not yet safe in the other region; the limit is " +
         std::to_string(limit);
}

double Replica::publish_held_back() const {
  const std::uint64_t soft = impl_->options.rpo_records_soft;
  if (soft == 0 || !impl_->lag) return 0;
  const std::uint64_t lagging = impl_->standby_known ? impl_->lag->records() : impl_->committed.value;
  if (lagging < soft) return 0;
  const std::uint64_t hard =
      impl_->options.rpo_records_hard != 0 ? impl_->options.rpo_records_hard : soft * 2;
  // In steps: every step is told to every publisher.
  constexpr std::uint64_t kSteps = 16;
  const std::uint64_t step = 1 + (lagging - soft) * kSteps / (hard - soft + 1);
  return static_cast<double>(std::min(step, kSteps)) / static_cast<double>(kSteps);
}

}  // namespace mainstay::replica
