// Handing out: which message goes to which consumer, and its lock.
#include <algorithm>

#include "broker/leader_impl.h"

namespace mainstay::broker {

void Leader::set_credit(ConsumerId consumer, std::uint32_t credit, bool drain, Instant now, WallTime wall,
                        std::vector<Output>& out) {
  Impl& leader = *impl_;
  const auto found = leader.consumers.find(consumer);
  if (found == leader.consumers.end()) return;  // ended by the broker while the caller's flow was under way
  Consumer& c = *found->second;
  leader.begin();
  c.credit = credit;
  if (!drain) {
    leader.stop_draining(c);
  } else if (!c.draining) {
    c.draining = true;
    leader.draining.push_back(consumer);
  }
  leader.offer(*leader.queues[c.queue - 1], c);
  leader.end({now, wall}, out);
}

void Leader::taken(ConsumerId consumer, std::uint64_t total, Instant now, WallTime wall,
                   std::vector<Output>& out) {
  Impl& leader = *impl_;
  const auto found = leader.consumers.find(consumer);
  if (found == leader.consumers.end()) return;
  Consumer& c = *found->second;
  const bool had_room = c.has_room();
  c.taken = std::max(c.taken, std::min(total, c.dispatched));
  if (had_room || !c.has_room()) return;
  leader.begin();
  leader.offer(*leader.queues[c.queue - 1], c);
  leader.end({now, wall}, out);
}

/// What the consumer can take has changed.
void Leader::Impl::offer(QueueRuntime& q, Consumer& c) {
  if (!c.can_take()) return leave_line(q, c);
  if (c.waiting) return;
  if (c.holds) return mark(c);
  join_line(q, c);
  mark(q);
}

/// Drained is owed until everything was put out that can be: not while the window is full or a search goes
/// on.
void Leader::Impl::finish_drains(std::vector<Output>& out) {
  std::erase_if(draining, [&](ConsumerId id) {
    Consumer& c = *consumers.at(id);
    QueueRuntime& q = *queues[c.queue - 1];
    if (c.credit > 0 && (!c.has_room() || q.searching)) return false;
    c.credit = 0;
    c.draining = false;
    leave_line(q, c);
    out.emplace_back(Drained{id});
    return true;
  });
}

void Leader::Impl::stop_draining(Consumer& c) {
  if (!c.draining) return;
  c.draining = false;
  std::erase(draining, c.id);
}

void Leader::Impl::join_line(QueueRuntime& q, Consumer& c) {
  if (c.in_line) return;
  c.in_line = true;
  q.lane(c.sub).line.push(&c);
}

void Leader::Impl::leave_line(QueueRuntime& q, Consumer& c) {
  if (!c.in_line) return;
  c.in_line = false;
  q.lane(c.sub).line.erase(&c);
}

/// Hands out what can be handed out of all that has changed. What is handed out may change more: an expired
/// message that is found on the way goes to the dead-letter queue.
void Leader::Impl::dispatch_dirty(Times t, std::vector<Output>& out) {
  if (!ready()) return;
  while (!dirty_queues.empty() || !dirty_holders.empty()) {
    for (std::size_t i = 0; i < dirty_queues.size(); ++i) {
      QueueRuntime& q = *queues[dirty_queues[i] - 1];
      q.dirty = false;
      if (q.has_sessions())
        assign_sessions(q, t, out);
      else
        dispatch_lane(q, SubQueue::active, t, out);
      dispatch_lane(q, SubQueue::dead_letter, t, out);
    }
    dirty_queues.clear();
    for (std::size_t i = 0; i < dirty_holders.size(); ++i) {
      const auto found = consumers.find(dirty_holders[i]);
      if (found == consumers.end()) continue;
      found->second->dirty = false;
      dispatch_holder(*queues[found->second->queue - 1], *found->second, t, out);
    }
    dirty_holders.clear();
  }
}

void Leader::Impl::dispatch_lane(QueueRuntime& q, SubQueue sub, Times t, std::vector<Output>& out) {
  Lane& lane = q.lane(sub);
  while (!lane.line.empty()) {
    Consumer& c = *lane.line.front();
    const bool again = !lane.returned.empty();
    const std::uint64_t sequence = again ? lane.returned.begin()->first : find_fresh(q, sub);
    if (sequence == 0) return;
    const Message& message = *q.queue->ring.find(sequence);
    if (message.lsn > committed_lsn.value) return;  // also one that expired before it was committed
    if (sub == SubQueue::active && is_expired(message, t.wall)) {
      expire(q, sequence, t);
      continue;
    }
    Lsn after{};
    if (again) {
      after = lane.returned.begin()->second;
      lane.returned.erase(lane.returned.begin());
    } else {
      if (sub == SubQueue::dead_letter || sequence < lane.fresh || message.renumbered_by != 0) {
        after = lane.after;
      }
      lane.cursor = sequence + 1;
    }
    // Also for one that returned: a dead letter may come below the cursor without having been handed out.
    lane.fresh = std::max(lane.fresh, sequence + 1);
    lane.line.pop();
    deliver(q, c, sub, sequence, after, t, out);
    if (c.can_take())
      lane.line.push(&c);
    else
      c.in_line = false;
  }
}

void Leader::Impl::dispatch_holder(QueueRuntime& q, Consumer& c, Times t, std::vector<Output>& out) {
  if (!c.holds) return;
  while (c.can_take()) {
    const bool again = !c.returned.empty();
    const std::uint64_t sequence = again ? c.returned.begin()->first : find_fresh(q, c);
    if (sequence == 0) return;
    const Message& message = *q.queue->ring.find(sequence);
    if (message.lsn > committed_lsn.value) return;
    if (is_expired(message, t.wall)) {
      expire(q, sequence, t);
      continue;
    }
    Lsn after{};
    if (again) {
      after = c.returned.begin()->second;
      c.returned.erase(c.returned.begin());
    } else {
      if (sequence < c.fresh || message.renumbered_by != 0) after = c.after;
      c.next = message.session_next;
      c.fresh = std::max(c.fresh, sequence + 1);
    }
    deliver(q, c, SubQueue::active, sequence, after, t, out);
  }
}

void Leader::Impl::deliver(QueueRuntime& q, Consumer& c, SubQueue sub, std::uint64_t sequence, Lsn after,
                           Times t, std::vector<Output>& out) {
  const Message& message = *q.queue->ring.find(sequence);
  --c.credit;
  ++c.dispatched;
  Deliver& deliver = std::get<Deliver>(out.emplace_back(std::in_place_type<Deliver>));
  Delivery& d = deliver.delivery;
  d.consumer = c.id;
  describe(q, sequence, message, d);
  after = std::max(after, d.lsn);
  if (c.mode == ReceiveMode::receive_and_delete) {
    after = remove(q, sequence, RemovalCause::received_and_deleted, t);
  } else {
    const std::uint32_t index = new_lock(q.queue->id.value, sequence);
    Lock& lock = locks[index];
    lock.after = after;
    lock.consumer = c.id;
    lock.sub = sub;
    lock.in_session = c.holds;
    if (c.holds) {
      lock.expires = {
          std::numeric_limits<std::int64_t>::max()};  // at the end of the list: in order of delivery
      link_by_expiry(c.outstanding, index);
      d.locked_until = c.locked_until;
    } else {
      lock.expires = t.now + milliseconds(q.queue->options.lock_duration_ms);
      link_by_expiry(q.locks, index);
      lock_timers.arm(q.queue->id.value - 1, lock.expires);
      d.locked_until = {t.wall.ms + q.queue->options.lock_duration_ms};
    }
    ++q.lane(sub).locked;
    d.token = lock.token;
  }
  c.last_after = std::max(c.last_after, after);
  deliver.after = c.last_after;
}

/// The first four bytes of a token are its lock's place, the others are random: found without a table, and no
/// two are ever the same.
std::uint32_t Leader::Impl::new_lock(std::uint32_t queue, std::uint64_t sequence) {
  const std::uint32_t index = locks.allocate();
  Lock& lock = locks[index];
  const std::uint64_t a = random.next(), b = random.next();
  std::memcpy(lock.token.bytes.data() + 8, &a, 8);
  std::memcpy(lock.token.bytes.data() + 4, &b, 4);
  std::memcpy(lock.token.bytes.data(), &index, 4);
  lock.token.bytes[6] = static_cast<std::uint8_t>((lock.token.bytes[6] & 0x0fU) | 0x40U);
  lock.token.bytes[8] = static_cast<std::uint8_t>((lock.token.bytes[8] & 0x3fU) | 0x80U);
  lock.live = true;
  lock.queue = queue;
  lock.sequence = sequence;
  lock_index.insert(mix64(queue, sequence), index);
  return index;
}

std::uint32_t Leader::Impl::find_lock(const LockToken& token) const {
  std::uint32_t index = 0;
  std::memcpy(&index, token.bytes.data(), 4);
  return index < locks.end() && locks[index].live && locks[index].token == token ? index : kNone;
}

void Leader::Impl::link_by_expiry(LockList& list, std::uint32_t index) {
  Lock& lock = locks[index];
  std::uint32_t before = list.last;  // nearly always the right place: the duration is constant
  while (before != kNone && locks[before].expires > lock.expires) before = locks[before].previous;
  lock.previous = before;
  lock.next = before == kNone ? list.first : locks[before].next;
  (lock.previous == kNone ? list.first : locks[lock.previous].next) = index;
  (lock.next == kNone ? list.last : locks[lock.next].previous) = index;
}

void Leader::Impl::unlink(LockList& list, std::uint32_t index) {
  Lock& lock = locks[index];
  (lock.previous == kNone ? list.first : locks[lock.previous].next) = lock.next;
  (lock.next == kNone ? list.last : locks[lock.next].previous) = lock.previous;
  lock.previous = lock.next = kNone;
}

void Leader::Impl::free_lock(QueueRuntime& q, std::uint32_t index) {
  Lock& lock = locks[index];
  unlink(lock.in_session ? consumers.at(lock.consumer)->outstanding : q.locks, index);
  lock_index.erase(mix64(lock.queue, lock.sequence), index);
  lock.live = false;
  lock.token = {};
  --(lock.deferred ? q.deferred_locked : q.lane(lock.sub).locked);
  locks.release(index);
}

}  // namespace mainstay::broker
