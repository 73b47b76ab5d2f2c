// Consumers come and go; sessions are held by one of them at a time.
#include <algorithm>

#include "broker/leader_impl.h"

namespace mainstay::broker {

void Leader::subscribe(const Subscribe& subscribe, Instant now, WallTime wall, std::vector<Output>& out) {
  impl_->begin();
  impl_->subscribe(subscribe, {now, wall}, out);
  impl_->end({now, wall}, out);
}

void Leader::Impl::subscribe(const Subscribe& subscribe, Times t, std::vector<Output>& out) {
  const auto refuse = [&](ErrorCode code, std::string what) {
    out.emplace_back(Unsubscribed{subscribe.consumer, {code, std::move(what)}});
  };
  MS_ASSERT(!consumers.contains(subscribe.consumer), "a consumer subscribes once");
  QueueRuntime* q = find(subscribe.queue);
  if (q == nullptr) {
    return refuse(ErrorCode::queue_not_found,
                  "there is no queue with id " + std::to_string(subscribe.queue.value));
  }
  const std::string& name = q->queue->name;
  const bool wants_session = subscribe.session != Subscribe::Session::none;
  const bool has_sessions = q->has_sessions() && subscribe.sub == SubQueue::active;
  if (wants_session && !has_sessions) {
    return refuse(ErrorCode::session_not_supported,
                  subscribe.sub == SubQueue::dead_letter
                      ? "the dead-letter queue of '" + name + "' has no sessions: receive without one"
                      : "queue '" + name + "' has no sessions: receive without one");
  }
  if (!wants_session && has_sessions) {
    return refuse(ErrorCode::session_required,
                  "queue '" + name + "' requires sessions: accept a named or the next available session");
  }
  if (subscribe.session == Subscribe::Session::named) {
    if (subscribe.session_id.size() > kIdBytesMax) {
      return refuse(ErrorCode::id_too_long, "the session id is over 128 characters");
    }
    auto holder = q->held.find(subscribe.session_id);
    if (holder != q->held.end() && holder->second->deadline <= t.now) {
      tick(t, out);
      holder = q->held.find(subscribe.session_id);
    }
    if (holder != q->held.end()) {
      return refuse(ErrorCode::session_locked, "session '" + subscribe.session_id + "' of queue '" + name +
                                                   "' is held by another receiver");
    }
  }

  auto owned = std::make_unique<Consumer>();
  Consumer& c = *owned;
  c.id = subscribe.consumer;
  c.queue = subscribe.queue.value;
  c.sub = subscribe.sub;
  c.mode = subscribe.mode;
  c.window = subscribe.window;
  consumers.emplace(c.id, std::move(owned));
  if (!wants_session) {
    out.emplace_back(Subscribed{c.id, std::nullopt, {}});
    return;
  }
  if (subscribe.session == Subscribe::Session::named) return grant(*q, c, subscribe.session_id, t, out);
  c.waiting = true;
  q->waiting.push(c.id);
  set_timer(c, subscribe.session_deadline);
  mark(*q);
  dispatch_dirty(t, out);
  // While the search goes on the next tick() ends the wait.
  if (c.waiting && c.deadline <= t.now && !q->searching) tick(t, out);
}

void Leader::unsubscribe(ConsumerId consumer, Instant now, WallTime wall, std::vector<Output>& out) {
  impl_->begin();
  impl_->unsubscribe(consumer, {now, wall});
  impl_->end({now, wall}, out);
}

void Leader::Impl::unsubscribe(ConsumerId id, Times t) {
  const auto found = consumers.find(id);
  if (found == consumers.end()) return;  // ended by the broker while the caller's detach was under way
  Consumer& c = *found->second;
  QueueRuntime& q = *queues[c.queue - 1];
  if (c.holds) {
    // A lock that ran out before the receiver left has failed all the same.
    end_session(q, c, c.deadline <= t.now, t);
    return;
  }
  if (c.waiting) {
    q.waiting.erase(id);
    clear_timer(c);
  }
  forget(c);
}

void Leader::Impl::forget(Consumer& c) {
  leave_line(*queues[c.queue - 1], c);
  stop_draining(c);
  consumers.erase(c.id);
}

void Leader::Impl::grant(QueueRuntime& q, Consumer& c, std::string session_id, Times t,
                         std::vector<Output>& out) {
  c.waiting = false;
  c.holds = true;
  c.session_id = std::move(session_id);
  c.last_after = q.session_failure;
  set_timer(c, t.now + milliseconds(q.queue->options.lock_duration_ms));
  c.locked_until = {t.wall.ms + q.queue->options.lock_duration_ms};
  q.held.emplace(c.session_id, &c);
  if (const std::uint32_t session = q.queue->find_session(c.session_id); session != kNone) {
    c.next = q.queue->sessions[session].head;
    q.available.erase({c.next, session});
    hold(q, session, c);
  }
  out.emplace_back(Subscribed{c.id, c.session_id, c.locked_until});
}

/// Frees the session and forgets the consumer. `failed`: its unsettled messages count as failed deliveries.
void Leader::Impl::end_session(QueueRuntime& q, Consumer& c, bool failed, Times t) {
  let_go(q, c);
  std::vector<Lock> unsettled;
  while (c.outstanding.first != kNone) {
    unsettled.push_back(locks[c.outstanding.first]);
    free_lock(q, c.outstanding.first);
  }
  q.held.erase(c.session_id);
  clear_timer(c);
  const std::string session_id = std::move(c.session_id);
  forget(c);
  std::sort(unsettled.begin(), unsettled.end(),
            [](const Lock& a, const Lock& b) { return a.sequence < b.sequence; });
  for (const Lock& lock : unsettled) {
    Failed outcome;
    if (failed) outcome = fail_delivery(q, lock.sequence, FailureCause::session_lock_lost, nullptr, t);
    if (!outcome.dead_lettered) give_back(q, lock, outcome.lsn, t);
  }
  const std::uint32_t session = q.queue->find_session(session_id);
  if (session != kNone) offer_session(q, session);
}

Result<WallTime, BrokerError> Leader::renew_session_lock(ConsumerId consumer, Instant now, WallTime wall) {
  Impl& leader = *impl_;
  const auto found = leader.consumers.find(consumer);
  if (found == leader.consumers.end() || !found->second->holds || found->second->deadline <= now) {
    return BrokerError{ErrorCode::session_lock_lost,
                       "this receiver does not hold its session any more; accept it again"};
  }
  Consumer& c = *found->second;
  const std::int64_t duration_ms = leader.queues[c.queue - 1]->queue->options.lock_duration_ms;
  leader.set_timer(c, now + milliseconds(duration_ms));
  c.locked_until = {wall.ms + duration_ms};
  return c.locked_until;
}

std::uint32_t Leader::Impl::oldest_available(QueueRuntime& q, Times t) {
  while (!q.available.empty() || search_sessions(q)) {
    const Available a = *q.available.begin();
    q.available.erase(q.available.begin());
    if (!is_expired(*q.queue->ring.find(a.head), t.wall)) return a.session;
    expire(q, a.head, t);  // offers what follows it
  }
  return kNone;
}

void Leader::Impl::assign_sessions(QueueRuntime& q, Times t, std::vector<Output>& out) {
  while (!q.waiting.empty()) {
    const std::uint32_t session = oldest_available(q, t);
    if (session == kNone) return;
    Consumer& c = *consumers.at(q.waiting.front());
    q.waiting.pop();
    grant(q, c, q.queue->sessions[session].id, t, out);
    dispatch_holder(q, c, t, out);
  }
}

void Leader::Impl::run_timers(Times t, std::vector<Output>& out) {
  while (!timers.empty() && timers.begin()->first <= t.now) {
    Consumer& c = *consumers.at(timers.begin()->second);
    QueueRuntime& q = *queues[c.queue - 1];
    const ConsumerId id = c.id;
    const std::string& name = q.queue->name;
    if (c.holds) {
      const std::string session_id = c.session_id;
      end_session(q, c, true, t);
      out.emplace_back(
          Unsubscribed{id,
                       {ErrorCode::session_lock_lost,
                        "the lock of session '" + session_id + "' of queue '" + name + "' has expired"}});
    } else {
      q.waiting.erase(id);
      clear_timer(c);
      forget(c);
      out.emplace_back(Unsubscribed{
          id, {ErrorCode::session_timeout, "no session of queue '" + name + "' became available in time"}});
    }
  }
}

void Leader::Impl::set_timer(Consumer& c, Instant at) {
  timers.erase({c.deadline, c.id});
  c.deadline = at;
  timers.emplace(at, c.id);
}

void Leader::Impl::clear_timer(Consumer& c) {
  timers.erase({c.deadline, c.id});
}

}  // namespace mainstay::broker
