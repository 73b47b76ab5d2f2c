// What ties locks, consumers and lines to the state, from scratch.
#include "broker/leader_impl.h"

namespace mainstay::broker {

void Leader::Impl::check_invariants() const {
  state.check_invariants();
  MS_ASSERT(log.end().lsn == state.applied_lsn, "state is the log's end");
  MS_ASSERT(queues.size() == state.queues.size(), "every queue is served");
  std::map<std::pair<std::uint32_t, std::uint64_t>, const Lock*> locked;
  std::size_t live = 0;
  for (std::uint32_t i = 0; i < locks.end(); ++i) {
    const Lock& lock = locks[i];
    if (!lock.live) continue;
    ++live;
    MS_ASSERT(find_lock(lock.token) == i, "a lock is found by its token");
    MS_ASSERT(locked.emplace(std::pair{lock.queue, lock.sequence}, &lock).second, "a message is locked once");
  }
  MS_ASSERT(live == locks.live(), "live locks are counted");

  std::size_t with_timer = 0;
  for (const auto& [id, consumer] : consumers) {
    MS_ASSERT(!(consumer->holds && consumer->waiting), "a receiver waits for a session or holds one");
    if (consumer->holds || consumer->waiting) {
      ++with_timer;
      MS_ASSERT(timers.contains({consumer->deadline, id}), "waits and session locks end");
    }
  }
  MS_ASSERT(with_timer == timers.size(), "timers belong to consumers");

  for (std::uint32_t i = 0; i < queues.size(); ++i) {
    const QueueRuntime& q = *queues[i];
    const Queue& queue = *q.queue;
    std::uint64_t locks_here = 0, listed = 0;
    std::size_t returned_active = 0, returned_dead = 0;
    for (std::uint64_t s = queue.ring.first(); s != 0; s = queue.ring.next(s + 1)) {
      const Message& message = *queue.ring.find(s);
      const auto lock = locked.find({i + 1, s});
      const bool is_lock = lock != locked.end();
      MS_ASSERT(is_lock == is_locked(q, s, message), "what was handed out and did not return is locked");
      if (is_lock) {
        ++locks_here;
        MS_ASSERT(lock->second->sub == message.place, "a lock knows its sub-queue");
      }
      if (message.place == SubQueue::dead_letter) {
        if (q.dead.returned.contains(s)) ++returned_dead;
      } else if (message.session == kNone) {
        if (q.active.returned.contains(s)) {
          ++returned_active;
          MS_ASSERT(s < q.active.cursor, "only what was handed out returns");
        }
      } else {
        const Consumer* holder = q.holders[message.session];
        const auto held = q.held.find(queue.sessions[message.session].id);
        MS_ASSERT((held == q.held.end() ? nullptr : held->second) == holder, "a session's holder is known");
      }
    }
    MS_ASSERT(returned_active == q.active.returned.size() && returned_dead == q.dead.returned.size(),
              "only messages that are there have returned");
    MS_ASSERT(locks_here == q.locked, "locked messages are counted");
    if (!q.has_sessions()) {
      const Message* at = queue.ring.find(q.active.cursor);
      MS_ASSERT(q.active.cursor == queue.next_sequence || (at != nullptr && at->place == SubQueue::active),
                "the cursor names the next message");
    }
    Instant before{};
    for (std::uint32_t at = q.locks.first; at != kNone; at = locks[at].next) {
      MS_ASSERT(locks[at].live && locks[at].queue == i + 1 && !locks[at].in_session,
                "a queue lists its locks");
      MS_ASSERT(locks[at].expires >= before, "locks are listed as they expire");
      before = locks[at].expires;
      ++listed;
    }
    for (const auto& [id, holder] : q.held) {
      MS_ASSERT(holder->holds && holder->session_id == id && holder->queue == i + 1, "a holder holds");
      const std::uint32_t session = queue.find_session(id);
      for (std::uint32_t at = holder->outstanding.first; at != kNone; at = locks[at].next) {
        MS_ASSERT(locks[at].live && locks[at].in_session && locks[at].consumer == holder->id,
                  "a holder lists its locks");
        ++listed;
      }
      for (const auto& [sequence, after] : holder->returned) {
        const Message* message = queue.ring.find(sequence);
        MS_ASSERT(message != nullptr && message->session == session, "what returned is in the session");
      }
      if (holder->next != 0) {
        const Message* message = queue.ring.find(holder->next);
        MS_ASSERT(message != nullptr && message->session == session, "what is next is in the session");
      }
    }
    MS_ASSERT(listed == q.locked, "every lock is in one list");
    for (const SubQueue sub : {SubQueue::active, SubQueue::dead_letter}) {
      const Lane& lane = q.lane(sub);
      for (std::size_t n = 0; n < lane.line.size(); ++n) {
        const Consumer* c = lane.line[n];
        const auto found = consumers.find(c->id);
        MS_ASSERT(found != consumers.end() && found->second.get() == c && c->in_line && c->sub == sub &&
                      c->credit > 0,
                  "who stands in line is subscribed and has credit");
      }
    }
    // Whoever could get a message now has got it.
    if (ready() && !q.has_sessions() && !q.active.line.empty() && q.active.cursor < queue.next_sequence) {
      const Message* at = queue.ring.find(q.active.cursor);
      MS_ASSERT(at->lsn > committed_lsn.value, "no committed message waits while there is credit");
    }
  }
}

}  // namespace mainstay::broker
