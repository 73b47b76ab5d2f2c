// apply(): the only code that changes replicated state.
#include <algorithm>
#include <array>

#include "broker/state_impl.h"

namespace mainstay::broker {

namespace {

constexpr const char* kNoQueue = "names a queue that was never declared";
constexpr const char* kNoMessage = "names a message that is not in the queue";

void annotate(Queue& queue, std::uint64_t sequence, Message& message, bool replaces, BytesView properties) {
  if (!replaces) return;
  queue.annotations[sequence].properties = to_buffer(properties);
  message.annotated = true;
}

}  // namespace

const char* State::Impl::advance_time(WallTime time) {
  if (time < log_time) return "goes back in log time";
  if (time == log_time) return nullptr;
  log_time = time;
  if (time.ms >= next_window_end_ms) pass_windows();
  return nullptr;
}

void State::Impl::pass_windows() {
  next_window_end_ms = std::numeric_limits<std::int64_t>::max();
  for (const auto& queue : queues) {
    const std::int64_t window = queue->options.duplicate_window_ms;
    while (queue->window_first != kNone &&
           queue->duplicates[queue->window_first].time_ms + window <= log_time.ms) {
      drop_from_window(*queue);
    }
    if (queue->window_first != kNone) {
      next_window_end_ms =
          std::min(next_window_end_ms, queue->duplicates[queue->window_first].time_ms + window);
    }
  }
}

void State::Impl::drop_from_window(Queue& queue) {
  const std::uint32_t index = queue.window_first;
  DuplicateEntry& entry = queue.duplicates[index];
  sum -= hash_of(queue, entry);
  queue.window_first = entry.next;
  if (entry.next == kNone) queue.window_last = kNone;
  --queue.window_size;
  entry.in_window = false;
  entry.next = kNone;
  if (!entry.resident) release_entry(queue, index);
}

void State::Impl::release_entry(Queue& queue, std::uint32_t index) {
  DuplicateEntry& entry = queue.duplicates[index];
  queue.duplicate_index.erase(entry.id_hash, index);
  texts.remove(entry.id);
  queue.duplicates.release(index);
}

/// The id stays with the resident message, but duplicate_index forgets it.
void State::Impl::detach_entry(Queue& queue, std::uint32_t index) {
  DuplicateEntry& entry = queue.duplicates[index];
  MS_ASSERT(entry.resident && !entry.in_window, "only a resident entry past its window is detached");
  Message* message = queue.ring.find(entry.sequence);
  MS_ASSERT(message != nullptr && message->indexed && message->id == index,
            "entry and message name each other");
  queue.duplicate_index.erase(entry.id_hash, index);
  message->indexed = false;
  message->id = entry.id;
  ++queue.unindexed_ids;
  queue.duplicates.release(index);
}

void State::Impl::forget_duplicates(Queue& queue) {
  while (queue.window_first != kNone) drop_from_window(queue);
  for (std::uint64_t s = queue.ring.first(); s != 0; s = queue.ring.next(s + 1)) {
    if (const Message* message = queue.ring.find(s); message->indexed) detach_entry(queue, message->id);
  }
}

std::uint32_t State::Impl::add_entry(Queue& queue, std::string_view id, std::uint64_t hash) {
  const std::uint32_t index = queue.duplicates.allocate();
  DuplicateEntry& entry = queue.duplicates[index];
  entry.id_hash = hash;
  entry.id = texts.add(id);
  queue.duplicate_index.insert(hash, index);
  return index;
}

void State::Impl::add_to_window(Queue& queue, std::uint32_t index) {
  DuplicateEntry& entry = queue.duplicates[index];
  entry.in_window = true;
  entry.next = kNone;
  (queue.window_last == kNone ? queue.window_first : queue.duplicates[queue.window_last].next) = index;
  queue.window_last = index;
  ++queue.window_size;
  next_window_end_ms = std::min(next_window_end_ms, entry.time_ms + queue.options.duplicate_window_ms);
  sum += hash_of(queue, entry);
}

void State::Impl::link_session(Queue& queue, std::string_view session_id, std::uint64_t sequence,
                               Message& message) {
  std::uint32_t index = queue.find_session(session_id, texts);
  if (index == kNone) {
    index = queue.sessions.allocate();
    Session& fresh = queue.sessions[index];
    fresh.id_hash = id_hash(session_id);
    fresh.id = texts.add(session_id);
    queue.session_index.insert(fresh.id_hash, index);
  }
  Session& session = queue.sessions[index];
  message.session = index;
  message.session_previous = session.tail;
  if (session.tail != 0)
    queue.ring.find(session.tail)->session_next = sequence;
  else
    session.head = sequence;
  session.tail = sequence;
  ++session.count;
}

void State::Impl::unlink_session(Queue& queue, Message& message) {
  if (message.session == kNone) return;
  Session& session = queue.sessions[message.session];
  if (message.session_previous != 0)
    queue.ring.find(message.session_previous)->session_next = message.session_next;
  else
    session.head = message.session_next;
  if (message.session_next != 0)
    queue.ring.find(message.session_next)->session_previous = message.session_previous;
  else
    session.tail = message.session_previous;
  if (--session.count == 0) {
    queue.session_index.erase(session.id_hash, message.session);
    texts.remove(session.id);
    queue.sessions.release(message.session);
  }
  message.session = kNone;
  message.session_previous = message.session_next = 0;
}

void State::Impl::remove_message(Queue& queue, std::uint64_t sequence, Message& message) {
  sum -= hash_of(queue, sequence, message);
  unlink_session(queue, message);
  if (message.indexed) {
    DuplicateEntry& entry = queue.duplicates[message.id];
    entry.resident = false;
    if (!entry.in_window) release_entry(queue, message.id);
  } else if (message.id != 0) {
    texts.remove(message.id);
    --queue.unindexed_ids;
  }
  if (message.annotated) queue.annotations.erase(sequence);
  queue.bytes -= message.payload_bytes;
  --(message.place == SubQueue::active ? queue.active : queue.dead);
  --messages_total;
  queue.ring.remove(sequence);
}

const char* State::Impl::apply(Lsn lsn, const QueueDeclared& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  const std::string key = lower_case(effect.name);
  const auto named = by_name.find(key);
  Queue* queue = find(effect.queue);
  if (queue == nullptr) {
    if (effect.queue.value != queues.size() + 1) return "declares a queue with an id out of turn";
    if (named != by_name.end()) return "declares a second queue of the same name";
    queues.push_back(std::make_unique<Queue>());
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
  if (!queue->options.duplicate_detection) forget_duplicates(*queue);
  pass_windows();
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const StoredMessage& effect) {
  if (const char* problem = advance_time(effect.enqueued)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  const std::uint64_t sequence = effect.sequence.value;
  if (sequence != queue->next_sequence) return "stores a message with a sequence number out of turn";
  if (effect.has_session != queue->options.requires_session) {
    return "stores a message whose session does not fit the queue";
  }
  if (effect.payload.size() > journal::kBodyBytesMax) return "stores a message that is too large";
  const bool detect = queue->options.duplicate_detection && !effect.message_id.empty();
  std::uint32_t entry_index = kNone;
  if (detect) {
    const std::uint64_t hash = id_hash(effect.message_id);
    const std::uint32_t known = queue->duplicate_index.find(hash, [&](std::uint32_t index) {
      return texts.get(queue->duplicates[index].id) == effect.message_id;
    });
    if (known != kNone) {
      if (queue->duplicates[known].in_window) return "stores a message whose id is within its window";
      detach_entry(*queue, known);
    }
    entry_index = add_entry(*queue, effect.message_id, hash);
    DuplicateEntry& entry = queue->duplicates[entry_index];
    entry.lsn = lsn.value;
    entry.sequence = sequence;
    entry.time_ms = effect.enqueued.ms;
    entry.resident = true;
    add_to_window(*queue, entry_index);
  }
  sum += mix64(mix64(queue->id.value, sequence + 1), 2) - mix64(mix64(queue->id.value, sequence), 2);
  queue->next_sequence = sequence + 1;
  Message& message = queue->ring.add(sequence);
  message.lsn = lsn.value;
  message.enqueued_ms = effect.enqueued.ms;
  message.expires_ms = effect.expires_ms;
  message.payload_bytes = static_cast<std::uint32_t>(effect.payload.size());
  message.indexed = detect;
  message.id = detect ? entry_index : texts.add(effect.message_id);
  if (!detect && message.id != 0) ++queue->unindexed_ids;
  if (effect.has_session) link_session(*queue, effect.session_id, sequence, message);
  ++queue->active;
  queue->bytes += message.payload_bytes;
  ++messages_total;
  sum += hash_of(*queue, sequence, message);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const MessagesSettled& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  for (std::size_t i = 0; i < effect.count(); ++i) {
    const std::uint64_t sequence = effect.at(i).value;
    Message* message = queue->ring.find(sequence);
    if (message == nullptr) return kNoMessage;
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
  Message* message = queue->ring.find(sequence);
  if (message == nullptr) return kNoMessage;
  const std::uint32_t expected = message->delivery_count + (message->place == SubQueue::active ? 1U : 0U);
  if (effect.delivery_count != expected || expected > 0xffff) return "has a delivery count out of turn";
  sum -= hash_of(*queue, sequence, *message);
  message->delivery_count = static_cast<std::uint16_t>(expected);
  annotate(*queue, sequence, *message, effect.replaces_properties, effect.modified_properties);
  sum += hash_of(*queue, sequence, *message);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const MessageDeadLettered& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  Queue* queue = find(effect.queue);
  if (queue == nullptr) return kNoQueue;
  const std::uint64_t sequence = effect.sequence.value;
  Message* message = queue->ring.find(sequence);
  if (message == nullptr || message->place != SubQueue::active) {
    return "dead-letters a message that is not active in the queue";
  }
  const std::uint32_t count = message->delivery_count;
  if (effect.delivery_count < count || effect.delivery_count > count + 1 || effect.delivery_count > 0xffff) {
    return "has a delivery count out of turn";
  }
  sum -= hash_of(*queue, sequence, *message);
  unlink_session(*queue, *message);
  message->place = SubQueue::dead_letter;
  message->expires_ms = 0;
  message->delivery_count = static_cast<std::uint16_t>(effect.delivery_count);
  annotate(*queue, sequence, *message, effect.replaces_properties, effect.modified_properties);
  if (!effect.reason.empty() || !effect.description.empty()) {
    Annotation& annotation = queue->annotations[sequence];
    annotation.reason = effect.reason;
    annotation.description = effect.description;
    message->annotated = true;
  }
  --queue->active;
  ++queue->dead;
  sum += hash_of(*queue, sequence, *message);
  applied_lsn = lsn;
  return nullptr;
}

const char* State::Impl::apply(Lsn lsn, const TimeAdvanced& effect) {
  if (const char* problem = advance_time(effect.time)) return problem;
  applied_lsn = lsn;
  return nullptr;
}

}  // namespace mainstay::broker
