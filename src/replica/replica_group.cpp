// A replica that is one of a group: what its member says, carried out.
#include <algorithm>
#include <type_traits>

#include "base/assert.h"
#include "group/bugs.h"
#include "replica/leadership.h"
#include "replica/replica_impl.h"

namespace mainstay::replica {

/// Has the member hear something, and carries out what it says.
template <class Tell>
auto Replica::Impl::tell_member(Instant at, WallTime wall, Tell&& tell) {
  now = at, wall_now = wall;
  if constexpr (std::is_void_v<decltype(tell(*member))>) {
    tell(*member);
    absorb_member(wall);
  } else {
    auto answer = tell(*member);
    absorb_member(wall);
    return answer;
  }
}

const group::Member* Replica::member() const {
  return impl_->member.get();
}

void Replica::group_connected(PeerId peer, const std::string& dialled, Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.connected(peer, dialled, now, wall); });
}
void Replica::group_disconnected(PeerId peer, Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.disconnected(peer, now, wall); });
}
void Replica::group_packet(PeerId from, BytesView packet, Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.packet(from, packet, now, wall); });
}
void Replica::log_read(PeerId to, replication::ShipAhead part, Instant now, WallTime wall) {
  impl_->tell_member(now, wall,
                     [&](group::Member& member) { member.log_read(to, std::move(part), now, wall); });
}
void Replica::block_stored(Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.block_stored(now, wall); });
}
void Replica::register_read(group::RegisterOutcome outcome, const coordination::GroupState& state,
                            Instant now, WallTime wall) {
  impl_->tell_member(now, wall,
                     [&](group::Member& member) { member.register_read(outcome, state, now, wall); });
}
void Replica::register_changed(group::RegisterOutcome outcome, const coordination::GroupState& state,
                               Instant now, WallTime wall) {
  impl_->tell_member(now, wall,
                     [&](group::Member& member) { member.register_changed(outcome, state, now, wall); });
}
void Replica::disk_stalled(bool stalled, Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.disk_stalled(stalled, now, wall); });
}
void Replica::cover(Lsn lsn, Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.cover(lsn, now, wall); });
}
void Replica::list_nodes(const std::vector<std::string>& others, Instant now, WallTime wall) {
  impl_->options.group->others = others;
  impl_->tell_member(now, wall, [&](group::Member& member) {
    member.list({others.begin(), others.end()}, now, wall);
  });
}
std::optional<std::string> Replica::remove_node(const std::string& node, Instant now, WallTime wall) {
  return impl_->tell_member(now, wall, [&](group::Member& member) { return member.remove(node, now, wall); });
}
void Replica::send_copy(PeerId to, const group::Message& message, Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.send_copy(to, message, now, wall); });
}
void Replica::end_for_copy(Instant now, WallTime wall) {
  impl_->tell_member(now, wall, [&](group::Member& member) { member.end_for_copy(now, wall); });
}
void Replica::disk_is_ours(Instant when) {
  impl_->member->disk_is_ours(when);
}
std::optional<std::string> Replica::promote_node(const std::string& by, Duration most, Instant now,
                                                 WallTime wall) {
  return impl_->tell_member(now, wall,
                            [&](group::Member& member) { return member.promote(by, most, now, wall); });
}
std::optional<std::string> Replica::hand_over(const std::string& to, Instant now, WallTime wall) {
  return impl_->tell_member(now, wall,
                            [&](group::Member& member) { return member.hand_over(to, now, wall); });
}

void Replica::apply(const journal::Batch& batch, WallTime wall) {
  Impl& me = *impl_;
  MS_ASSERT(me.to_apply && batch.end == me.durable, "the batch written last is applied once");
  me.to_apply = false;
  if (!me.fatal) static_cast<void>(me.apply(batch, wall));
}

void Replica::Impl::absorb_member(WallTime wall) {
  if (fatal) return;
  member_outputs.clear();
  member->outputs(member_outputs);
  // None of these calls makes the member say more.
  for (group::Output& output : member_outputs) {
    if (const auto* done = std::get_if<group::Committed>(&output)) {
      region = member->second_copy();
      if (leader) {
        commit(done->lsn, wall);
      } else {
        committed = committed_heard = done->lsn;
      }
    } else if (const auto* lead = std::get_if<group::Lead>(&output)) {
      lead_group(*lead, wall);
    } else if (const auto* alarm = std::get_if<group::Alarm>(&output)) {
      last_problem = alarm->why;
      released.emplace_back(Alarm{alarm->why});
    } else if (auto* restart = std::get_if<group::Restart>(&output)) {
      end_in_group();
      released.emplace_back(std::move(*restart));
    } else {
      std::visit(
          [&](auto& other) {
            using T = std::decay_t<decltype(other)>;
            if constexpr (!std::is_same_v<T, group::Committed> && !std::is_same_v<T, group::Lead> &&
                          !std::is_same_v<T, group::Alarm> && !std::is_same_v<T, group::Restart>) {
              released.emplace_back(std::move(other));
            }
          },
          output);
    }
  }
  // A copy may come back behind what its leader committed alone meanwhile.
  if (leader && member->role() == group::Role::leader && member->second_copy() > region) {
    region = member->second_copy();
    reach_far();
  }
}

void Replica::Impl::lead_group(const group::Lead& lead, WallTime wall) {
  const auto known = member->status().known;
  const std::string reason = known ? known->reason : "";
  if (lead.continues) {
    MS_ASSERT(leader, "a leadership goes on");
    epoch = lead.epoch;
    log->start_epoch(epoch);
    leader->record_other(
        journal::RecordType::epoch_started,
        encode(EpochStarted{term, options.region, options.node, wall, options.node, reason}));
    return;
  }
  MS_ASSERT(!to_apply, "what was written is applied before this node leads");
  Promotion next;
  next.term = std::max({term, term_used, RegionTerm{1}});
  next.by = "node " + options.node;
  next.reason = reason;
  if (next.term > term) {
    term = next.term;
    released.emplace_back(StoreTerm{term});
  }
  term_used = term;
  promotion = std::move(next);
  finish_promotion(lead.epoch, wall);
  if (group::resurrected(group::Bug::deliver_before_first_commit)) become_live(wall);
}

/// The member has said Restart: operations that were not answered have an unknown outcome.
void Replica::Impl::end_in_group() {
  absorb_leader_outputs();
  held.drop();
  shipper.reset();
  lag.reset();
  own_hashes.clear();
  promotion.reset();
  leader.reset();
  log.reset();
  unwritten_decisions = true;
  role = Role::sealed;
}

}  // namespace mainstay::replica
