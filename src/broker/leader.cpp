#include "broker/leader.h"

#include <algorithm>

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

Leader::Leader(State& state, journal::LogBuilder& log, Random& random)
    : impl_(std::make_unique<Impl>(state, log, random)) {
  MS_ASSERT(log.end().lsn == state.applied(), "a leader takes over a state that is the log's end");
  impl_->take_over();
  state.impl_->trim();
}
Leader::~Leader() = default;

void Leader::Impl::take_over() {
  takeover = state.applied_lsn;
  for (const auto& queue : state.queues) add_runtime(*queue);
}

void Leader::Impl::add_runtime(Queue& queue) {
  queues.push_back(std::make_unique<QueueRuntime>());
  QueueRuntime& q = *queues.back();
  q.queue = &queue;
  const std::uint64_t first = queue.first_active();
  q.active.cursor = first != 0 ? first : queue.next_sequence;
  for (std::uint64_t s = queue.next_dead(1); s != 0; s = queue.next_dead(s + 1)) {
    q.dead.returned.emplace(s, Lsn{});
    state.trim();
  }
  q.expiry.start(queue.ring);
  q.holders.resize(queue.sessions.end());
  if (q.has_sessions()) {
    for (std::uint32_t s = 0; s < queue.sessions.end(); ++s) {
      if (queue.sessions[s].count > 0) offer_session(q, s);
      state.trim();
    }
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
    if (entry != nullptr && entry->time_ms + queue.options.duplicate_window_ms > effect.enqueued.ms) {
      ++q->duplicates_dropped;
      done.after = Lsn{entry->lsn};
      done.duplicate = true;
      done.sequence = SequenceNumber{entry->sequence};
      out.emplace_back(std::move(done));
      return;
    }
  }
  std::int64_t ttl_ms = queue.options.default_ttl_ms > 0 ? queue.options.default_ttl_ms : kTimeMax_ms;
  if (publish.ttl_ms >= 0) ttl_ms = std::min(ttl_ms, publish.ttl_ms);
  if (ttl_ms < kTimeMax_ms - effect.enqueued.ms) {
    effect.expires_ms = std::max<std::int64_t>(effect.enqueued.ms + ttl_ms, 1);
  }
  effect.sequence = SequenceNumber{queue.next_sequence};
  effect.message_format = publish.message_format;
  effect.message_id = publish.message_id;
  effect.has_session = q->has_sessions();
  if (effect.has_session) effect.session_id = publish.session_id;
  effect.payload = publish.payload;
  const Lsn lsn = record(effect);

  const std::uint64_t sequence = effect.sequence.value;
  if (effect.expires_ms != 0 || effect.has_session) {
    const Message& message = *queue.ring.find(sequence);
    if (effect.expires_ms != 0) q->expiry.watch(sequence, effect.expires_ms, queue.ring);
    if (effect.has_session) {
      if (message.session >= q->holders.size()) q->holders.resize(queue.sessions.end());
      Consumer*& holder = q->holders[message.session];
      if (queue.sessions[message.session].count == 1 && !q->held.empty()) {
        const auto held = q->held.find(std::string(publish.session_id));
        if (held != q->held.end()) holder = held->second;
      }
      if (holder != nullptr && holder->next == 0) holder->next = sequence;
    }
  }
  uncommitted.push({lsn, publish.queue.value, sequence});
  done.after = lsn;
  done.sequence = effect.sequence;
  out.emplace_back(std::move(done));
}

void Leader::committed(Lsn lsn, Instant now, WallTime wall, std::vector<Output>& out) {
  impl_->committed(lsn, {now, wall}, out);
  impl_->dispatch_dead({now, wall}, out);
  impl_->state.trim();
}

void Leader::Impl::committed(Lsn lsn, Times t, std::vector<Output>& out) {
  shown.clear();
  MS_ASSERT(lsn <= state.applied_lsn, "what was never decided cannot be committed");
  if (lsn <= committed_lsn) return;
  const bool was_ready = ready();
  committed_lsn = lsn;
  while (!uncommitted.empty() && uncommitted.front().lsn <= lsn) {
    const Uncommitted one = uncommitted.front();
    uncommitted.pop();
    QueueRuntime& q = *queues[one.queue - 1];
    if (!q.dirty) {
      q.dirty = true;
      dirty_queues.push_back(one.queue);
    }
    if (!q.has_sessions()) continue;
    const Message* message = q.queue->ring.find(one.sequence);
    if (message == nullptr || message->session == kNone) continue;
    if (Consumer* holder = q.holders[message->session]; holder == nullptr) {
      if (q.queue->sessions[message->session].head == one.sequence) offer_session(q, message->session);
    } else if (!holder->dirty) {
      holder->dirty = true;
      dirty_holders.push_back(holder->id);
    }
  }
  if (!ready()) return;
  if (!was_ready) catch_up(t, out);
  for (const std::uint32_t id : dirty_queues) {
    QueueRuntime& q = *queues[id - 1];
    q.dirty = false;
    if (q.has_sessions())
      assign_sessions(q, t, out);
    else
      dispatch_lane(q, SubQueue::active, t, out);
    dispatch_lane(q, SubQueue::dead_letter, t, out);
  }
  dirty_queues.clear();
  for (const ConsumerId id : dirty_holders) {
    if (const auto found = consumers.find(id); found != consumers.end()) {
      found->second->dirty = false;
      dispatch_holder(*queues[found->second->queue - 1], *found->second, t, out);
    }
  }
  dirty_holders.clear();
}

void Leader::Impl::catch_up(Times t, std::vector<Output>& out) {
  for (const auto& q : queues) dispatch_all(*q, t, out);
}

void Leader::tick(Instant now, WallTime wall, std::vector<Output>& out) {
  impl_->tick({now, wall}, out);
  impl_->dispatch_dead({now, wall}, out);
  impl_->state.trim();
}

void Leader::Impl::tick(Times t, std::vector<Output>& out) {
  shown.clear();
  if (log_now(t.wall).ms >= state.next_window_end_ms) record(TimeAdvanced{log_now(t.wall)});
  more_has_expired = false;
  for (const auto& q : queues) {
    expire_locks(*q, t);
    expire_messages(*q, t);
    state.trim();
  }
  run_timers(t, out);
  for (const auto& q : queues) dispatch_all(*q, t, out);
}

std::optional<Instant> Leader::next_deadline() const {
  std::optional<Instant> next;
  const auto consider = [&](Instant at) {
    if (!next || at < *next) next = at;
  };
  for (const auto& q : impl_->queues) {
    if (q->locks.first != kNone) consider(impl_->locks[q->locks.first].expires);
  }
  if (!impl_->timers.empty()) consider(impl_->timers.begin()->first);
  if (impl_->more_has_expired) consider(Instant{});
  return next;
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
  out.locked = q.locked;
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
