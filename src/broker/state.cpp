#include "broker/state.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/assert.h"
#include "base/checksum.h"
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

std::uint64_t Queue::first_active() const {
  const std::uint64_t found = next_active(active_from);
  active_from = found != 0 ? found : next_sequence;
  return found;
}

std::uint64_t State::Impl::hash_of(QueueId queue, std::uint64_t sequence, const Message& message,
                                   std::uint64_t session_hash, const Annotation* annotation) {
  std::uint64_t annotation_hash = 0;
  if (annotation != nullptr) {
    annotation_hash = mix64(
        mix64(checksum64(as_bytes(annotation->reason), 1), checksum64(as_bytes(annotation->description), 2)),
        checksum64(annotation->properties, 3));
  }
  if (message.renumbered_by != 0) annotation_hash = mix64(annotation_hash, message.renumbered_by);
  const std::array<std::uint64_t, 9> parts{
      std::uint64_t{queue.value} << 32 | message.payload_bytes,
      sequence,
      message.lsn,
      static_cast<std::uint64_t>(message.enqueued_ms),
      static_cast<std::uint64_t>(message.expires_ms),
      std::uint64_t{message.delivery_count} << 8 | static_cast<std::uint64_t>(message.state) << 2 |
          (message.moved ? 2U : 0U) | static_cast<std::uint64_t>(message.place),
      message.id_hash,
      session_hash,
      annotation_hash};
  return checksum64(std::as_bytes(std::span(parts)), 10);
}

std::uint64_t State::Impl::hash_of(const Queue& queue, std::uint64_t sequence, const Message& message) const {
  return hash_of(queue.id, sequence, message,
                 message.session == kNone ? 0 : queue.sessions[message.session].id_hash,
                 message.annotated ? &queue.annotations.at(sequence) : nullptr);
}

std::uint64_t State::Impl::hash_of(QueueId queue, const WindowEntry& entry) {
  const std::array<std::uint64_t, 5> parts{queue.value, entry.id_hash, entry.lsn, entry.sequence,
                                           static_cast<std::uint64_t>(entry.time_ms)};
  return checksum64(std::as_bytes(std::span(parts)), 11);
}

std::uint64_t State::Impl::hash_of(const Queue& queue) {
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

std::uint64_t State::Impl::hash_of_sequence(const Queue& queue) {
  return mix64(mix64(queue.id.value, queue.next_sequence), 2) - mix64(mix64(queue.id.value, 1), 2);
}

std::uint64_t State::Impl::recompute_sum() {
  std::uint64_t total = 0;
  for (const auto& queue : queues) {
    total += hash_of(*queue) + hash_of_sequence(*queue);
    for (std::uint64_t s = queue->ring.first(); s != 0; s = queue->ring.next(s + 1)) {
      total += hash_of(*queue, s, *queue->ring.find(s));
      trim();
    }
    for (std::uint64_t n = queue->window.begin(); n < queue->window.end(); ++n) {
      total += hash_of(queue->id, queue->window.at(n));
      trim();
    }
  }
  return total;
}

State::State(paging::PageStore* pages, StateLimits limits) : impl_(std::make_unique<Impl>(pages, limits)) {}
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
    impl_->trim();
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
    case RecordType::message_moved:
      return effect("message_moved", MessageMoved{});
    case RecordType::message_deferred:
      return effect("message_deferred", MessageDeferred{});
    case RecordType::message_scheduled:
      return effect("message_scheduled", MessageScheduled{});
    case RecordType::message_activated:
      return effect("message_activated", MessageActivated{});
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
    if (queue->ring.size() != 0) oldest = std::min(oldest, Lsn{queue->ring.min_lsn()});
  }
  return oldest;
}

std::vector<State::Place> State::collect_older_than(Lsn lsn, std::size_t max) const {
  std::vector<Place> out;
  std::vector<MessageRing::Old> old;
  for (const auto& queue : impl_->queues) {
    if (out.size() == max) break;
    old.clear();
    queue->ring.collect_older_than(lsn.value, max - out.size(), old);
    for (const MessageRing::Old& one : old) {
      out.push_back({queue->id, SequenceNumber{one.sequence}, Lsn{one.lsn}});
    }
    impl_->trim();
  }
  return out;
}

std::uint64_t State::pages_looked_at() const {
  std::uint64_t total = 0;
  for (const auto& queue : impl_->queues) total += queue->ring.pages_looked_at();
  return total;
}

Lsn State::lsn_of(QueueId queue, SequenceNumber sequence) const {
  const Message* message = impl_->at(queue).ring.find(sequence.value);
  const Lsn lsn{message == nullptr ? 0 : message->lsn};
  impl_->trim();
  return lsn;
}

std::uint64_t State::payload_bytes_of(QueueId queue, SequenceNumber sequence) const {
  const Message* message = impl_->at(queue).ring.find(sequence.value);
  const std::uint64_t bytes = message == nullptr ? 0 : message->payload_bytes;
  impl_->trim();
  return bytes;
}

std::uint64_t State::payload_bytes_total() const {
  return impl_->payload_bytes_total;
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
  out.deferred = queue.deferred;
  out.scheduled = queue.scheduled;
  out.sessions = queue.sessions.live();
  out.bytes = queue.bytes;
  if (const std::uint64_t first = queue.first_active(); first != 0) {
    if (queue.oldest_sequence != first) {
      queue.oldest_sequence = first;
      queue.oldest_enqueued_ms = queue.ring.find(first)->enqueued_ms;
    }
    out.oldest = {queue.oldest_enqueued_ms};
  }
  return out;
}

std::uint64_t State::messages_total() const {
  return impl_->messages_total;
}

std::vector<State::IdKnowledge> State::look_up_ids(QueueId id,
                                                   std::span<const std::string> message_ids) const {
  const Queue& queue = impl_->at(id);
  std::vector<IdKnowledge> out(message_ids.size());
  std::unordered_multimap<std::uint64_t, std::size_t> asked;  // by hash; never iterated for results
  for (std::size_t i = 0; i < message_ids.size(); ++i) {
    if (message_ids[i].empty()) continue;
    out[i].in_window = queue.find_duplicate(message_ids[i]) != nullptr;
    if (!out[i].in_window) asked.emplace(id_hash(message_ids[i]), i);
    impl_->trim();
  }
  if (asked.empty()) return out;
  for (std::uint64_t s = queue.ring.first(); s != 0; s = queue.ring.next(s + 1)) {
    const Message& message = *queue.ring.find(s);
    const auto [from, to] = asked.equal_range(message.id_hash);
    for (auto at = from; at != to; ++at) out[at->second].candidates.push_back(Lsn{message.lsn});
    impl_->trim();
  }
  return out;
}

State::MemoryUse State::memory_use() const {
  MemoryUse use;
  const Pager& pager = impl_->pager;
  use.page_bytes = pager.resident_bytes();
  use.pages_resident = pager.resident_pages();
  use.pages = pager.entries();
  use.page_loads = pager.counters().loads;
  use.page_stores = pager.counters().stores;
  use.directory_bytes = pager.directory_bytes();
  use.disk_bytes = pager.disk_bytes();
  for (const auto& queue : impl_->queues) {
    use.directory_bytes +=
        queue->ring.directory_bytes() + queue->window.directory_bytes() + queue->sessions.directory_bytes();
    use.index_bytes += queue->window.index_bytes() + queue->sessions.index_bytes();
  }
  return use;
}

void State::check_invariants() const {
  impl_->check_invariants();
}

}  // namespace mainstay::broker
