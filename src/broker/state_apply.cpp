// apply(): the only code that changes replicated state.
#include <algorithm>
#include <functional>

#include "base/checksum.h"
#include "broker/state_impl.h"

namespace mainstay::broker {

namespace {

constexpr const char* kNoQueue = "names a queue that was never declared";
constexpr const char* kNoMessage = "names a message that is not in the queue";
constexpr const char* kOutOfTurn = "stores a message with a sequence number out of turn";
constexpr const char* kCountOutOfTurn = "has a delivery count out of turn";
constexpr const char* kScheduled = "names a message that is not there before its time";

}  // namespace

const char* State::Impl::advance_time(WallTime time) {
  if (time < log_time) return "goes back in log time";
  if (time == log_time) return nullptr;
  log_time = time;
  if (time.ms >= next_window_end_ms) pass_windows();
  return nullptr;
}

void State::Impl::pass_windows() {
  while (!window_ends.empty() && window_ends.front().first <= log_time.ms) {
    Queue& queue = *queues[window_ends.front().second - 1];
    std::pop_heap(window_ends.begin(), window_ends.end(), std::greater<>());
    window_ends.pop_back();
    queue.window_watched = false;
    const std::int64_t window = queue.options.duplicate_window_ms;
    while (!queue.window.empty() && queue.window.front_time_ms() + window <= log_time.ms) {
      drop_from_window(queue);
    }
    watch_window(queue);
  }
  next_window_end_ms =
      window_ends.empty() ? std::numeric_limits<std::int64_t>::max() : window_ends.front().first;
}

void State::Impl::watch_window(Queue& queue) {
  if (queue.window_watched || queue.window.empty()) return;
  queue.window_watched = true;
  window_ends.emplace_back(queue.window.front_time_ms() + queue.options.duplicate_window_ms, queue.id.value);
  std::push_heap(window_ends.begin(), window_ends.end(), std::greater<>());
  next_window_end_ms = window_ends.front().first;
}

void State::Impl::watch_windows_anew() {
  window_ends.clear();
  for (const auto& queue : queues) {
    queue->window_watched = false;
    watch_window(*queue);
  }
  pass_windows();
}

void State::Impl::drop_from_window(Queue& queue) {
  const std::uint64_t hash = hash_of(queue.id, queue.window.front());
  sum -= hash;
  queue.window.pop(hash);
}

std::uint32_t State::Impl::session_named(Queue& queue, std::string_view session_id) {
  const std::uint64_t hash = id_hash(session_id);
  const std::uint32_t index = queue.sessions.find(session_id, hash);
  return index != kNone ? index : queue.sessions.add(session_id, hash);
}

void State::Impl::link_session(Queue& queue, std::uint32_t index, std::uint64_t sequence, Message& message) {
  Session& session = queue.sessions.edit(index);
  message.session = index;
  message.session_previous = session.tail;
  if (session.tail != 0)
    queue.ring.edit(session.tail)->session_next = sequence;
  else
    session.head = sequence;
  session.tail = sequence;
  ++session.count;
}

/// The message is about to leave its session, or its session's list. The session stays: forget_session().
void State::Impl::unlink_session(Queue& queue, const Message& message) {
  if (message.session == kNone) return;
  Session& session = queue.sessions.edit(message.session);
  if (message.hidden()) {
    --session.apart;
    return;
  }
  if (message.session_previous != 0)
    queue.ring.edit(message.session_previous)->session_next = message.session_next;
  else
    session.head = message.session_next;
  if (message.session_next != 0)
    queue.ring.edit(message.session_next)->session_previous = message.session_previous;
  else
    session.tail = message.session_previous;
  --session.count;
}

void State::Impl::forget_session(Queue& queue, std::uint32_t index) {
  if (index != kNone && queue.sessions[index].messages() == 0) queue.sessions.remove(index);
}

void State::Impl::remove_message(Queue& queue, std::uint64_t sequence, const Message& message) {
  const std::uint64_t hash = hash_of(queue, sequence, message);
  const std::uint32_t session = message.session;
  sum -= hash;
  unlink_session(queue, message);
  forget_session(queue, session);
  queue.bytes -= message.payload_bytes;
  payload_bytes_total -= message.payload_bytes;
  --queue.counter(message);
  --messages_total;
  queue.ring.remove(sequence, hash);
}

void State::Impl::replace_properties(Queue& queue, std::uint64_t sequence, bool replaces,
                                     BytesView properties) {
  if (!replaces) return;
  Annotation& annotation = queue.ring.annotate(sequence);
  const std::size_t before = annotation.bytes();
  annotation.properties = to_buffer(properties);
  queue.ring.annotation_grew(sequence, before);
}

const char* State::Impl::apply(Lsn lsn, const QueueDeclared& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  const std::string key = lower_case(effect.name);
  const auto named = by_name.find(key);
  Queue* queue = find(effect.queue);
  if (queue == nullptr) {
    if (effect.queue.value != queues.size() + 1) return "declares a queue with an id out of turn";
    if (named != by_name.end()) return "declares a second queue of the same name";
    queues.push_back(std::make_unique<Queue>(pager));
    queue = queues.back().get();
    queue->id = effect.queue;
    queue->name = effect.name;
    by_name.emplace(key, effect.queue);
  } else {
    if (named == by_name.end() || named->second != effect.queue) return "gives a queue another name";
    if (queue->options.requires_session != effect.options.requires_session) {
      return "changes whether a queue requires sessions";
    }
    sum -= hash_of(*queue);
  }
  queue->options = effect.options;
  sum += hash_of(*queue);
  if (!queue->options.duplicate_detection) {
    while (!queue->window.empty()) drop_from_window(*queue);
  }
  if (queue->window_watched) watch_windows_anew();  // by another length, perhaps
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const StoredMessage& effect) {
  return store(lsn, effect, 0);
}

const char* State::Impl::apply(Lsn lsn, const MessageScheduled& effect) {
  return store(lsn, effect.message, effect.due.ms);
}

const char* State::Impl::store(Lsn lsn, const StoredMessage& effect, std::int64_t due_ms) {
  if (const char* problem = advance_time(effect.enqueued)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  const std::uint64_t sequence = effect.sequence.value;
  if (sequence != queue->next_sequence) return kOutOfTurn;
  if (effect.has_session != queue->options.requires_session) {
    return "stores a message whose session does not fit the queue";
  }
  if (effect.payload.size() > journal::kBodyBytesMax) return "stores a message that is too large";
  const std::uint64_t hash_of_id = effect.message_id.empty() ? 0 : id_hash(effect.message_id);
  if (queue->options.duplicate_detection && !effect.message_id.empty()) {
    if (queue->window.find(effect.message_id, hash_of_id) != nullptr) {
      return "stores a message whose id is within its window";
    }
    const WindowEntry entry{hash_of_id, lsn.value, sequence, effect.enqueued.ms, 0, 0};
    const std::uint64_t hash = hash_of(queue->id, entry);
    queue->window.push(entry, effect.message_id, hash);
    sum += hash;
    watch_window(*queue);
  }
  next_sequence(*queue);
  Message& message = queue->ring.add(sequence, lsn.value, due_ms == 0 ? effect.expires_ms : 0);
  message.enqueued_ms = due_ms == 0 ? effect.enqueued.ms : due_ms;
  message.payload_bytes = static_cast<std::uint32_t>(effect.payload.size());
  message.id_hash = hash_of_id;
  if (due_ms != 0) {
    message.expires_ms = effect.expires_ms;
    queue->ring.hide(sequence, MessageState::scheduled);
  }
  std::uint64_t session_hash = 0;
  if (effect.has_session) {
    const std::uint32_t session = session_named(*queue, effect.session_id);
    if (due_ms == 0) {
      link_session(*queue, session, sequence, message);
    } else {
      message.session = session;
      ++queue->sessions.edit(session).apart;
    }
    session_hash = queue->sessions[session].id_hash;
  }
  ++queue->counter(message);
  queue->bytes += message.payload_bytes;
  payload_bytes_total += message.payload_bytes;
  ++messages_total;
  const std::uint64_t hash = hash_of(queue->id, sequence, message, session_hash, nullptr);
  sum += hash;
  queue->ring.add_to_sum(sequence, hash);
  applied_lsn = lsn;
  return nullptr;
}

void State::Impl::next_sequence(Queue& queue) {
  const std::uint64_t sequence = queue.next_sequence;
  sum += mix64(mix64(queue.id.value, sequence + 1), 2) - mix64(mix64(queue.id.value, sequence), 2);
  queue.next_sequence = sequence + 1;
}

const char* State::Impl::apply(Lsn lsn, const MessagesSettled& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  for (std::size_t i = 0; i < effect.count(); ++i) {
    const std::uint64_t sequence = effect.at(i).value;
    const Message* message = queue->ring.find(sequence);
    if (message == nullptr) return kNoMessage;
    if ((message->state == MessageState::scheduled) != (effect.cause == RemovalCause::cancelled)) {
      return "settles a scheduled message, or cancels one that is not scheduled";
    }
    if (message->hidden() && effect.cause == RemovalCause::expired) {
      return "lets a message expire that is deferred";
    }
    remove_message(*queue, sequence, *message);
  }
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const DeliveryFailed& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  const std::uint64_t sequence = effect.sequence.value;
  const Message* message = queue->ring.find(sequence);
  if (message == nullptr) return kNoMessage;
  if (message->state == MessageState::scheduled) return kScheduled;
  if (effect.delivery_count != count_after(*message)) return kCountOutOfTurn;
  const std::uint64_t before = hash_of(*queue, sequence, *message);
  queue->ring.edit(sequence)->delivery_count = static_cast<std::uint16_t>(effect.delivery_count);
  replace_properties(*queue, sequence, effect.replaces_properties, effect.modified_properties);
  const std::uint64_t change = hash_of(*queue, sequence, *message) - before;
  sum += change;
  queue->ring.add_to_sum(sequence, change);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const MessageDeferred& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  const std::uint64_t sequence = effect.sequence.value;
  const Message* found = queue->ring.find(sequence);
  if (found == nullptr) return kNoMessage;
  if (found->state == MessageState::scheduled) return kScheduled;
  if (effect.delivery_count != count_after(*found)) return kCountOutOfTurn;
  const std::uint64_t before = hash_of(*queue, sequence, *found);
  Message& message = *queue->ring.edit(sequence);
  message.delivery_count = static_cast<std::uint16_t>(effect.delivery_count);
  if (!message.hidden()) {
    unlink_session(*queue, message);
    if (message.session != kNone) ++queue->sessions.edit(message.session).apart;
    message.session_previous = message.session_next = 0;
    --queue->counter(message);
    queue->ring.hide(sequence, MessageState::deferred);
    ++queue->counter(message);
  }
  replace_properties(*queue, sequence, effect.replaces_properties, effect.modified_properties);
  const std::uint64_t change = hash_of(*queue, sequence, message) - before;
  sum += change;
  queue->ring.add_to_sum(sequence, change);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const MessageActivated& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  const Message* found = queue->ring.find(effect.scheduled_as.value);
  if (found == nullptr || found->state != MessageState::scheduled) {
    return "activates a message that is not scheduled in the queue";
  }
  const std::uint64_t sequence = effect.sequence.value;
  if (sequence != queue->next_sequence) return kOutOfTurn;
  const Message was = *found;
  std::uint64_t hash = hash_of(*queue, effect.scheduled_as.value, was);
  sum -= hash;
  queue->ring.remove(effect.scheduled_as.value, hash);
  next_sequence(*queue);
  Message& message = queue->ring.add(sequence, was.lsn, effect.expires_ms);
  message.enqueued_ms = effect.time.ms;
  message.payload_bytes = was.payload_bytes;
  message.id_hash = was.id_hash;
  message.moved = was.moved;
  const std::uint64_t by = sequence - effect.scheduled_as.value;
  message.renumbered_by = std::min(by, Message::kRenumberedByMax) & Message::kRenumberedByMax;
  if (was.session != kNone) {
    --queue->sessions.edit(was.session).apart;
    link_session(*queue, was.session, sequence, message);
  }
  --queue->scheduled;
  ++queue->active;
  hash = hash_of(*queue, sequence, message);
  sum += hash;
  queue->ring.add_to_sum(sequence, hash);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const MessageDeadLettered& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  const std::uint64_t sequence = effect.sequence.value;
  const Message* found = queue->ring.find(sequence);
  if (found == nullptr || found->place != SubQueue::active || found->state == MessageState::scheduled) {
    return "dead-letters a message that is not active in the queue";
  }
  const std::uint32_t count = found->delivery_count;
  if (effect.delivery_count < count || effect.delivery_count > count + 1 ||
      effect.delivery_count > kCountMax) {
    return kCountOutOfTurn;
  }
  const std::uint64_t before = hash_of(*queue, sequence, *found);
  Message& message = *queue->ring.edit(sequence);
  unlink_session(*queue, message);
  forget_session(*queue, message.session);
  message.session = kNone;
  message.session_previous = message.session_next = 0;
  message.delivery_count = static_cast<std::uint16_t>(effect.delivery_count);
  --queue->counter(message);
  queue->ring.bury(sequence);
  ++queue->counter(message);
  replace_properties(*queue, sequence, effect.replaces_properties, effect.modified_properties);
  if (!effect.reason.empty() || !effect.description.empty()) {
    Annotation& annotation = queue->ring.annotate(sequence);
    const std::size_t bytes = annotation.bytes();
    annotation.reason = effect.reason;
    annotation.description = effect.description;
    queue->ring.annotation_grew(sequence, bytes);
  }
  const std::uint64_t change = hash_of(*queue, sequence, message) - before;
  sum += change;
  queue->ring.add_to_sum(sequence, change);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const MessageMoved& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.message.queue);
  if (queue == nullptr) return kNoQueue;
  const std::uint64_t sequence = effect.sequence().value;
  const Message* message = queue->ring.find(sequence);
  if (message == nullptr) return kNoMessage;
  // One that is or was scheduled is enqueued at another time than it was stored.
  const bool as_stored = effect.renumbered.value == 0 && message->state != MessageState::scheduled;
  if ((as_stored && message->enqueued_ms != effect.message.enqueued.ms) ||
      (message->scheduled_as(sequence) != 0 &&
       message->scheduled_as(sequence) != effect.message.sequence.value) ||
      message->payload_bytes != effect.message.payload.size() ||
      message->id_hash != (effect.message.message_id.empty() ? 0 : id_hash(effect.message.message_id))) {
    return "moves a message that is not the one in the queue";
  }
  const std::uint64_t before = hash_of(*queue, sequence, *message);
  queue->ring.set_lsn(sequence, lsn.value);
  const std::uint64_t change = hash_of(*queue, sequence, *message) - before;
  sum += change;
  queue->ring.add_to_sum(sequence, change);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const TimeAdvanced& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  applied_lsn = lsn;
  return nullptr;
}

}  // namespace mainstay::broker
