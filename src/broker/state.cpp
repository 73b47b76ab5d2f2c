#include "broker/state.h"

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "broker/state_impl.h"

namespace mainstay::broker {

using journal::RecordType;

void throw_exception_from_error(const ApplyError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::uint64_t id_hash(std::string_view id) {
  return checksum64(as_bytes(id), 0x6d657373616765);
}

std::uint32_t Queue::find_duplicate(std::string_view message_id, const TextArena& texts) const {
  return duplicate_index.find(id_hash(message_id), [&](std::uint32_t index) {
    return texts.get(duplicates[index].id) == message_id;
  });
}

std::uint32_t Queue::find_session(std::string_view session_id, const TextArena& texts) const {
  return session_index.find(id_hash(session_id),
                            [&](std::uint32_t index) { return texts.get(sessions[index].id) == session_id; });
}

std::uint64_t Queue::next_active(std::uint64_t from) const {
  for (std::uint64_t s = ring.next(from); s != 0; s = ring.next(s + 1)) {
    if (ring.find(s)->place == SubQueue::active) return s;
  }
  return 0;
}

std::uint64_t Queue::first_active() const {
  const std::uint64_t found = next_active(active_from);
  active_from = found != 0 ? found : next_sequence;
  return found;
}

std::string_view State::Impl::message_id(const Queue& queue, const Message& message) const {
  return texts.get(message.indexed ? queue.duplicates[message.id].id : message.id);
}

std::uint64_t State::Impl::hash_of(const Queue& queue, std::uint64_t sequence, const Message& message) const {
  std::uint64_t annotation_hash = 0;
  if (message.annotated) {
    const Annotation& a = queue.annotations.at(sequence);
    annotation_hash = mix64(mix64(checksum64(as_bytes(a.reason), 1), checksum64(as_bytes(a.description), 2)),
                            checksum64(a.properties, 3));
  }
  const std::uint64_t message_id_hash = message.indexed   ? queue.duplicates[message.id].id_hash
                                        : message.id == 0 ? 0
                                                          : id_hash(texts.get(message.id));
  const std::array<std::uint64_t, 9> parts{
      std::uint64_t{queue.id.value} << 32 | message.payload_bytes,
      sequence,
      message.lsn,
      static_cast<std::uint64_t>(message.enqueued_ms),
      static_cast<std::uint64_t>(message.expires_ms),
      std::uint64_t{message.delivery_count} << 8 | static_cast<std::uint64_t>(message.place),
      message_id_hash,
      message.session == kNone ? 0 : queue.sessions[message.session].id_hash,
      annotation_hash};
  return checksum64(std::as_bytes(std::span(parts)), 10);
}

std::uint64_t State::Impl::hash_of(const Queue& queue, const DuplicateEntry& entry) const {
  const std::array<std::uint64_t, 5> parts{queue.id.value, entry.id_hash, entry.lsn, entry.sequence,
                                           static_cast<std::uint64_t>(entry.time_ms)};
  return checksum64(std::as_bytes(std::span(parts)), 11);
}

std::uint64_t State::Impl::hash_of(const Queue& queue) const {
  const QueueOptions& o = queue.options;
  const std::array<std::uint64_t, 7> parts{queue.id.value,
                                           queue_flags(o),
                                           static_cast<std::uint64_t>(o.duplicate_window_ms),
                                           static_cast<std::uint64_t>(o.lock_duration_ms),
                                           o.max_delivery_count,
                                           static_cast<std::uint64_t>(o.default_ttl_ms),
                                           checksum64(as_bytes(queue.name))};
  return checksum64(std::as_bytes(std::span(parts)), 12);
}

std::uint64_t State::Impl::recompute_sum() const {
  std::uint64_t total = 0;
  for (const auto& queue : queues) {
    total += hash_of(*queue);
    total += mix64(mix64(queue->id.value, queue->next_sequence), 2) - mix64(mix64(queue->id.value, 1), 2);
    for (std::uint64_t s = queue->ring.first(); s != 0; s = queue->ring.next(s + 1)) {
      total += hash_of(*queue, s, *queue->ring.find(s));
    }
    for (std::uint32_t at = queue->window_first; at != kNone; at = queue->duplicates[at].next) {
      total += hash_of(*queue, queue->duplicates[at]);
    }
  }
  return total;
}

State::State() : impl_(std::make_unique<Impl>()) {}
State::~State() = default;
State::State(State&&) noexcept = default;
State& State::operator=(State&&) noexcept = default;

Result<void, ApplyError> State::apply(const journal::Record& record) {
  const Lsn lsn = record.header.lsn;
  const auto refuse = [lsn](const char* name, const char* why) {
    return ApplyError{lsn, "record " + std::to_string(lsn.value) + " (" + name + ") " + why +
                               ": this replica's state is not what the log says; stop it and restore it "
                               "from a peer or a checkpoint"};
  };
  if (lsn != impl_->applied_lsn.next()) {
    return ApplyError{lsn, "record " + std::to_string(lsn.value) + " does not follow " +
                               std::to_string(impl_->applied_lsn.value) + ", the last one applied"};
  }
  const auto effect = [&]<class Effect>(const char* name, Effect decoded) -> Result<void, ApplyError> {
    if (!decode(record.body, decoded)) return refuse(name, "is not well-formed");
    if (const char* why = impl_->apply(lsn, decoded)) return refuse(name, why);
    return {};
  };
  switch (record.header.type) {
    case RecordType::epoch_started:
    case RecordType::sealed:
    case RecordType::forked:
      impl_->applied_lsn = lsn;
      return {};
    case RecordType::state_hash: {
      ByteReader reader(record.body);
      const std::uint64_t expected = reader.u64_le();
      if (!reader.finished()) return refuse("state_hash", "is not well-formed");
      if (expected != hash()) {
        return refuse(
            "state_hash",
            ("carries the leader's state hash " + hex(expected) + ", ours is " + hex(hash())).c_str());
      }
      impl_->applied_lsn = lsn;
      return {};
    }
    case RecordType::queue_declared:
      return effect("queue_declared", QueueDeclared{});
    case RecordType::message_stored:
      return effect("message_stored", StoredMessage{});
    case RecordType::messages_settled:
      return effect("messages_settled", MessagesSettled{});
    case RecordType::delivery_failed:
      return effect("delivery_failed", DeliveryFailed{});
    case RecordType::message_dead_lettered:
      return effect("message_dead_lettered", MessageDeadLettered{});
    case RecordType::time_advanced:
      return effect("time_advanced", TimeAdvanced{});
  }
  return refuse("of unknown type", "is from a newer version or not a record of ours");
}

Lsn State::applied() const {
  return impl_->applied_lsn;
}
WallTime State::log_time() const {
  return impl_->log_time;
}
std::uint64_t State::hash() const {
  return mix64(impl_->sum, static_cast<std::uint64_t>(impl_->log_time.ms));
}
std::uint64_t State::recompute_hash() const {
  return mix64(impl_->recompute_sum(), static_cast<std::uint64_t>(impl_->log_time.ms));
}

Lsn State::oldest_needed() const {
  Lsn oldest = impl_->applied_lsn.next();
  for (const auto& queue : impl_->queues) {
    if (const std::uint64_t first = queue->ring.first(); first != 0) {
      oldest = std::min(oldest, Lsn{queue->ring.find(first)->lsn});
    }
  }
  return oldest;
}

std::optional<QueueId> State::find_queue(std::string_view name) const {
  const auto found = impl_->by_name.find(lower_case(name));
  if (found == impl_->by_name.end()) return std::nullopt;
  return found->second;
}
const QueueOptions& State::options(QueueId queue) const {
  return impl_->at(queue).options;
}
const std::string& State::name(QueueId queue) const {
  return impl_->at(queue).name;
}
std::vector<QueueId> State::queues() const {
  std::vector<QueueId> out;
  for (const auto& queue : impl_->queues) out.push_back(queue->id);
  return out;
}

QueueStats State::stats(QueueId id) const {
  const Queue& queue = impl_->at(id);
  QueueStats out;
  out.queue = id;
  out.name = queue.name;
  out.active = queue.active;
  out.dead_letter = queue.dead;
  out.sessions = queue.session_index.size();
  out.bytes = queue.bytes;
  if (const std::uint64_t first = queue.first_active(); first != 0) {
    out.oldest = {queue.ring.find(first)->enqueued_ms};
  }
  return out;
}

std::uint64_t State::messages_total() const {
  return impl_->messages_total;
}

bool State::knows_message_id(QueueId id, std::string_view message_id) const {
  const Queue& queue = impl_->at(id);
  if (message_id.empty()) return false;
  if (queue.find_duplicate(message_id, impl_->texts) != kNone) return true;
  if (queue.unindexed_ids == 0) return false;
  for (std::uint64_t s = queue.ring.first(); s != 0; s = queue.ring.next(s + 1)) {
    if (impl_->message_id(queue, *queue.ring.find(s)) == message_id) return true;
  }
  return false;
}

void State::check_invariants() const {
  impl_->check_invariants();
}

}  // namespace mainstay::broker
