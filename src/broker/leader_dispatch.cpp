// Handing out: which message goes to which consumer, and its lock.
#include <algorithm>

#include "broker/leader_impl.h"

namespace mainstay::broker {

void Leader::set_credit(ConsumerId consumer, std::uint32_t credit, bool drain, Instant now, WallTime wall,
                        std::vector<Output>& out) {
  Impl& leader = *impl_;
  leader.shown.clear();
  const auto found = leader.consumers.find(consumer);
  if (found == leader.consumers.end()) return;  // ended by the broker while the caller's flow was under way
  Consumer& c = *found->second;
  QueueRuntime& q = *leader.queues[c.queue - 1];
  const Impl::Times t{now, wall};
  c.credit = credit;
  if (!c.waiting && credit > 0) {
    if (c.holds) {
      leader.dispatch_holder(q, c, t, out);
    } else {
      leader.join_line(q, c);
      leader.dispatch_lane(q, c.sub, t, out);
    }
  }
  if (drain) {
    c.credit = 0;
    out.emplace_back(Drained{consumer});
  }
  if (c.credit == 0) leader.leave_line(q, c);
  leader.dispatch_dead(t, out);
  leader.state.trim();
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

void Leader::Impl::dispatch_all(QueueRuntime& q, Times t, std::vector<Output>& out) {
  if (q.has_sessions()) {
    assign_sessions(q, t, out);
    std::vector<ConsumerId> holders;
    for (const auto& [id, holder] : q.held) holders.push_back(holder->id);
    std::sort(holders.begin(), holders.end());
    for (const ConsumerId id : holders) dispatch_holder(q, *consumers.at(id), t, out);
  } else {
    dispatch_lane(q, SubQueue::active, t, out);
  }
  dispatch_lane(q, SubQueue::dead_letter, t, out);
}

void Leader::Impl::dispatch_dead(Times t, std::vector<Output>& out) {
  for (const std::uint32_t id : dirty_dead) dispatch_lane(*queues[id - 1], SubQueue::dead_letter, t, out);
  dirty_dead.clear();
}

void Leader::Impl::dispatch_lane(QueueRuntime& q, SubQueue sub, Times t, std::vector<Output>& out) {
  if (!ready()) return;
  Lane& lane = q.lane(sub);
  Queue& queue = *q.queue;
  while (!lane.line.empty()) {
    Consumer& c = *lane.line.front();
    const bool again = !lane.returned.empty();
    const std::uint64_t sequence = again ? lane.returned.begin()->first : lane.cursor;
    if (!again && (sub == SubQueue::dead_letter || sequence == queue.next_sequence)) return;
    const Message& message = *queue.ring.find(sequence);
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
      const std::uint64_t next = queue.next_active(sequence + 1);
      lane.cursor = next != 0 ? next : queue.next_sequence;
    }
    lane.line.pop();
    deliver(q, c, sub, sequence, after, t, out);
    if (c.credit > 0)
      lane.line.push(&c);
    else
      c.in_line = false;
  }
}

void Leader::Impl::dispatch_holder(QueueRuntime& q, Consumer& c, Times t, std::vector<Output>& out) {
  if (!ready()) return;
  while (c.credit > 0) {
    const bool again = !c.returned.empty();
    const std::uint64_t sequence = again ? c.returned.begin()->first : c.next;
    if (sequence == 0) return;
    const Message& message = *q.queue->ring.find(sequence);
    if (!again && message.lsn > committed_lsn.value) return;
    if (is_expired(message, t.wall)) {
      expire(q, sequence, t);
      continue;
    }
    Lsn after{};
    if (again) {
      after = c.returned.begin()->second;
      c.returned.erase(c.returned.begin());
    } else {
      c.next = message.session_next;
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
  d.queue = q.queue->id;
  d.sub = sub;
  d.sequence = SequenceNumber{sequence};
  d.lsn = Lsn{message.lsn};
  d.delivery_count = message.delivery_count;
  d.maybe_delivered = message.moved || d.lsn <= takeover;
  d.enqueued = {message.enqueued_ms};
  if (message.annotated) {
    const Annotation& annotation = shown.emplace_back(q.queue->annotations.at(sequence));
    d.dead_letter_reason = annotation.reason;
    d.dead_letter_description = annotation.description;
    d.modified_properties = annotation.properties;
  }
  after = std::max(after, d.lsn);
  if (c.mode == ReceiveMode::receive_and_delete) {
    after = remove(q, sequence, RemovalCause::received_and_deleted, t);
  } else {
    const std::uint32_t index = new_lock();
    Lock& lock = locks[index];
    lock.sequence = sequence;
    lock.after = after;
    lock.consumer = c.id;
    lock.queue = q.queue->id.value;
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
      d.locked_until = {t.wall.ms + q.queue->options.lock_duration_ms};
    }
    ++q.locked;
    d.token = lock.token;
  }
  c.last_after = std::max(c.last_after, after);
  deliver.after = c.last_after;
}

/// The first four bytes of a token are its lock's place, the others are random: found without a table, and no
/// two are ever the same.
std::uint32_t Leader::Impl::new_lock() {
  const std::uint32_t index = locks.allocate();
  Lock& lock = locks[index];
  const std::uint64_t a = random.next(), b = random.next();
  std::memcpy(lock.token.bytes.data() + 8, &a, 8);
  std::memcpy(lock.token.bytes.data() + 4, &b, 4);
  std::memcpy(lock.token.bytes.data(), &index, 4);
  lock.token.bytes[6] = static_cast<std::uint8_t>((lock.token.bytes[6] & 0x0fU) | 0x40U);
  lock.token.bytes[8] = static_cast<std::uint8_t>((lock.token.bytes[8] & 0x3fU) | 0x80U);
  lock.live = true;
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
  lock.live = false;
  lock.token = {};
  locks.release(index);
  --q.locked;
}

}  // namespace mainstay::broker
