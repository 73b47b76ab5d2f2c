// What is had by sequence number: deferred messages, a look into the queue; and scheduled messages until they
// are there.
#include <algorithm>
#include <map>

#include "broker/leader_impl.h"

namespace mainstay::broker {

namespace {

BrokerError no_queue(QueueId queue) {
  return {ErrorCode::queue_not_found, "there is no queue with id " + std::to_string(queue.value)};
}

BrokerError not_found(SequenceNumber sequence, const char* why) {
  return {ErrorCode::message_not_found, "message " + std::to_string(sequence.value) + " " + why};
}

std::optional<SequenceNumber> named_twice(std::span<const SequenceNumber> sequences) {
  std::vector<SequenceNumber> sorted(sequences.begin(), sequences.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice == sorted.end()) return std::nullopt;
  return *twice;
}

BytesView bytes_of(std::span<const std::uint64_t> sequences) {
  return std::as_bytes(sequences);
}

std::vector<std::uint64_t> values(std::span<const SequenceNumber> sequences) {
  std::vector<std::uint64_t> out;
  out.reserve(sequences.size());
  for (const SequenceNumber sequence : sequences) out.push_back(sequence.value);
  return out;
}

}  // namespace

void Leader::receive_deferred(const ReceiveDeferred& receive, Instant now, WallTime wall,
                              std::vector<Output>& out) {
  impl_->begin();
  impl_->receive_deferred(receive, {now, wall}, out);
  impl_->end({now, wall}, out);
}

void Leader::peek(const Peek& peek, std::vector<Output>& out) const {
  out.emplace_back(impl_->peek(peek));
  impl_->state.trim();
}

void Leader::cancel_scheduled(const CancelScheduled& cancel, Instant now, WallTime wall,
                              std::vector<Output>& out) {
  impl_->begin();
  impl_->cancel_scheduled(cancel, {now, wall}, out);
  impl_->end({now, wall}, out);
}

std::optional<ConsumerId> Leader::session_holder(QueueId queue, std::string_view session_id,
                                                 Instant now) const {
  const QueueRuntime* q = impl_->find(queue);
  if (q == nullptr) return std::nullopt;
  const auto held = q->held.find(session_id);
  if (held == q->held.end() || held->second->deadline <= now) return std::nullopt;
  return held->second->id;
}

void Leader::Impl::receive_deferred(const ReceiveDeferred& receive, Times t, std::vector<Output>& out) {
  Fetched done;
  done.tag = receive.tag;
  const auto refuse = [&](BrokerError error) {
    done.error = std::move(error);
    out.emplace_back(std::move(done));
  };
  QueueRuntime* q = find(receive.queue);
  if (q == nullptr) return refuse(no_queue(receive.queue));
  const std::uint32_t id = receive.queue.value;
  Consumer* holder = nullptr;
  if (q->has_sessions() && receive.sub == SubQueue::active) {
    const auto found = consumers.find(receive.holder);
    if (found != consumers.end()) holder = found->second.get();
    if (holder == nullptr || holder->queue != id || !holder->holds || holder->deadline <= t.now) {
      return refuse({ErrorCode::session_lock_lost,
                     "deferred messages of a session are for the receiver that "
                     "holds it, and this one does not (any more)"});
    }
  }
  const bool lapsed =
      std::any_of(receive.sequences.begin(), receive.sequences.end(), [&](SequenceNumber sequence) {
        const std::uint32_t lock = lock_on(id, sequence.value);
        return lock != kNone && !locks[lock].in_session && locks[lock].expires <= t.now;
      });
  if (lapsed) tick(t, out);
  if (auto problem = not_receivable(*q, receive, holder)) return refuse(std::move(*problem));

  done.messages.reserve(receive.sequences.size());
  done.after = std::max(takeover, q->deferred_change);
  for (const SequenceNumber sequence : receive.sequences) {
    const Message& message = *q->queue->ring.find(sequence.value);
    Delivery& d = done.messages.emplace_back();
    describe(*q, sequence.value, message, d);
    done.after = std::max(done.after, d.lsn);
    state.trim();
  }
  if (receive.mode == ReceiveMode::receive_and_delete) {
    if (!receive.sequences.empty()) {
      if (holder != nullptr) {
        static_cast<void>(leave_session(*q, holdings[holder->holding].session, 0,
                                        static_cast<std::uint32_t>(receive.sequences.size())));
      }
      const auto sequences = values(receive.sequences);
      done.after = record(MessagesSettled{log_now(t.wall), receive.queue, RemovalCause::received_and_deleted,
                                          bytes_of(sequences)});
    }
    out.emplace_back(std::move(done));
    return;
  }
  const std::int64_t duration_ms = q->queue->options.lock_duration_ms;
  for (Delivery& d : done.messages) {
    const std::uint32_t index = new_lock(id, d.sequence.value);
    Lock& lock = locks[index];
    lock.after = done.after;
    lock.sub = receive.sub;
    lock.deferred = true;
    lock.in_session = holder != nullptr;
    ++q->deferred_locked;
    d.token = lock.token;
    if (holder != nullptr) {
      lock.consumer = holder->id;
      lock.expires = {std::numeric_limits<std::int64_t>::max()};
      link_by_expiry(holder->outstanding, index);
      d.locked_until = holder->locked_until;
    } else {
      lock.expires = t.now + milliseconds(duration_ms);
      link_by_expiry(q->locks, index);
      lock_timers.arm(id - 1, lock.expires);
      d.locked_until = {t.wall.ms + duration_ms};
    }
  }
  out.emplace_back(std::move(done));
}

std::optional<BrokerError> Leader::Impl::not_receivable(const QueueRuntime& q, const ReceiveDeferred& receive,
                                                        const Consumer* holder) const {
  if (const auto twice = named_twice(receive.sequences)) return not_found(*twice, "is asked for twice");
  std::uint32_t session = kNone;
  if (holder != nullptr && holder->holding != kNone) session = holdings[holder->holding].session;
  for (const SequenceNumber sequence : receive.sequences) {
    const Message* message = q.queue->ring.find(sequence.value);
    const bool deferred =
        message != nullptr && message->place == receive.sub && message->state == MessageState::deferred;
    const bool fits = deferred && message->session == session;
    state.trim();
    if (!fits) {
      return not_found(sequence, deferred ? "is not of the session that this receiver holds"
                                          : "is not deferred in this queue");
    }
    if (is_locked(q, sequence.value)) return not_found(sequence, "is locked by another receiver");
  }
  return std::nullopt;
}

Fetched Leader::Impl::peek(const Peek& peek) const {
  Fetched done;
  done.tag = peek.tag;
  const QueueRuntime* q = find(peek.queue);
  if (q == nullptr) {
    done.error = no_queue(peek.queue);
    return done;
  }
  const Queue& queue = *q->queue;
  std::uint32_t session = kNone;
  if (peek.session_id) {
    session = queue.find_session(*peek.session_id);
    if (session == kNone || peek.sub == SubQueue::dead_letter) return done;  // nothing has this session
  }
  done.after = state.applied_lsn;
  std::uint64_t steps = limits.search_steps_max;
  std::uint64_t sequence = queue.ring.next_in(peek.sub, peek.from.value);
  for (; sequence != 0 && done.messages.size() < peek.max; state.trim()) {
    const Message& message = *queue.ring.find(sequence);
    if (message.session == session || !peek.session_id) {
      describe(*q, sequence, message, done.messages.emplace_back());
    } else if (--steps == 0) {
      done.next = SequenceNumber{sequence + 1};
      break;
    }
    sequence = queue.ring.next_in(peek.sub, sequence + 1);
  }
  return done;
}

void Leader::Impl::cancel_scheduled(const CancelScheduled& cancel, Times t, std::vector<Output>& out) {
  SettleDone done{cancel.tag, {}, std::nullopt};
  const auto refuse = [&](BrokerError error) {
    done.error = std::move(error);
    out.emplace_back(std::move(done));
  };
  QueueRuntime* q = find(cancel.queue);
  if (q == nullptr) return refuse(no_queue(cancel.queue));
  if (const auto twice = named_twice(cancel.sequences)) return refuse(not_found(*twice, "is named twice"));
  std::map<std::uint32_t, std::uint32_t> sessions;  // and how many of each
  for (const SequenceNumber sequence : cancel.sequences) {
    const Message* message = q->queue->ring.find(sequence.value);
    if (message == nullptr || message->state != MessageState::scheduled) {
      return refuse(not_found(sequence, "is not scheduled (any more)"));
    }
    if (message->session != kNone) ++sessions[message->session];
    state.trim();
  }
  if (!cancel.sequences.empty()) {
    for (const auto& [session, count] : sessions) {
      static_cast<void>(leave_session(*q, session, 0, count));
    }
    const auto sequences = values(cancel.sequences);
    done.after =
        record(MessagesSettled{log_now(t.wall), cancel.queue, RemovalCause::cancelled, bytes_of(sequences)});
  }
  out.emplace_back(std::move(done));
}

void Leader::Impl::watch_schedule(QueueRuntime& q, std::uint64_t sequence, std::int64_t due_ms) {
  q.schedule.watch(sequence, due_ms, q.queue->ring);
  schedule_timers.arm(q.queue->id.value - 1, due_ms);
}

/// In order of their times; of equal ones in the order in which they were scheduled.
void Leader::Impl::activate_due(QueueRuntime& q, Times t) {
  std::vector<std::uint64_t> found;
  more_has_expired =
      q.schedule.collect(q.queue->ring, log_now(t.wall).ms, kExpiredPerCall, found) || more_has_expired;
  std::vector<std::pair<std::int64_t, std::uint64_t>> due;
  due.reserve(found.size());
  for (const std::uint64_t sequence : found) {
    due.emplace_back(q.queue->ring.find(sequence)->enqueued_ms, sequence);
    state.trim();
  }
  std::sort(due.begin(), due.end());
  due.erase(std::unique(due.begin(), due.end()), due.end());  // a page may have been due twice
  for (const auto& [at, sequence] : due) {
    activate(q, sequence, t);
    state.trim();
  }
}

void Leader::Impl::activate(QueueRuntime& q, std::uint64_t sequence, Times t) {
  const Message was = *q.queue->ring.find(sequence);
  MessageActivated effect{log_now(t.wall), q.queue->id, SequenceNumber{sequence},
                          SequenceNumber{q.queue->next_sequence}, 0};
  if (was.expires_ms != 0 && was.expires_ms - was.enqueued_ms < kTimeMax_ms - effect.time.ms) {
    effect.expires_ms = effect.time.ms + (was.expires_ms - was.enqueued_ms);
  }
  const Lsn lsn = record(effect);
  if (effect.expires_ms != 0) watch_expiry(q, effect.sequence.value, effect.expires_ms);
  // Its payload may have been committed long ago, its being there is not.
  if (was.session == kNone) {
    q.active.after = std::max(q.active.after, lsn);
    mark(q);
  } else {
    q.session_failure = std::max(q.session_failure, lsn);
    if (Consumer* holder = holder_of(q.queue->id.value, was.session); holder != nullptr) {
      holder->after = std::max(holder->after, lsn);
      if (holder->next == 0) holder->next = effect.sequence.value;
      mark(*holder);
    } else {
      offer_session(q, was.session);
    }
  }
  if (!is_visible(was)) {
    activated_uncommitted.emplace(Lsn{was.lsn},
                                  Uncommitted{Lsn{was.lsn}, q.queue->id.value, effect.sequence.value});
  }
}

}  // namespace mainstay::broker
