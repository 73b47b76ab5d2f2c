// What ties locks, consumers and lines to the state, from scratch.
#include <algorithm>

#include "broker/leader_impl.h"

namespace mainstay::broker {

void Leader::Impl::check_invariants() const {
  state.check_invariants();
  MS_ASSERT(log.end().lsn == state.applied_lsn, "state is the log's end");
  MS_ASSERT(queues.size() == state.queues.size(), "every queue is served");
  std::size_t live = 0;
  std::vector<std::uint64_t> locks_of(queues.size());
  for (std::uint32_t i = 0; i < locks.end(); ++i) {
    const Lock& lock = locks[i];
    if (!lock.live) continue;
    ++live;
    ++locks_of[lock.queue - 1];
    MS_ASSERT(find_lock(lock.token) == i, "a lock is found by its token");
    MS_ASSERT(lock_on(lock.queue, lock.sequence) == i, "a message is locked once, and its lock is found");
    const Message* message = queues[lock.queue - 1]->queue->ring.find(lock.sequence);
    MS_ASSERT(message != nullptr && message->place == lock.sub, "a lock is on a message where it is");
    MS_ASSERT(lock.in_session == (message->session != kNone), "messages of a session are its holder's");
    MS_ASSERT(lock.deferred == message->hidden(), "a lock knows whether its message is deferred");
  }
  MS_ASSERT(live == locks.live() && live == lock_index.size(), "live locks are counted");

  std::size_t with_timer = 0, owed = 0;
  for (const auto& [id, consumer] : consumers) {
    const Consumer& c = *consumer;
    MS_ASSERT(!(c.holds && c.waiting), "a receiver waits for a session or holds one");
    if (c.holds || c.waiting) {
      ++with_timer;
      MS_ASSERT(timers.contains({c.deadline, id}), "waits and session locks end");
    }
    MS_ASSERT(c.taken <= c.dispatched, "only what was put out is taken");
    MS_ASSERT(c.window == 0 || c.dispatched - c.taken <= c.window, "windows bound what is not taken");
    if (c.draining) ++owed;
    MS_ASSERT(c.draining == (std::find(draining.begin(), draining.end(), id) != draining.end()),
              "who drains is known");
    MS_ASSERT(!c.draining || !c.has_room() || searching_in(c.queue), "drains end");
  }
  MS_ASSERT(with_timer == timers.size(), "timers belong to consumers");
  MS_ASSERT(owed == draining.size(), "who drains is known");

  std::size_t holdings_there = 0;
  for (std::uint32_t i = 0; i < queues.size(); ++i) {
    const QueueRuntime& q = *queues[i];
    MS_ASSERT(q.locked() == locks_of[i], "locked messages are counted");
    holdings_there += q.holdings;
    check_queue(i);
    state.trim();
  }
  MS_ASSERT(holdings_there == holdings.live() && holdings_there == holding_index.size(),
            "held sessions are counted");
}

void Leader::Impl::check_queue(std::uint32_t i) const {
  const QueueRuntime& q = *queues[i];
  const Queue& queue = *q.queue;
  std::uint64_t locked_active = 0, locked_dead = 0, locked_deferred = 0;
  std::size_t returned_active = 0, returned_dead = 0, available = 0;
  std::map<const Consumer*, std::size_t> returned_to;
  std::map<std::uint32_t, Consumer*> holders;  // of sessions with messages
  for (const auto& [id, holder] : q.held) {
    const std::uint32_t session = queue.find_session(id);
    if (session != kNone) holders[session] = holder;
    MS_ASSERT((holder->holding != kNone) == (session != kNone),
              "a holder knows whether its session is there");
  }
  MS_ASSERT(holders.size() == q.holdings, "held sessions are counted");
  for (std::uint64_t s = queue.ring.first(); s != 0; s = queue.ring.next(s + 1)) {
    const Message& message = *queue.ring.find(s);
    const bool locked = is_locked(q, s);
    if (message.hidden()) {
      if (locked) ++locked_deferred;
      MS_ASSERT(!locked || message.state == MessageState::deferred, "a scheduled message is not locked");
      MS_ASSERT(!q.lane(message.place).returned.contains(s), "what is hidden is not in its lane");
      MS_ASSERT(message.state != MessageState::scheduled ||
                    (schedule_timers.armed(i) &&
                     schedule_timers.at(i) <= std::max(message.enqueued_ms, state.log_time.ms)),
                "what is scheduled is watched");
      continue;
    }
    if (locked) ++(message.place == SubQueue::active ? locked_active : locked_dead);
    if (message.expires_ms != 0 && !locked && message.place == SubQueue::active) {
      MS_ASSERT(
          expiry_timers.armed(i) && expiry_timers.at(i) <= std::max(message.expires_ms, state.log_time.ms),
          "what expires is watched");
    }
    if (message.session == kNone) {
      const Lane& lane = q.lane(message.place);
      const bool returned = lane.returned.contains(s);
      MS_ASSERT(!returned || !locked, "what has returned is not locked");
      MS_ASSERT((s < lane.cursor) == (locked || returned) || (s >= lane.cursor && locked),
                "below the cursor everything is locked or has returned");
      MS_ASSERT(!returned || s < lane.cursor, "only what is below the cursor is remembered");
      MS_ASSERT(!locked || s < lane.fresh, "only what was handed out is locked");
      if (returned) ++(message.place == SubQueue::active ? returned_active : returned_dead);
      continue;
    }
    const auto found = holders.find(message.session);
    const Consumer* holder = found == holders.end() ? nullptr : found->second;
    MS_ASSERT(holder_of(i + 1, message.session) == holder, "a session's holder is known");
    if (holder == nullptr) {
      MS_ASSERT(!locked, "messages of sessions that nobody holds are not locked");
      const bool is_head = queue.sessions[message.session].head == s;
      const bool known = q.available.contains({s, message.session});
      if (known) ++available;
      MS_ASSERT(!known || (is_head && is_visible(message) && s < q.session_cursor),
                "sessions that are known to be free are");
      MS_ASSERT(known || !is_head || !is_visible(message) || s >= q.session_cursor,
                "below the cursor every free session is known");
      continue;
    }
    const bool returned = holder->returned.contains(s);
    if (returned) ++returned_to[holder];
    const bool passed = holder->next == 0 || s < holder->next;
    MS_ASSERT(!returned || (passed && !locked), "what has returned is behind `next` and not locked");
    MS_ASSERT(!passed || locked || returned, "what was passed is locked or has returned");
    MS_ASSERT(!locked || s < holder->fresh, "only what was handed out is locked");
  }
  MS_ASSERT(returned_active == q.active.returned.size() && returned_dead == q.dead.returned.size(),
            "only messages that are there have returned");
  MS_ASSERT(q.active.returned.size() <= limits.returned_max &&
                q.dead.returned.size() <= limits.returned_max && q.available.size() <= limits.available_max,
            "what is remembered is bounded");
  MS_ASSERT(available == q.available.size(), "no session is known that is gone");
  MS_ASSERT(locked_active == q.active.locked && locked_dead == q.dead.locked &&
                locked_deferred == q.deferred_locked,
            "locked messages are counted");

  std::uint64_t listed = 0;
  Instant before{};
  for (std::uint32_t at = q.locks.first; at != kNone; at = locks[at].next) {
    MS_ASSERT(locks[at].live && locks[at].queue == i + 1 && !locks[at].in_session, "a queue lists its locks");
    MS_ASSERT(locks[at].expires >= before, "locks are listed as they expire");
    before = locks[at].expires;
    ++listed;
  }
  MS_ASSERT(
      q.locks.first == kNone || (lock_timers.armed(i) && lock_timers.at(i) <= locks[q.locks.first].expires),
      "who has locks has a timer");
  for (const auto& [id, holder] : q.held) {
    MS_ASSERT(holder->holds && holder->session_id == id && holder->queue == i + 1, "a holder holds");
    const std::uint32_t session = queue.find_session(id);
    for (std::uint32_t at = holder->outstanding.first; at != kNone; at = locks[at].next) {
      MS_ASSERT(locks[at].live && locks[at].in_session && locks[at].consumer == holder->id,
                "a holder lists its locks");
      ++listed;
    }
    MS_ASSERT(
        returned_to[holder] == holder->returned.size() && holder->returned.size() <= limits.returned_max,
        "only messages of the session have returned to its holder");
    if (holder->next != 0) {
      const Message* message = queue.ring.find(holder->next);
      MS_ASSERT(message != nullptr && message->session == session && !message->hidden(),
                "what is next is in the session");
    }
  }
  MS_ASSERT(listed == q.locked(), "every lock is in one list");
  for (const SubQueue sub : {SubQueue::active, SubQueue::dead_letter}) {
    const Lane& lane = q.lane(sub);
    for (std::size_t n = 0; n < lane.line.size(); ++n) {
      const Consumer* c = lane.line[n];
      const auto found = consumers.find(c->id);
      MS_ASSERT(found != consumers.end() && found->second.get() == c && c->in_line && c->sub == sub &&
                    c->can_take(),
                "who stands in line is subscribed and can get a message");
    }
    // Whoever could get a message now has got it.
    if (!ready() || lane.line.empty() || q.searching || (sub == SubQueue::active && q.has_sessions()))
      continue;
    const std::uint64_t last = sub == SubQueue::active ? queue.active : queue.dead;
    if (last == lane.locked) continue;
    for (std::uint64_t s = sub == SubQueue::active ? queue.next_active(1) : queue.next_dead(1); s != 0;
         s = sub == SubQueue::active ? queue.next_active(s + 1) : queue.next_dead(s + 1)) {
      if (is_locked(q, s)) continue;
      MS_ASSERT(queue.ring.find(s)->lsn > committed_lsn.value,
                "no committed message is first while there is credit");
      break;
    }
  }
}

}  // namespace mainstay::broker
