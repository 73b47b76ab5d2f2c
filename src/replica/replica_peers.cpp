#include <algorithm>

#include "base/assert.h"
#include "replica/replica_impl.h"

namespace mainstay::replica {

using namespace replication;

void Replica::connected(PeerId peer, bool, Instant now, WallTime) {
  Impl& me = *impl_;
  me.now = now;
  MS_ASSERT(peer != 0 && !me.peers.contains(peer), "a connection has an id of its own, and 0 is none");
  me.peers[peer].last_heard = now;
  me.send(peer, Hello{me.wire_role(), me.durable});
}

void Replica::packet(PeerId from, BytesView packet, Instant now, WallTime wall) {
  Impl& me = *impl_;
  me.now = now;
  if (me.fatal || !me.peers.contains(from)) return;
  me.receive(from, packet, wall);
}

void Replica::disconnected(PeerId peer, Instant now, WallTime) {
  Impl& me = *impl_;
  me.now = now;
  if (!me.peers.contains(peer)) return;
  me.forget(peer);
  me.try_follow();
}

NodeRole Replica::Impl::wire_role() const {
  return role == Role::live ? NodeRole::live : role == Role::sealed ? NodeRole::sealed : NodeRole::standby;
}

void Replica::Impl::send(PeerId to, const Message& message) {
  SendPacket out{to, {}};
  encode(Sender{options.cluster, options.region, options.node, term, epoch}, message, out.packet);
  released.emplace_back(std::move(out));
  peers.at(to).last_sent = now;
}

void Replica::Impl::introduce_to_all() {
  for (const auto& [id, peer] : peers) send(id, Hello{wire_role(), durable});
}

void Replica::Impl::close(PeerId peer, const std::string& why) {
  last_problem = why;
  released.emplace_back(ClosePeer{peer, why});
  forget(peer);
}

void Replica::Impl::refuse(PeerId peer, Refuse refusal) {
  ++refusals;
  send(peer, refusal);
  close(peer, refusal.what);
}

void Replica::Impl::forget(PeerId peer) {
  peers.erase(peer);
  if (source == peer) {
    source = 0;
    accepted = false;
  }
  if (ship_to == peer) {
    ship_to = 0;
    if (shipper) shipper->stop();
  }
}

void Replica::Impl::receive(PeerId from, BytesView bytes, WallTime) {
  const auto packet = decode(bytes);
  if (!packet) return close(from, packet.error().what);
  const Sender& sender = packet->sender;
  Peer& peer = peers.at(from);
  peer.last_heard = now;
  peer.region = sender.region;
  peer.node = sender.node;
  if (sender.cluster != options.cluster || sender.region == options.region) {
    return refuse(
        from, {RefusalCode::foreign,
               {},
               {},
               sender.region == options.region && sender.cluster == options.cluster
                   ? "both nodes say they are in region " + options.region
                   : "cluster " + sender.cluster.text() + " is not ours (" + options.cluster.text() + ")"});
  }
  if (sender.term > term) {
    raise_term(sender.term,
               "region " + sender.region + " speaks of term " + std::to_string(sender.term.value));
  }
  peer.term = sender.term;
  // A sealed region passes on the term of its successor, who must still be able to take it. What a live says
  // is taken.
  const auto* introduced = std::get_if<Hello>(&packet->message);
  const auto* beat = std::get_if<Heartbeat>(&packet->message);
  if ((introduced != nullptr && introduced->role == NodeRole::live) ||
      (beat != nullptr && beat->role == NodeRole::live)) {
    term_used = std::max(term_used, sender.term);
  }
  if (const auto* refusal = std::get_if<Refuse>(&packet->message)) return on(from, *refusal);

  if (sender.term < term) {
    // Whoever merely does not know yet learns it from our hello. Whoever acts on the old term is refused,
    // once.
    const auto* hello = std::get_if<Hello>(&packet->message);
    const auto* heartbeat = std::get_if<Heartbeat>(&packet->message);
    const bool acts = hello != nullptr       ? hello->role == NodeRole::live
                      : heartbeat != nullptr ? heartbeat->role == NodeRole::live
                                             : true;
    if (hello != nullptr) {
      peer.role = hello->role;
      peer.introduced = true;
    }
    if (acts && !peer.told_of_higher_term) {
      peer.told_of_higher_term = true;
      ++refusals;
      send(from, Refuse{RefusalCode::lower_term,
                        durable,
                        {},
                        "term " + std::to_string(sender.term.value) + " is over; this node has seen term " +
                            std::to_string(term.value)});
    }
    return;
  }
  peer.told_of_higher_term = false;

  if (const auto* records = std::get_if<Records>(&packet->message)) return on(from, *records, sender.epoch);
  std::visit(
      [&](const auto& message) {
        using T = std::decay_t<decltype(message)>;
        if constexpr (!std::is_same_v<T, Records> && !std::is_same_v<T, Refuse>) on(from, message);
      },
      packet->message);
}

void Replica::Impl::on(PeerId from, const Hello& hello) {
  Peer& peer = peers.at(from);
  peer.role = hello.role;
  peer.introduced = true;
  if (hello.role == NodeRole::live && (role == Role::live || promotion)) {
    const std::string what =
        "regions " + options.region + " and " + peer.region + " both lead in term " +
        std::to_string(term.value) +
        "; the register was set back or bypassed. Stop one of them, then promote the other in a "
        "higher term";
    released.emplace_back(Alarm{what});
    return refuse(from, {RefusalCode::two_lives, durable, hello.end, what});
  }
  if (source == from && hello.role != NodeRole::live) {
    source = 0;
    accepted = false;
  }
  try_follow();
}

void Replica::Impl::try_follow() {
  if (fatal || source != 0 || leader || promotion || !blocked.empty() || !log_is_whole()) return;
  const auto live = std::find_if(peers.begin(), peers.end(), [this](const auto& entry) {
    return entry.second.introduced && entry.second.role == NodeRole::live && entry.second.term == term;
  });
  if (live == peers.end()) return;
  if (role == Role::sealed) {
    role = Role::standby;
    released.emplace_back(
        RoleChanged{role, term, "region " + live->second.region + " leads; following it", false});
  }
  source = live->first;
  accepted = false;
  constexpr std::size_t kPendingBytesMax = kPacketBytesMax + (std::size_t{64} << 20);
  follower.emplace(durable, epoch, kPendingBytesMax);
  send(source, Follow{durable});
}

void Replica::Impl::on(PeerId from, const Follow& follow) {
  if (role != Role::live) return;  // it finds out from our hello
  if (ship_to != 0 && ship_to != from) close(ship_to, "the standby follows over another connection");
  ship_to = 0;
  if (auto followed = shipper->follow(follow.from, committed); !followed) {
    if (followed.error().code == RefusalCode::diverged) {
      released.emplace_back(
          Alarm{"region " + peers.at(from).region + " cannot follow: " + followed.error().what});
    }
    return refuse(from, followed.error());
  }
  ship_to = from;
  standby_known = true;
  if (follow.from.lsn < lag->there()) count_as_behind(follow.from.lsn);
  lag->durable_there(follow.from.lsn);
  global = follow.from.lsn;
  reach_far();
  send(from, Accept{follow.from, committed});
  pump();
}

/// The records (from, lag->there()], which were taken to be there. A few are counted one by one; of more,
/// what their segments hold is enough to know, and reading them all would keep everybody waiting.
void Replica::Impl::count_as_behind(Lsn from) {
  constexpr std::size_t kReadBytesMax = std::size_t{1} << 20;
  const Lsn last = lag->there();
  Buffer raw;
  // What cannot be read is shipping's to refuse: it will meet the same.
  if (const auto after = journal.read(from.next(), last, kReadBytesMax, raw); after && *after > last) {
    std::vector<std::uint32_t> sizes;
    for (BytesView rest(raw); !rest.empty();) {
      journal::Record record;
      const auto decoded = journal::decode_record(rest, record);
      MS_ASSERT(decoded == journal::DecodeStatus::ok, "the journal checks what it reads");
      sizes.push_back(static_cast<std::uint32_t>(record.raw.size()));
      rest = rest.subspan(record.raw.size());
    }
    lag->behind(sizes, leading_since);
    return;
  }
  const std::vector<journal::Journal::Extent> extents = journal.extents();
  for (auto each = extents.rbegin(); each != extents.rend() && each->last > from; ++each) {
    if (each->first > last) continue;
    const Lsn begin = std::max(each->first, from.next());
    const Lsn end = std::min(each->last, last);
    const std::uint64_t others = (begin.value - each->first.value) + (each->last.value - end.value);
    lag->behind_at_most(end.value - begin.value + 1,
                        each->record_bytes - others * journal::kRecordHeaderBytes, leading_since);
  }
}

void Replica::Impl::on(PeerId from, const Accept& accept) {
  if (from != source || !follower || accept.from != follower->end()) return;
  accepted = true;
  hear_committed(accept.committed);
}

void Replica::Impl::hear_committed(Lsn heard) {
  if (committed_heard <= committed && heard > committed) behind_since = now;
  committed_heard = std::max(committed_heard, heard);
}

void Replica::Impl::on(PeerId from, const Records& records, Epoch sender_epoch) {
  if (from != source) return;  // left over from a connection that is no longer followed
  if (!accepted) {
    return refuse(from,
                  {RefusalCode::impossible, durable, {}, "records came before the position was accepted"});
  }
  if (const auto taken = follower->offer(records, sender_epoch); !taken) {
    const Refuse refusal = taken.error();
    refuse(from, refusal);
    if (refusal.code == RefusalCode::diverged) block(refusal.what);
    return;
  }
  hear_committed(records.committed);
}

void Replica::Impl::on(PeerId from, const Heartbeat& heartbeat) {
  peers.at(from).role = heartbeat.role;
  if (from == source) hear_committed(heartbeat.committed);
}

void Replica::Impl::acknowledge() {
  if (source == 0 || !accepted) return;
  send(source, Ack{durable, state.applied(), state.hash()});
}

void Replica::Impl::on(PeerId from, const Ack& ack) {
  if (role != Role::live || from != ship_to) return;
  if (const auto good = shipper->acknowledged(ack.durable); !good) {
    released.emplace_back(Alarm{"region " + peers.at(from).region + ": " + good.error().what});
    return refuse(from, good.error());
  }
  lag->durable_there(ack.durable.lsn);
  global = ack.durable.lsn;
  reach_far();
  while (!own_hashes.empty() && own_hashes.front().lsn < ack.applied) own_hashes.pop_front();
  if (!own_hashes.empty() && own_hashes.front().lsn == ack.applied &&
      own_hashes.front().hash != ack.state_hash) {
    const std::string what = "at LSN " + std::to_string(ack.applied.value) +
                             " the live region's state has hash " + hex(own_hashes.front().hash) +
                             ", the standby's " + hex(ack.state_hash);
    released.emplace_back(Alarm{what});
    return refuse(from, {RefusalCode::state_differs,
                         {ack.applied, own_hashes.front().hash},
                         {ack.applied, ack.state_hash},
                         what});
  }
  check_switch(ack);
  pump();
}

void Replica::Impl::check_switch(const Ack& ack) {
  if (!switching || switching->ready || ack.durable != switching->seal ||
      ack.applied != switching->seal.lsn || ack.state_hash != switching->state_hash) {
    return;
  }
  switching->ready = true;
  released.emplace_back(SwitchReady{switching->seal});
}

void Replica::Impl::on(PeerId from, const Refuse& refusal) {
  ++refusals;
  last_problem = refusal.what;
  if (refusal.code == RefusalCode::lower_term) return;  // the packet's term has been taken note of
  const bool from_source = from == source;
  close(from, refusal.what);
  if (refusal.code == RefusalCode::two_lives) released.emplace_back(Alarm{refusal.what});
  if (!from_source) return;
  if (refusal.code == RefusalCode::state_differs) become_fatal(refusal.what);
  if (refusal.code == RefusalCode::diverged) block(refusal.what);
  if (refusal.code == RefusalCode::removed) released.emplace_back(Alarm{refusal.what});
}

void Replica::Impl::pump() {
  if (role != Role::live || ship_to == 0) return;
  for (;;) {
    const auto more = shipper->next(committed, ship_buffer);
    if (!more) {
      if (more.error().code == journal::JournalErrorCode::not_found) {
        return refuse(ship_to, {RefusalCode::removed, {}, {}, more.error().what});
      }
      return close(ship_to, "the live region cannot read its log: " + more.error().what);
    }
    if (!*more) return;
    send(ship_to, Records{committed, ship_buffer});
  }
}

void Replica::Impl::tick_peers() {
  std::vector<PeerId> silent;
  for (const auto& [id, peer] : peers) {
    if (now - peer.last_heard >= options.silence_max) {
      silent.push_back(id);
    } else if (now - peer.last_sent >= options.heartbeat) {
      if (id == source && accepted) {
        acknowledge();
      } else {
        send(id, Heartbeat{wire_role(), committed});
      }
    }
  }
  for (const PeerId id : silent) {
    close(id, "nothing was heard from the peer for " + std::to_string(options.silence_max.milliseconds()) +
                  " ms");
  }
}

}  // namespace mainstay::replica
