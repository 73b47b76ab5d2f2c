// What is available: finding it without keeping a list of it. leader_impl.h says how.
#include <algorithm>

#include "broker/leader_impl.h"

namespace mainstay::broker {

namespace {

std::uint64_t hash_of(std::uint32_t queue, std::uint64_t within) {
  return mix64(queue, within);
}

}  // namespace

/// Before looking at one more message that may not be available. False when this call has looked at enough.
bool Leader::Impl::step(QueueRuntime& q) {
  if (steps_left == 0) {
    if (!q.searching) {
      q.searching = true;
      unfinished.push_back(q.queue->id.value);
    }
    return false;
  }
  --steps_left;
  ++searched;
  return true;
}

void Leader::Impl::resume_searches() {
  for (const std::uint32_t id : unfinished) {
    QueueRuntime& q = *queues[id - 1];
    q.searching = false;
    mark(q);
    for (const auto& [name, holder] : q.held) {
      if (holder->can_take()) holders_to_resume.push_back(holder->id);
    }
  }
  unfinished.clear();
  std::sort(holders_to_resume.begin(), holders_to_resume.end());
  for (const ConsumerId id : holders_to_resume) mark(*consumers.at(id));
  holders_to_resume.clear();
}

std::uint32_t Leader::Impl::lock_on(std::uint32_t queue, std::uint64_t sequence) const {
  return lock_index.find(hash_of(queue, sequence), [&](std::uint32_t index) {
    return locks[index].queue == queue && locks[index].sequence == sequence;
  });
}

void Leader::Impl::put_back(QueueRuntime& q, SubQueue sub, std::uint64_t sequence, Lsn after) {
  Lane& lane = q.lane(sub);
  mark(q);
  if (sequence >= lane.cursor) {
    lane.after = std::max(lane.after, after);
    return;
  }
  lane.returned.emplace(sequence, after);
  if (lane.returned.size() <= limits.returned_max) return;
  const auto highest = std::prev(lane.returned.end());
  lane.cursor = highest->first;
  lane.after = std::max(lane.after, highest->second);
  lane.returned.erase(highest);
}

void Leader::Impl::put_back(Consumer& holder, std::uint64_t sequence, Lsn after) {
  mark(holder);
  if (holder.next != 0 && sequence >= holder.next) {
    holder.after = std::max(holder.after, after);
    return;
  }
  holder.returned.emplace(sequence, after);
  if (holder.returned.size() <= limits.returned_max) return;
  const auto highest = std::prev(holder.returned.end());
  holder.next = highest->first;
  holder.after = std::max(holder.after, highest->second);
  holder.returned.erase(highest);
}

/// The lane's first message from the cursor on that nobody has, committed or not; 0 when there is none, or
/// when the search goes on later. The cursor is at it.
std::uint64_t Leader::Impl::find_fresh(QueueRuntime& q, SubQueue sub) {
  Lane& lane = q.lane(sub);
  const Queue& queue = *q.queue;
  const std::uint64_t there = sub == SubQueue::active ? queue.active : queue.dead;
  if (there - lane.locked == lane.returned.size()) return 0;  // nothing else is available
  for (;;) {
    const std::uint64_t sequence =
        sub == SubQueue::active ? queue.next_active(lane.cursor) : queue.next_dead(lane.cursor);
    MS_ASSERT(sequence != 0, "what is available and did not return is at the cursor or behind it");
    lane.cursor = sequence;
    if (sequence >= lane.fresh || !is_locked(q, sequence)) return sequence;
    if (!step(q)) return 0;
    lane.cursor = sequence + 1;
  }
}

std::uint64_t Leader::Impl::find_fresh(QueueRuntime& q, Consumer& holder) {
  while (holder.next != 0 && holder.next < holder.fresh && is_locked(q, holder.next)) {
    if (!step(q)) return 0;
    holder.next = q.queue->ring.find(holder.next)->session_next;
  }
  return holder.next;
}

Consumer* Leader::Impl::holder_of(std::uint32_t queue, std::uint32_t session) const {
  const std::uint32_t index = holding_index.find(hash_of(queue, session), [&](std::uint32_t i) {
    return holdings[i].queue == queue && holdings[i].session == session;
  });
  return index == kNone ? nullptr : holdings[index].holder;
}

void Leader::Impl::hold(QueueRuntime& q, std::uint32_t session, Consumer& holder) {
  const std::uint32_t index = holdings.allocate();
  holdings[index] = {q.queue->id.value, session, &holder};
  holding_index.insert(hash_of(q.queue->id.value, session), index);
  holder.holding = index;
  ++q.holdings;
}

/// The session is no longer there, or no longer held: its number may become another one's.
void Leader::Impl::let_go(QueueRuntime& q, Consumer& holder) {
  if (holder.holding == kNone) return;
  const Holding& holding = holdings[holder.holding];
  holding_index.erase(hash_of(holding.queue, holding.session), holder.holding);
  holdings.release(holder.holding);
  holder.holding = kNone;
  --q.holdings;
}

/// A session that nobody holds is there, or its oldest message is another one or is committed now.
void Leader::Impl::offer_session(QueueRuntime& q, std::uint32_t session) {
  if (!q.waiting.empty()) mark(q);
  const Available offer{q.queue->sessions[session].head, session};
  if (offer.head == 0) return;  // all of its messages are deferred or scheduled
  if (offer.head >= q.session_cursor || !is_visible(*q.queue->ring.find(offer.head))) return;
  q.available.insert(offer);
  if (q.available.size() <= limits.available_max) return;
  const auto youngest = std::prev(q.available.end());
  q.session_cursor = youngest->head;
  q.available.erase(youngest);
}

/// Fills `available`, which is empty. Sessions whose oldest message is not committed are passed over:
/// committed() offers them. @return whether there is any
bool Leader::Impl::search_sessions(QueueRuntime& q) {
  const Queue& queue = *q.queue;
  if (queue.sessions.live() == q.holdings) return false;
  const auto consider = [&](std::uint64_t sequence, std::uint32_t session) {
    if (is_visible(*queue.ring.find(sequence)) && holder_of(queue.id.value, session) == nullptr) {
      q.available.insert({sequence, session});
    }
  };
  // Few sessions and many messages: ask the sessions.
  const std::uint32_t places = queue.sessions.end();
  if (places <= limits.available_max && places < queue.next_sequence - q.session_cursor) {
    for (std::uint32_t session = 0; session < places; ++session) {
      const Session& known = queue.sessions[session];
      if (known.count > 0) consider(known.head, session);
    }
    searched += places;
    q.session_cursor = queue.next_sequence;
    return !q.available.empty();
  }
  const std::size_t enough = std::max<std::size_t>(limits.available_max / 2, 1);
  while (q.available.size() < enough) {
    const std::uint64_t sequence = queue.next_active(q.session_cursor);
    if (sequence == 0) {
      q.session_cursor = queue.next_sequence;
      break;
    }
    if (!step(q)) break;
    q.session_cursor = sequence + 1;
    const std::uint32_t session = queue.ring.find(sequence)->session;
    if (queue.sessions[session].head == sequence) consider(sequence, session);
  }
  return !q.available.empty();
}

}  // namespace mainstay::broker
