// How messages leave and come back: settlement, failed deliveries, dead-lettering, expiry.
#include <algorithm>
#include <array>

#include "broker/leader_impl.h"
#include "broker/property_merge.h"

namespace mainstay::broker {

namespace {

/// At most kReasonCharactersMax characters, never half of one.
std::string_view cut_reason(std::string_view text) {
  if (text.size() <= kReasonCharactersMax) return text;
  std::size_t seen = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const bool starts = (static_cast<unsigned char>(text[at]) & 0xc0) != 0x80;
    if ((starts && ++seen > kReasonCharactersMax) || at == kReasonBytesMax) return text.substr(0, at);
  }
  return text;
}

BrokerError lock_lost() {
  return {ErrorCode::message_lock_lost,
          "the lock has expired or the message was settled before; receive it again"};
}

}  // namespace

void Leader::settle(const Settle& settle, Instant now, WallTime wall, std::vector<Output>& out) {
  impl_->begin();
  impl_->settle(settle, {now, wall}, out);
  impl_->end({now, wall}, out);
}

void Leader::Impl::settle(const Settle& settle, Times t, std::vector<Output>& out) {
  std::uint32_t index = find_lock(settle.token);
  if (index != kNone) {
    const Lock& found = locks[index];
    const Instant expires = found.in_session ? consumers.at(found.consumer)->deadline : found.expires;
    if (expires <= t.now) {
      tick(t, out);
      index = kNone;
    }
  }
  if (index == kNone) {
    out.emplace_back(SettleDone{settle.tag, {}, lock_lost()});
    return;
  }
  const Lock lock = locks[index];
  QueueRuntime& q = *queues[lock.queue - 1];
  if (settle.how == Settlement::dead_letter && lock.sub == SubQueue::dead_letter) {
    out.emplace_back(
        SettleDone{settle.tag,
                   {},
                   BrokerError{ErrorCode::cannot_dead_letter,
                               "the message is in the dead-letter queue already; complete or abandon it"}});
    return;
  }
  if (settle.holder != 0 && lock.in_session && lock.consumer != settle.holder) {
    out.emplace_back(SettleDone{
        settle.tag,
        {},
        BrokerError{ErrorCode::session_lock_lost, "another receiver holds the session of this message"}});
    return;
  }
  const Message& message = *q.queue->ring.find(lock.sequence);
  std::optional<Buffer> properties;
  if (!settle.modified_properties.empty() && settle.how != Settlement::complete &&
      settle.how != Settlement::release) {
    const BytesView before =
        message.annotated ? BytesView(q.queue->annotations.at(lock.sequence).properties) : BytesView{};
    properties = merge_properties(before, settle.modified_properties, kModifiedPropertiesBytesMax);
  }
  const Buffer* merged = properties ? &*properties : nullptr;
  free_lock(q, index);
  SettleDone done{settle.tag, {}, std::nullopt};
  switch (settle.how) {
    case Settlement::complete:
      done.after = remove(q, lock.sequence, RemovalCause::completed, t);
      break;
    case Settlement::dead_letter:
      done.after = dead_letter(q, lock.sequence, DeadLetterCause::application, message.delivery_count,
                               cut_reason(settle.reason), cut_reason(settle.description), merged, t);
      break;
    case Settlement::abandon: {
      const Failed failed = fail_delivery(q, lock.sequence, FailureCause::abandoned, merged, t);
      done.after = failed.lsn;
      if (!failed.dead_lettered) give_back(q, lock, failed.lsn, t);
      break;
    }
    case Settlement::release:
      give_back(q, lock, {}, t);
      break;
    case Settlement::defer:
      done.after = defer(q, lock.sequence, merged, t);
      break;
  }
  out.emplace_back(std::move(done));
}

Result<WallTime, BrokerError> Leader::renew_lock(LockToken token, Instant now, WallTime wall) {
  Impl& leader = *impl_;
  const std::uint32_t index = leader.find_lock(token);
  if (index == kNone) return lock_lost();
  Lock& lock = leader.locks[index];
  QueueRuntime& q = *leader.queues[lock.queue - 1];
  if (lock.in_session) {  // its lock is the session's, which only renew_session_lock() prolongs
    const Consumer& holder = *leader.consumers.at(lock.consumer);
    if (holder.deadline <= now) return lock_lost();
    return holder.locked_until;
  }
  if (lock.expires <= now) return lock_lost();
  leader.unlink(q.locks, index);
  lock.expires = now + milliseconds(q.queue->options.lock_duration_ms);
  leader.link_by_expiry(q.locks, index);
  leader.lock_timers.arm(lock.queue - 1, lock.expires);  // earlier than before when the duration was changed
  return WallTime{wall.ms + q.queue->options.lock_duration_ms};
}

/// The message is about to leave its lane or session: nothing remembers it.
void Leader::Impl::step_over(QueueRuntime& q, std::uint64_t sequence, const Message& message) {
  if (message.hidden()) return;
  if (message.session == kNone) {
    Lane& lane = q.lane(message.place);
    if (!lane.returned.empty()) lane.returned.erase(sequence);
  } else if (Consumer* holder = holder_of(q.queue->id.value, message.session); holder != nullptr) {
    if (holder->next == sequence) {
      holder->next = message.session_next;
      mark(*holder);
    }
    if (!holder->returned.empty()) holder->returned.erase(sequence);
  }
}

/// So many messages are about to leave the session's list, and the session for good. @return whether it is to
/// be offered then.
bool Leader::Impl::leave_session(QueueRuntime& q, std::uint32_t session, std::uint32_t listed,
                                 std::uint32_t for_good) {
  const Session& s = q.queue->sessions[session];
  Consumer* holder = holder_of(q.queue->id.value, session);
  if (holder == nullptr) {
    if (listed != 0) q.available.erase({s.head, session});
    return listed != 0 && s.count > listed;
  }
  if (s.messages() == for_good) let_go(q, *holder);  // `held` still knows the holder
  return false;
}

Lsn Leader::Impl::remove(QueueRuntime& q, std::uint64_t sequence, RemovalCause cause, Times t) {
  const Message& message = *q.queue->ring.find(sequence);
  const std::uint32_t session = message.session;
  step_over(q, sequence, message);
  const bool stays = session != kNone && leave_session(q, session, message.hidden() ? 0 : 1, 1);
  const Lsn lsn = record(MessagesSettled{log_now(t.wall), q.queue->id, cause,
                                         std::as_bytes(std::span<const std::uint64_t, 1>(&sequence, 1))});
  if (stays) offer_session(q, session);
  return lsn;
}

Lsn Leader::Impl::dead_letter(QueueRuntime& q, std::uint64_t sequence, DeadLetterCause cause,
                              std::uint32_t count, std::string_view reason, std::string_view description,
                              const Buffer* properties, Times t) {
  const Message& message = *q.queue->ring.find(sequence);
  const std::uint32_t session = message.session;
  step_over(q, sequence, message);
  const bool stays = session != kNone && leave_session(q, session, message.hidden() ? 0 : 1, 1);
  const Lsn lsn = record(MessageDeadLettered{log_now(t.wall), q.queue->id, SequenceNumber{sequence}, count,
                                             cause, properties != nullptr, reason, description,
                                             properties != nullptr ? BytesView(*properties) : BytesView{}});
  if (stays) offer_session(q, session);
  put_back(q, SubQueue::dead_letter, sequence, lsn);
  return lsn;
}

Lsn Leader::Impl::defer(QueueRuntime& q, std::uint64_t sequence, const Buffer* properties, Times t) {
  const Message& message = *q.queue->ring.find(sequence);
  const std::uint32_t session = message.session;
  step_over(q, sequence, message);
  const bool offered = session != kNone && !message.hidden() && leave_session(q, session, 1, 0);
  q.deferred_change = record(MessageDeferred{log_now(t.wall), q.queue->id, SequenceNumber{sequence},
                                             count_after(message), properties != nullptr,
                                             properties != nullptr ? BytesView(*properties) : BytesView{}});
  if (offered) offer_session(q, session);
  return q.deferred_change;
}

Leader::Impl::Failed Leader::Impl::fail_delivery(QueueRuntime& q, std::uint64_t sequence, FailureCause cause,
                                                 const Buffer* properties, Times t) {
  const Message& message = *q.queue->ring.find(sequence);
  const std::uint32_t count = count_after(message);
  if (message.place == SubQueue::active) {
    if (message.session != kNone) q.session_failure = state.applied_lsn.next();
    if (!message.hidden() && count >= q.queue->options.max_delivery_count) {
      const std::string description =
          "Message could not be consumed after " + std::to_string(count) + " delivery attempts.";
      return {dead_letter(q, sequence, DeadLetterCause::max_delivery_count, count, "MaxDeliveryCountExceeded",
                          description, properties, t),
              true};
    }
  } else if (properties == nullptr) {
    return {};  // nothing to record: deliveries out of a dead-letter queue do not count
  }
  const Lsn lsn = record(DeliveryFailed{log_now(t.wall), q.queue->id, SequenceNumber{sequence}, count, cause,
                                        properties != nullptr,
                                        properties != nullptr ? BytesView(*properties) : BytesView{}});
  if (message.hidden()) q.deferred_change = lsn;
  return {lsn, false};
}

/// The lock is gone, the message stays: it is available in its old place, or expires now if its time came
/// while it was locked. A deferred one is where it was.
void Leader::Impl::give_back(QueueRuntime& q, const Lock& lock, Lsn after, Times t) {
  after = std::max(after, lock.after);
  const Message& message = *q.queue->ring.find(lock.sequence);
  if (message.hidden()) return;
  if (message.session == kNone) {
    put_back(q, lock.sub, lock.sequence, after);
  } else {
    if (Consumer* holder = holder_of(lock.queue, message.session)) put_back(*holder, lock.sequence, after);
    q.session_failure = std::max(q.session_failure, after);
  }
  if (is_expired(message, t.wall))
    expire(q, lock.sequence, t);
  else if (message.expires_ms != 0)
    watch_expiry(q, lock.sequence, message.expires_ms);
}

void Leader::Impl::watch_expiry(QueueRuntime& q, std::uint64_t sequence, std::int64_t expires_ms) {
  q.expiry.watch(sequence, expires_ms, q.queue->ring);
  expiry_timers.arm(q.queue->id.value - 1, expires_ms);
}

bool Leader::Impl::is_expired(const Message& message, WallTime wall) const {
  return message.expires_ms != 0 && message.expires_ms <= log_now(wall).ms;
}

Lsn Leader::Impl::expire(QueueRuntime& q, std::uint64_t sequence, Times t) {
  mark(q);  // what is behind it may be committed
  if (!q.queue->options.dead_letter_on_expiry) return remove(q, sequence, RemovalCause::expired, t);
  return dead_letter(q, sequence, DeadLetterCause::expired, q.queue->ring.find(sequence)->delivery_count,
                     "TTLExpiredException", "The message expired and was dead lettered.", nullptr, t);
}

void Leader::Impl::expire_messages(QueueRuntime& q, Times t) {
  if (q.expiry.earliest_ms() > log_now(t.wall).ms) return;
  std::vector<std::uint64_t> due;
  // The rest expires with the next call: nobody waits long for many.
  more_has_expired =
      q.expiry.collect(q.queue->ring, log_now(t.wall).ms, kExpiredPerCall, due) || more_has_expired;
  // A locked message is its holder's until the lock ends; give_back() looks at its time again.
  std::erase_if(due, [&](std::uint64_t s) { return is_locked(q, s); });
  std::sort(due.begin(), due.end());
  due.erase(std::unique(due.begin(), due.end()), due.end());  // a page may have been due twice
  if (q.queue->options.dead_letter_on_expiry) {
    for (const std::uint64_t sequence : due) expire(q, sequence, t);
    return;
  }
  constexpr std::size_t kPerRecord = 4096;
  for (std::size_t from = 0; from < due.size(); from += kPerRecord) {
    const auto part =
        std::span<const std::uint64_t>(due).subspan(from, std::min(kPerRecord, due.size() - from));
    std::vector<std::uint32_t> sessions, staying;
    for (const std::uint64_t sequence : part) {  // in rising order: a holder steps over all of them
      const Message& message = *q.queue->ring.find(sequence);
      if (message.session != kNone) sessions.push_back(message.session);
      step_over(q, sequence, message);
    }
    std::sort(sessions.begin(), sessions.end());
    for (auto at = sessions.begin(); at != sessions.end();) {
      const auto end = std::upper_bound(at, sessions.end(), *at);
      const auto leaving = static_cast<std::uint32_t>(end - at);
      if (leave_session(q, *at, leaving, leaving)) staying.push_back(*at);
      at = end;
    }
    record(MessagesSettled{log_now(t.wall), q.queue->id, RemovalCause::expired, std::as_bytes(part)});
    for (const std::uint32_t session : staying) offer_session(q, session);
    mark(q);
  }
}

Lsn Leader::move_message(const journal::Record& record, SequenceNumber of, WallTime now) {
  Impl& leader = *impl_;
  MessageMoved effect;
  if (!read_stored_message(record, effect.message)) return {};
  QueueRuntime* q = leader.find(effect.message.queue);
  const std::uint64_t sequence = of.value;
  const Message* message = q == nullptr ? nullptr : q->queue->ring.find(sequence);
  if (message == nullptr || message->lsn != record.header.lsn.value) return {};
  // Until the new record is committed the message is not: committed() offers it again.
  if (message->session != kNone) q->available.erase({sequence, message->session});
  if (of != effect.message.sequence) effect.renumbered = of;
  effect.time = leader.log_now(now);
  const Lsn lsn = leader.record(effect);
  leader.uncommitted.push({lsn, effect.message.queue.value, sequence});
  leader.state.trim();
  return lsn;
}

void Leader::Impl::expire_locks(QueueRuntime& q, Times t) {
  while (q.locks.first != kNone && locks[q.locks.first].expires <= t.now) {
    const Lock lock = locks[q.locks.first];
    free_lock(q, q.locks.first);
    const Failed failed = fail_delivery(q, lock.sequence, FailureCause::lock_expired, nullptr, t);
    if (!failed.dead_lettered) give_back(q, lock, failed.lsn, t);
  }
}

}  // namespace mainstay::broker
