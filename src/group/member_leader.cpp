#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "group/member_impl.h"

namespace mainstay::group {

/// The register gave us `record`, and our promise for it is durable.
void Member::Impl::lead(const GroupRecord& record) {
  MS_ASSERT(bug(Bug::no_promise) || bug(Bug::resume_epoch) || promised_stored >= record.epoch,
            "an epoch is promised durably before it is led");
  stop_following();
  follower.reset();
  role = Role::leader;
  force = record;
  appended = durable;
  led_from = durable.lsn;
  matches.clear();
  name_matches.clear();
  answered.clear();
  own_sync_waits.reset();
  joining.clear();
  dropped.clear();
  to_remove.clear();
  to_accept.clear();
  to_drop.clear();
  promotion.reset();
  waits_for_operator = false;
  led_since = proof = now;
  proof_until = now + times.lease;
  for (auto& [id, peer] : peers) {
    peer.shipper.reset();
    peer.follow_waits.reset();
    peer.front_since.reset();
  }
  tell_unlisted();
  put(Lead{record.epoch, false});
  hello_to_all();
  commit();
}

/// A copy is not given up because two files differ: whoever led before listed it.
void Member::Impl::tell_unlisted() {
  if (!options.listed || options.disk_is_shared) return;
  for (const MemberId& member : force.isr)
    if (member != self() && !options.listed->contains(member.node))
      alarm("node " + member.node +
            " is in sync and not listed under [[group.node]] of this node, which leads now: list it there "
            "(the files of all nodes name the same nodes), then `mainstay group reload`; or take it out with "
            "`mainstay group remove`. It is kept in sync, and not taken in again once it was away");
}

/// The same leadership under the next epoch: another in-sync set, or a promise that a follower has given.
void Member::Impl::go_on_under(const GroupRecord& record) {
  note_dropped(record);
  for (const MemberId& member : record.isr) joining.erase(member);
  force = record;
  // An acknowledgement counts in the epoch in which it was given only. Whoever follows gives it anew.
  matches.clear();
  name_matches.clear();
  for (const MemberId& member : record.isr) answered[member] = now;
  // Who was not accepted yet asks again in the new epoch: to answer both would ship the same records twice.
  for (auto& [id, peer] : peers) peer.follow_waits.reset();
  put(Lead{record.epoch, true});
  hello_to_all();
  drop_strangers();
  commit();
}

void Member::Impl::note_dropped(const GroupRecord& record) {
  constexpr Duration kForgottenAfter = seconds(60), kMost = seconds(10);
  for (const MemberId& member : force.isr) {
    if (record.isr.contains(member)) continue;
    const auto [it, first] = dropped.try_emplace(member.node, Dropped{now, options.rejoin_after});
    if (first) continue;
    it->second.rejoin_after = now - it->second.at > kForgottenAfter
                                  ? options.rejoin_after
                                  : std::min(Duration{3 * it->second.rejoin_after.ns}, kMost);
    it->second.at = now;
  }
}

Duration Member::Impl::rejoin_after(const std::string& node) const {
  const auto found = dropped.find(node);
  return found == dropped.end() ? options.rejoin_after : found->second.rejoin_after;
}

/// Who is no longer of the group, and of no set in force, gets nothing more.
void Member::Impl::drop_strangers() {
  for (auto& [id, peer] : peers) {
    peer.stranger_told = false;
    if (!peer.member || !peer.shipper || force.isr.contains(*peer.member)) continue;
    const std::string why = stranger(peer.member->node);
    if (why.empty()) continue;
    joining.erase(*peer.member);
    peer.shipper.reset();
    peer.front_since.reset();
    peer.stranger_told = true;
    send(id, Refuse{RefusalCode::foreign, why});
  }
}

template <class Each>
void Member::Impl::each_needed(const Each& each) const {
  const auto all = [&](const std::set<MemberId>& members) {
    for (const MemberId& member : members)
      if (member != self()) each(member);
  };
  if (bug(Bug::ack_before_shrink_is_known) && change && change->asked && change->purpose == Purpose::shrink)
    return all(change->next.isr);
  all(force.isr);
  // The union rule: whoever may be in the set by now counts as being in it.
  if (bug(Bug::join_without_union)) return;
  all(joining);
  if (change && (change->asked || change->may_land)) all(change->next.isr);
  if (won) all(won->isr);
}

std::set<MemberId> Member::Impl::need() const {
  std::set<MemberId> needed;
  each_needed([&](const MemberId& member) { needed.insert(member); });
  return needed;
}

Lsn Member::Impl::match(const MemberId& member) const {
  if (bug(Bug::match_by_name)) {
    const auto found = name_matches.find(member.node);
    return found == name_matches.end() ? Lsn{} : found->second;
  }
  const auto found = matches.find(member);
  return found == matches.end() ? Lsn{} : found->second;
}

/// R1.
void Member::Impl::commit() {
  Lsn end = durable.lsn;
  each_needed([&](const MemberId& member) { end = std::min(end, match(member)); });
  if (end <= committed) return;
  committed = end;
  put(Committed{committed});
}

Instant Member::Impl::last_answer(const MemberId& member) const {
  const auto found = answered.find(member);
  if (found != answered.end()) return found->second;
  // Nothing heard since before this leadership: then it was silence that began it.
  const auto ever = heard.find(member.node);
  return ever == heard.end() ? led_since : std::min(ever->second, led_since);
}

Duration Member::Impl::unanswered(const MemberId& member) const {
  return now - last_answer(member);
}

bool Member::Impl::silent(const MemberId& member) const {
  return unanswered(member) > times.drop_after;
}

/// R3 (decision 0024): what counts is the time in which this node's own disk answers. While that stands still
/// hardly anything could be acknowledged without the others either; and where they are on the same disk, they
/// cannot acknowledge what this node's disk finished just before, nor speak, where they sync on their loop.
/// What is only slow counts: a quarter of the time to be dropped in of each sync.
void Member::Impl::pass_over_own_stall() {
  if (!own_sync_waits) return;
  const Instant from = std::max(*own_sync_waits + Duration{times.drop_after.ns / 4}, own_stall_counted);
  if (now <= from) return;
  own_stall_counted = now;
  each_needed([&](const MemberId& member) { answered.try_emplace(member, last_answer(member)); });
  for (auto& [member, when] : answered) when = std::min(when + (now - from), now);
}

/// For the register's record: whether it is the node, its disk or the way to it can be told from this.
std::string Member::Impl::silence(const MemberId& member) const {
  const auto ms = [](Duration d) { return std::to_string(d.milliseconds()) + " ms"; };
  const auto lsn = [](Lsn at) { return "LSN " + std::to_string(at.value); };
  const auto last = heard.find(member.node);
  return "no acknowledgement for " + ms(unanswered(member)) + "; " +
         (last == heard.end() ? "not heard of" : "heard of " + ms(now - last->second) + " ago") + ", " +
         (match(member) == Lsn{} ? "has acknowledged nothing to this leader"
                                 : "has acknowledged " + lsn(match(member))) +
         ", this node's disk has " + lsn(durable.lsn) + " of " + std::to_string(appended.lsn.value);
}

/// Neither the record that this leader acts on nor any that may be stored names another node, and only who is
/// named may take over (R4). So there is nobody to be quiet for; R7 says for how long without the register.
bool Member::Impl::nobody_else_may_lead() const {
  if (role != Role::leader || register_refused || options.disk_is_shared) return false;
  bool nobody = true;
  each_needed([&](const MemberId&) { nobody = false; });
  return nobody;
}

/// Why a node is not taken in; empty: it is.
std::string Member::Impl::stranger(const std::string& node) const {
  if (force.removed.contains(node) || to_remove.contains(node))
    return "node " + node +
           " was removed from the group: `mainstay group reload` on the node that leads, with a "
           "file that lists it, takes it in again";
  const auto is_kept = [&] {
    return !to_drop.contains(node) && std::any_of(force.isr.begin(), force.isr.end(),
                                                  [&](const MemberId& each) { return each.node == node; });
  };
  if (options.listed && !options.listed->contains(node) && !is_kept())
    return "node " + node + " is not listed under [[group.node]] of leader " + self().node +
           ": list it there, then `mainstay group reload`";
  return {};
}

void Member::Impl::on_follow(PeerId from, Peer& peer, journal::LogPosition position) {
  // What it asked for on another line before, it waits for no more.
  for (auto& [id, each] : peers)
    if (id != from && each.member == peer.member) each.follow_waits.reset();
  if (const std::string why = stranger(peer.member->node); !why.empty()) {
    // After a no it asks again. Told once: the second time it waits, since it may become one of the group
    // while the line lasts.
    peer.follow_waits.reset();
    if (std::exchange(peer.stranger_told, true)) {
      peer.follow_waits = position;
    } else {
      send(from, Refuse{RefusalCode::foreign, why});
    }
    return;
  }
  if (position.lsn > durable.lsn) {
    // Shipped by this leadership before a line broke, and our own disk is slower: soon.
    if (position.lsn > appended.lsn) {
      send(from, Refuse{RefusalCode::impossible, "the follower's log ends at LSN " +
                                                     std::to_string(position.lsn.value) +
                                                     ", behind everything that this leadership has ordered"});
      close(from, "its log ends behind ours");
      return;
    }
    peer.follow_waits = position;
    return;
  }
  if (force.isr.contains(*peer.member) && position.lsn < committed) {
    // What is committed was on every disk in sync. It is dropped as silent (R3), catches up, and is added.
    const std::string why = "the disk of node " + peer.member->node + " ends at LSN " +
                            std::to_string(position.lsn.value) + " and had acknowledged LSN " +
                            std::to_string(committed.value) +
                            ": it was put back to an older copy of itself. Never do that with a disk that is "
                            "in sync: it may be the only one left";
    matches.erase(*peer.member);
    alarm(why);
    send(from, Refuse{RefusalCode::impossible, why});
    close(from, why);
    return;
  }
  peer.follow_waits.reset();
  peer.front_since.reset();
  peer.shipper.emplace(journal, replication::ShipLimits{options.ship_bytes_max, options.ship_ahead_bytes_max,
                                                        options.ship_packets_read_ahead});
  auto fits = peer.shipper->follow(position, durable.lsn);
  const auto is = [&](replication::RefusalCode code) { return !fits && fits.error().code == code; };
  if (is(replication::RefusalCode::impossible)) fits = peer.shipper->follow(position, durable.lsn);
  if (!fits) {
    const bool damaged = is(replication::RefusalCode::impossible);
    const bool removed = is(replication::RefusalCode::removed);
    peer.shipper.reset();
    if (damaged) unreadable(position.lsn, fits.error().what);
    if (damaged || removed) return needs_copy(from, peer, fits.error().what);
    alarm("node " + peer.member->node + " cannot follow: " + fits.error().what);
    send(from, Refuse{RefusalCode::diverged, fits.error().what});
    close(from, fits.error().what);
    return;
  }
  // It follows on this line now.
  for (auto& [id, each] : peers) {
    if (id == from || each.member != peer.member) continue;
    each.shipper.reset();
    each.front_since.reset();
  }
  // What this disk acknowledged before says nothing about what it holds now.
  matches.erase(*peer.member);
  if (bug(Bug::add_before_catch_up)) peer.front_since = Instant{};
  send(from, Accept{position});
  pump(from, peer);
}

/// The line stays: it is asked for a copy over it.
void Member::Impl::needs_copy(PeerId id, Peer& peer, const std::string& why) {
  last_problem = "node " + peer.member->node + " needs a full copy: " + why;
  peer.shipper.reset();
  peer.front_since.reset();
  send(id, Refuse{RefusalCode::removed, why});
  if (peer.version < kPacketVersion) close(id, why);  // it knows of no copies, and would ask again and again
}

void Member::Impl::on_ack(PeerId from, Peer& peer, Epoch epoch, journal::LogPosition position) {
  if (epoch != force.epoch || !peer.shipper) return;
  if (const auto fits = peer.shipper->acknowledged(position); !fits) {
    alarm("node " + peer.member->node + " acknowledged what it was not sent: " + fits.error().what);
    close(from, fits.error().what);
    return;
  }
  Lsn& matched = matches[*peer.member];
  if (position.lsn > matched) answered[*peer.member] = now;
  matched = std::max(matched, position.lsn);
  ends[peer.member->node] = matched;
  Lsn& by_name = name_matches[peer.member->node];
  by_name = std::max(by_name, position.lsn);
  commit();
  pump(from, peer);
}

/// Sends a follower that is behind what is durable here; the batches of the moment come from appended().
void Member::Impl::pump(PeerId id, Peer& peer) {
  if (!peer.shipper || !peer.shipper->following()) return;
  const auto read_on = [&] {
    if (auto part = peer.shipper->wanted(durable.lsn))
      put(ReadLog{id, std::make_shared<replication::ShipAhead>(std::move(*part))});
  };
  read_on();  // meanwhile the next ones are read
  while (true) {
    auto more = peer.shipper->next(durable.lsn, ship_buffer);
    if (!more && more.error().code != journal::JournalErrorCode::not_found)
      more = peer.shipper->next(durable.lsn, ship_buffer);  // a read may fail once
    if (!more) {
      // An empty log fits any, and what comes behind a position may go while it is being sent. Or it is
      // damaged: what the state still needs may be whole, and a copy is checked from end to end.
      if (more.error().code != journal::JournalErrorCode::not_found)
        unreadable(peer.shipper->sent().next(), more.error().what);
      return needs_copy(id, peer, more.error().what);
    }
    if (!*more) break;
    send(id, Records{committed, ship_buffer});
  }
  read_on();
  if (peer.shipper->sent() < durable.lsn) {
    peer.front_since.reset();
  } else if (!peer.front_since) {
    peer.front_since = now;
  }
}

/// What a leader does whenever something has happened.
void Member::Impl::lead_on() {
  pass_over_own_stall();
  std::vector<PeerId> waiting;
  for (const auto& [id, peer] : peers)
    if (peer.follow_waits && peer.follow_waits->lsn <= durable.lsn && stranger(peer.member->node).empty())
      waiting.push_back(id);
  for (const PeerId id : waiting) {
    MS_ASSERT(peers.at(id).follow_waits, "a node waits on one line");
    on_follow(id, peers.at(id), *peers.at(id).follow_waits);
  }
  for (auto& [id, peer] : peers) {
    // Who says nothing keeps up with nothing.
    if (peer.member && peer.front_since && now - heard[peer.member->node] > times.drop_after)
      peer.front_since = now;
    // Nothing waits for who has all that this node's own disk has: on a disk that both share, or two that
    // stand still at once, the slower of two syncs is no sign of a node that is away.
    if (peer.member && match(*peer.member) >= durable.lsn) {
      const auto last = heard.find(peer.member->node);
      if (last != heard.end() && matches.count(*peer.member) != 0) {
        Instant& when = answered[*peer.member];
        when = std::max(when, last->second);
      }
    }
  }
  // A node that was to be added and left again is not waited for, unless the register may name it already.
  for (auto member = joining.begin(); member != joining.end();) {
    const bool here = std::any_of(peers.begin(), peers.end(), [&](const auto& each) {
      return each.second.member == *member && each.second.shipper && each.second.shipper->following();
    });
    const bool asked = change && (change->asked || change->may_land) && change->next.isr.contains(*member);
    if ((here && !silent(*member)) || asked || (won && won->isr.contains(*member))) {
      ++member;
    } else {
      if (change && change->next.isr.contains(*member)) change.reset();
      member = joining.erase(member);
    }
  }
  commit();
  if (handing_over) {
    if (handing_over->told && now - *handing_over->told > times.drop_after) {
      last_problem = "node " + handing_over->to + " did not take over; this node leads on";
      handing_over.reset();
    } else if (!handing_over->told && now - handing_over->since > times.drop_after) {
      last_problem = "node " + handing_over->to + " did not catch up; this node leads on";
      handing_over.reset();
    } else if (!handing_over->told && committed == appended.lsn) {
      for (auto& [id, peer] : peers) {
        if (!peer.member || peer.member->node != handing_over->to || match(*peer.member) != appended.lsn)
          continue;
        if (!peer.shipper || !peer.shipper->following()) continue;  // the line on which it follows
        if (!force.isr.contains(*peer.member)) continue;
        handing_over->told = now;
        send(id, TakeOver{});
        break;
      }
    }
  }
  wish_change();
}

/// What an operator wishes, the register's record does not have yet. @return a change was begun
bool Member::Impl::wish_members() {
  const auto unlisted_here = [&](const MemberId& member) {
    return member != self() && to_drop.contains(member.node);
  };
  if (to_remove.empty() && to_accept.empty() &&
      std::none_of(force.isr.begin(), force.isr.end(), unlisted_here))
    return false;
  GroupRecord next = force;
  std::string unlisted_nodes, taken_out, taken_in;
  const auto name = [](std::string& to, const std::string& node) { to += (to.empty() ? "" : ", ") + node; };
  std::erase_if(next.isr, [&](const MemberId& member) {
    if (member == self() || (!unlisted_here(member) && !to_remove.contains(member.node))) return false;
    name(unlisted_nodes, member.node);
    return true;
  });
  for (const std::string& node : to_remove)
    if (next.removed.insert(node).second) name(taken_out, node);
  for (const std::string& node : to_accept)
    if (next.removed.erase(node) != 0) name(taken_in, node);
  if (unlisted_nodes.empty() && taken_out.empty() && taken_in.empty()) {
    to_remove.clear();
    to_accept.clear();
    return false;
  }
  if (!taken_out.empty()) {
    next.reason = "removed by an operator: " + taken_out;
  } else if (!unlisted_nodes.empty()) {
    next.reason = "no longer listed: " + unlisted_nodes;
  } else {
    next.reason = "listed again: " + taken_in;
  }
  begin_change(Purpose::shrink, *known, next);
  return true;
}

/// At most one change at a time, the most urgent first.
void Member::Impl::wish_change() {
  if (change || won || !known || known->epoch() != force.epoch) return;
  // R3: continue without who is silent.
  const auto falls_silent = [&](const MemberId& member) { return member != self() && silent(member); };
  if (std::any_of(force.isr.begin(), force.isr.end(), falls_silent)) {
    GroupRecord next = force;
    std::string was_dropped, how;
    std::erase_if(next.isr, [&](const MemberId& member) {
      if (!falls_silent(member)) return false;
      if (was_dropped.empty()) how = silence(member);
      was_dropped += (was_dropped.empty() ? "" : ", ") + member.node;
      return true;
    });
    next.reason = "continue without " + was_dropped + ": " + how;
    begin_change(Purpose::shrink, *known, next);
    return;
  }
  if (wish_members()) return;
  for (auto& [id, peer] : peers) {
    if (!peer.member) continue;
    const std::string& name = peer.member->node;
    // Somebody has promised more than our epoch, for a leadership that came to nothing, and refuses us. A
    // node asks for the epoch after the register's, so a step or a few do. What is far above was led in: to
    // go there one by one would never end (coordination::kEpochsPassedOver). Either the register has gone
    // there since we asked it, or it was put back.
    constexpr std::uint64_t kStepsMost = 1'000;
    if (peer.epoch.value > force.epoch.value + kStepsMost) {
      if (register_heard > peer.epoch_at)
        alarm("node " + name + " has promised epoch " + std::to_string(peer.epoch.value) +
              ", far above the register's: the register was put back to an older state than that node has "
              "seen. Run `mainstay group repair-register` with the disks of all nodes");
    } else if (peer.epoch > force.epoch && !(handing_over && handing_over->told)) {
      GroupRecord next = force;
      next.reason = "node " + name + " had promised epoch " + std::to_string(peer.epoch.value);
      begin_change(Purpose::raise, *known, next);
      return;
    }
    // R6: add who keeps up. From now on commits wait for it; all that anybody ever acknowledged without it
    // must be on its disk before it is asked to be in the set.
    const bool member_already = bug(Bug::member_by_name)
                                    ? std::any_of(force.isr.begin(), force.isr.end(),
                                                  [&](const MemberId& each) { return each.node == name; })
                                    : force.isr.contains(*peer.member);
    if (member_already || !peer.shipper || !peer.front_since || !stranger(name).empty()) continue;
    if (now - *peer.front_since < rejoin_after(name) && !bug(Bug::add_before_catch_up)) continue;
    if (joining.insert(*peer.member).second) answered[*peer.member] = now;
    const Lsn acknowledged_at_most =
        bug(Bug::add_by_remembered_commit) ? committed : std::max(committed, led_from);
    if ((matches.count(*peer.member) == 0 || match(*peer.member) < acknowledged_at_most) &&
        !bug(Bug::add_before_catch_up))
      continue;
    GroupRecord next = force;
    // The same node with an older disk is no member any more.
    std::erase_if(next.isr, [&](const MemberId& each) { return each.node == name; });
    next.isr.insert(*peer.member);
    next.reason = "node " + name + " has caught up";
    begin_change(Purpose::add, *known, next);
    return;
  }
}

}  // namespace mainstay::group
