#include "broker/leader.h"

#include <algorithm>

#include "broker/bugs.h"
#include "broker/leader_impl.h"

namespace mainstay::broker {

namespace {

/// Characters, not bytes: continuation bytes of UTF-8 do not count.
std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

bool too_long(std::string_view id) {
  return id.size() > kIdCharactersMax && (id.size() > kIdBytesMax || characters(id) > kIdCharactersMax);
}

}  // namespace

Leader::Leader(State& state, journal::LogBuilder& log, Random& random, LeaderLimits limits)
    : impl_(std::make_unique<Impl>(state, log, random, limits)) {
  MS_ASSERT(log.end().lsn == state.applied(), "a leader takes over a state that is the log's end");
  MS_ASSERT(limits.search_steps_max > 0, "a search goes on");
  impl_->take_over();
  state.impl_->trim();
}
Leader::~Leader() = default;

void Leader::Impl::take_over() {
  takeover = state.applied_lsn;
  queues.reserve(state.queues.size());
  for (const auto& queue : state.queues) add_runtime(*queue);
}

void Leader::Impl::add_runtime(Queue& queue) {
  queues.push_back(std::make_unique<QueueRuntime>());
  QueueRuntime& q = *queues.back();
  q.queue = &queue;
  q.schedule.start(queue.ring);
  if (q.schedule.earliest_ms() != PageEntry::kNever_ms) {
    schedule_timers.arm(queue.id.value - 1, q.schedule.earliest_ms());
  }
  q.expiry.start(queue.ring);
  if (q.expiry.earliest_ms() != PageEntry::kNever_ms) {
    expiry_timers.arm(queue.id.value - 1, q.expiry.earliest_ms());
  }
}

WallTime Leader::Impl::log_now(WallTime wall) const {
  return {std::min(std::max(wall.ms, state.log_time.ms), kTimeMax_ms)};
}

Result<QueueId, BrokerError> Leader::declare_queue(std::string_view name, const QueueOptions& options,
                                                   WallTime now) {
  Impl& leader = *impl_;
  if (auto problem = queue_declaration_problem(name, options)) {
    return BrokerError{ErrorCode::bad_queue_options, "queue '" + std::string(name) + "': " + *problem};
  }
  const auto existing = leader.whole.find_queue(name);
  QueueDeclared effect{leader.log_now(now), {}, options, name};
  if (!existing) {
    effect.queue = QueueId{static_cast<std::uint32_t>(leader.queues.size() + 1)};
    leader.record(effect);
    leader.add_runtime(leader.state.at(effect.queue));
    return effect.queue;
  }
  const Queue& queue = leader.state.at(*existing);
  if (queue.options == options) return *existing;
  if (queue.options.requires_session != options.requires_session) {
    return BrokerError{ErrorCode::bad_queue_options,
                       "queue '" + queue.name + "' was declared " +
                           (queue.options.requires_session ? "with" : "without") +
                           " sessions, and that cannot change: declare a queue of another name"};
  }
  effect.queue = *existing;
  effect.name = queue.name;
  leader.record(effect);
  return *existing;
}

void Leader::publish(const Publish& publish, WallTime now, std::vector<Output>& out) {
  impl_->publish(publish, now, out);
  impl_->state.trim();
}

void Leader::Impl::publish(const Publish& publish, WallTime wall, std::vector<Output>& out) {
  PublishDone done;
  done.tag = publish.tag;
  done.durability = publish.durability;
  const auto refuse = [&](ErrorCode code, std::string what) {
    done.error = BrokerError{code, std::move(what)};
    out.emplace_back(std::move(done));
  };
  QueueRuntime* q = find(publish.queue);
  if (q == nullptr) {
    return refuse(ErrorCode::queue_not_found,
                  "there is no queue with id " + std::to_string(publish.queue.value));
  }
  Queue& queue = *q->queue;
  if (q->has_sessions() && !publish.has_session) {
    return refuse(ErrorCode::session_required, "queue '" + queue.name +
                                                   "' requires sessions and the message has no group-id: set "
                                                   "one");
  }
  if (too_long(publish.message_id)) {
    return refuse(ErrorCode::id_too_long,
                  "the message-id is over " + std::to_string(kIdCharactersMax) + " characters");
  }
  if (q->has_sessions() && too_long(publish.session_id)) {
    return refuse(ErrorCode::id_too_long,
                  "the session id (group-id) is over " + std::to_string(kIdCharactersMax) + " characters");
  }

  StoredMessage effect;
  effect.queue = publish.queue;
  effect.enqueued = log_now(wall);
  if (queue.options.duplicate_detection && !publish.message_id.empty()) {
    const WindowEntry* entry = queue.find_duplicate(publish.message_id);
    if (entry == nullptr && resurrected(Bug::duplicates_by_watermark))
      entry = queue.window.find_later_of_series(publish.message_id);
    if (entry != nullptr && entry->time_ms + queue.options.duplicate_window_ms > effect.enqueued.ms) {
      ++q->duplicates_dropped;
      done.after = Lsn{entry->lsn};
      done.duplicate = true;
      done.sequence = SequenceNumber{entry->sequence};
      out.emplace_back(std::move(done));
      return;
    }
  }
  const bool later = publish.scheduled_enqueue && *publish.scheduled_enqueue > effect.enqueued;
  const WallTime from{later ? std::min(publish.scheduled_enqueue->ms, kTimeMax_ms) : effect.enqueued.ms};
  std::int64_t ttl_ms = queue.options.default_ttl_ms > 0 ? queue.options.default_ttl_ms : kTimeMax_ms;
  if (publish.ttl_ms >= 0) ttl_ms = std::min(ttl_ms, publish.ttl_ms);
  if (ttl_ms < kTimeMax_ms - from.ms) effect.expires_ms = std::max<std::int64_t>(from.ms + ttl_ms, 1);
  effect.sequence = SequenceNumber{queue.next_sequence};
  effect.message_format = publish.message_format;
  effect.message_id = publish.message_id;
  effect.has_session = q->has_sessions();
  if (effect.has_session) effect.session_id = publish.session_id;
  effect.payload = publish.payload;
  const Lsn lsn = later ? record(MessageScheduled{from, effect}) : record(effect);

  const std::uint64_t sequence = effect.sequence.value;
  if (later) watch_schedule(*q, sequence, from.ms);
  if (effect.expires_ms != 0 || effect.has_session) {
    if (effect.expires_ms != 0 && !later) watch_expiry(*q, sequence, effect.expires_ms);
    if (effect.has_session) {
      const std::uint32_t session = queue.ring.find(sequence)->session;
      Consumer* holder = holder_of(queue.id.value, session);
      if (holder == nullptr && !q->held.empty() && queue.sessions[session].messages() == 1) {
        if (const auto held = q->held.find(publish.session_id); held != q->held.end()) {
          holder = held->second;
          hold(*q, session, *holder);
        }
      }
      if (holder != nullptr && holder->next == 0 && !later) holder->next = sequence;
    }
  }
  if (!later) uncommitted.push({lsn, publish.queue.value, sequence});
  done.after = lsn;
  done.sequence = effect.sequence;
  out.emplace_back(std::move(done));
}

void Leader::committed(Lsn lsn, Instant now, WallTime wall, std::vector<Output>& out) {
  impl_->begin();
  impl_->committed(lsn);
  impl_->end({now, wall}, out);
}

void Leader::Impl::committed(Lsn lsn) {
  MS_ASSERT(lsn <= state.applied_lsn, "what was never decided cannot be committed");
  resume_searches();
  if (lsn <= committed_lsn) return;
  committed_lsn = lsn;
  while (!uncommitted.empty() && uncommitted.front().lsn <= lsn) {
    const Uncommitted one = uncommitted.front();
    uncommitted.pop();
    became_visible(one);
  }
  while (!activated_uncommitted.empty() && activated_uncommitted.begin()->first <= lsn) {
    const Uncommitted one = activated_uncommitted.begin()->second;
    activated_uncommitted.erase(activated_uncommitted.begin());
    became_visible(one);
  }
}

void Leader::Impl::became_visible(const Uncommitted& one) {
  QueueRuntime& q = *queues[one.queue - 1];
  if (!q.has_sessions()) return mark(q);
  const Message* message = q.queue->ring.find(one.sequence);
  if (message == nullptr) return;
  if (message->session == kNone) {
    mark(q);  // dead-lettered since
  } else if (Consumer* holder = holder_of(one.queue, message->session); holder != nullptr) {
    mark(*holder);
  } else if (q.queue->sessions[message->session].head == one.sequence) {
    offer_session(q, message->session);
  }
}

void Leader::Impl::mark(QueueRuntime& q) {
  if (q.dirty) return;
  q.dirty = true;
  dirty_queues.push_back(q.queue->id.value);
}

void Leader::Impl::mark(Consumer& holder) {
  if (holder.dirty) return;
  holder.dirty = true;
  dirty_holders.push_back(holder.id);
}

void Leader::Impl::end(Times t, std::vector<Output>& out) {
  seen = t;
  dispatch_dirty(t, out);
  if (!draining.empty()) finish_drains(out);
  state.trim();
}

void Leader::tick(Instant now, WallTime wall, std::vector<Output>& out) {
  impl_->begin();
  impl_->tick({now, wall}, out);
  impl_->end({now, wall}, out);
}

void Leader::Impl::tick(Times t, std::vector<Output>& out) {
  if (log_now(t.wall).ms >= state.next_window_end_ms) record(TimeAdvanced{log_now(t.wall)});
  while (!lock_timers.empty() && lock_timers.first().at <= t.now) {
    const std::uint32_t index = lock_timers.first().id;
    lock_timers.pop();
    QueueRuntime& q = *queues[index];
    expire_locks(q, t);
    if (q.locks.first != kNone) lock_timers.arm(index, locks[q.locks.first].expires);
    state.trim();
  }
  more_has_expired = false;
  std::vector<std::uint32_t> due;
  while (!schedule_timers.empty() && schedule_timers.first().at <= log_now(t.wall).ms) {
    due.push_back(schedule_timers.first().id);
    schedule_timers.pop();
  }
  for (const std::uint32_t index : due) {
    QueueRuntime& q = *queues[index];
    activate_due(q, t);
    if (q.schedule.earliest_ms() != PageEntry::kNever_ms)
      schedule_timers.arm(index, q.schedule.earliest_ms());
  }
  due.clear();
  while (!expiry_timers.empty() && expiry_timers.first().at <= log_now(t.wall).ms) {
    due.push_back(expiry_timers.first().id);
    expiry_timers.pop();
  }
  for (const std::uint32_t index : due) {
    QueueRuntime& q = *queues[index];
    expire_messages(q, t);
    if (q.expiry.earliest_ms() != PageEntry::kNever_ms) expiry_timers.arm(index, q.expiry.earliest_ms());
    state.trim();
  }
  if (!unfinished.empty()) {
    resume_searches();
    dispatch_dirty(t, out);  // who waits gets what is there before the wait ends
  }
  run_timers(t, out);
  dispatch_dirty(t, out);
}

std::optional<Instant> Leader::next_deadline() const {
  const Impl& leader = *impl_;
  if (leader.more_has_expired || searching()) return Instant{};
  std::optional<Instant> next;
  if (!leader.lock_timers.empty()) next = leader.lock_timers.first().at;
  if (!leader.timers.empty() && (!next || leader.timers.begin()->first < *next)) {
    next = leader.timers.begin()->first;
  }
  if (!leader.schedule_timers.empty()) {
    // The wall clock as it went since the last call; when it jumps the tick of every second finds out.
    constexpr std::int64_t kLongest_ms = 60'000;
    const std::int64_t wait_ms =
        std::clamp<std::int64_t>(leader.schedule_timers.first().at - leader.seen.wall.ms, 0, kLongest_ms);
    const Instant due = leader.seen.now + milliseconds(wait_ms);
    if (!next || due < *next) next = due;
  }
  return next;
}

bool Leader::searching() const {
  return !impl_->unfinished.empty();
}

std::uint64_t Leader::searched() const {
  return impl_->searched;
}

Lsn Leader::record_state_hash() {
  Buffer body;
  ByteWriter(body).u64_le(impl_->whole.hash());
  return record_other(journal::RecordType::state_hash, body);
}

Lsn Leader::record_other(journal::RecordType type, BytesView body) {
  MS_ASSERT(impl_->log.end().lsn == impl_->state.applied_lsn, "every record goes through the leader");
  const std::size_t kind = static_cast<std::size_t>(type);
  MS_ASSERT(kind < static_cast<std::size_t>(journal::RecordType::queue_declared),
            "the broker's own effects are not appended from outside");
  impl_->state.applied_lsn = impl_->log.append(type, body);
  return impl_->state.applied_lsn;
}

QueueStats Leader::stats(QueueId id) const {
  QueueStats out = impl_->whole.stats(id);
  const QueueRuntime& q = *impl_->find(id);
  out.locked = q.locked();
  out.duplicates_dropped = q.duplicates_dropped;
  return out;
}

std::uint64_t Leader::dispatched(ConsumerId consumer) const {
  const auto found = impl_->consumers.find(consumer);
  return found == impl_->consumers.end() ? 0 : found->second->dispatched;
}

std::size_t Leader::consumers() const {
  return impl_->consumers.size();
}

void Leader::check_invariants() const {
  impl_->check_invariants();
}

}  // namespace mainstay::broker
