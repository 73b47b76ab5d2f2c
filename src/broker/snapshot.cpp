// Snapshot of State; docs/formats/effects.md lists it. The journal guards it against damage by a checksum;
// here anything that is not a state this code could be in is refused, and the hash at the end must agree.
#include <algorithm>

#include "broker/state_impl.h"

namespace mainstay::broker {

namespace {

constexpr std::uint32_t kMagic = 0x5342534d;  // "MSBS"
constexpr std::uint32_t kVersion = 1;
constexpr std::uint64_t kSequenceMax = std::uint64_t{1} << 62;
constexpr std::uint8_t kHasSession = 1, kAnnotated = 2, kDeadLetter = 4;

void write_text16(ByteWriter& writer, std::string_view text) {
  writer.u16_le(static_cast<std::uint16_t>(text.size()));
  writer.bytes(as_bytes(text));
}

std::string_view read_id(ByteReader& reader) {
  const std::size_t size = reader.u16_le();
  if (size > kIdBytesMax) reader.fail();
  return as_text(reader.bytes(size));
}

std::int64_t read_time(ByteReader& reader) {
  const std::int64_t ms = reader.i64_le();
  if (ms < 0 || ms > kTimeMax_ms) reader.fail();
  return ms;
}

void write_options(ByteWriter& writer, const QueueOptions& options) {
  writer.u8(queue_flags(options));
  writer.i64_le(options.duplicate_window_ms);
  writer.i64_le(options.lock_duration_ms);
  writer.u32_le(options.max_delivery_count);
  writer.i64_le(options.default_ttl_ms);
}

QueueOptions read_options(ByteReader& reader) {
  QueueOptions options;
  if (!read_queue_flags(reader.u8(), options)) reader.fail();
  options.duplicate_window_ms = reader.i64_le();
  options.lock_duration_ms = reader.i64_le();
  options.max_delivery_count = reader.u32_le();
  options.default_ttl_ms = reader.i64_le();
  return options;
}

}  // namespace

Buffer State::snapshot() const {
  const Impl& state = *impl_;
  Buffer out;
  out.reserve(64 + state.messages_total * 64);
  ByteWriter writer(out);
  writer.u32_le(kMagic);
  writer.u32_le(kVersion);
  writer.u64_le(state.applied_lsn.value);
  writer.i64_le(state.log_time.ms);
  writer.u32_le(static_cast<std::uint32_t>(state.queues.size()));
  for (const auto& queue : state.queues) {
    write_options(writer, queue->options);
    writer.sized_text(queue->name);
    writer.u64_le(queue->next_sequence);
    writer.u64_le(queue->window_size);
    for (std::uint32_t at = queue->window_first; at != kNone; at = queue->duplicates[at].next) {
      const DuplicateEntry& entry = queue->duplicates[at];
      writer.u64_le(entry.sequence);
      writer.u64_le(entry.lsn);
      writer.i64_le(entry.time_ms);
      write_text16(writer, state.texts.get(entry.id));
    }
    writer.u64_le(queue->ring.size());
    for (std::uint64_t s = queue->ring.first(); s != 0; s = queue->ring.next(s + 1)) {
      const Message& message = *queue->ring.find(s);
      const bool has_session = message.session != kNone;
      writer.u64_le(s);
      writer.u64_le(message.lsn);
      writer.i64_le(message.enqueued_ms);
      writer.i64_le(message.expires_ms);
      writer.u32_le(message.payload_bytes);
      writer.u16_le(message.delivery_count);
      writer.u8(static_cast<std::uint8_t>((has_session ? kHasSession : 0U) |
                                          (message.annotated ? kAnnotated : 0U) |
                                          (message.place == SubQueue::dead_letter ? kDeadLetter : 0U)));
      write_text16(writer, state.message_id(*queue, message));
      if (has_session) write_text16(writer, state.texts.get(queue->sessions[message.session].id));
      if (message.annotated) {
        const Annotation& annotation = queue->annotations.at(s);
        writer.sized_text(annotation.reason);
        writer.sized_text(annotation.description);
        writer.sized_bytes(annotation.properties);
      }
    }
  }
  writer.u64_le(hash());
  return out;
}

Result<State, ApplyError> State::restore(BytesView snapshot) {
  ByteReader reader(snapshot);
  const auto refuse = [&](const std::string& why) {
    return ApplyError{{},
                      "the snapshot of the broker's state " + why + " (byte " +
                          std::to_string(reader.position()) + " of " + std::to_string(snapshot.size()) +
                          "): use an older checkpoint"};
  };
  if (reader.u32_le() != kMagic) return refuse("does not begin like one");
  if (const std::uint32_t version = reader.u32_le(); version != kVersion) {
    return refuse("has format " + std::to_string(version) + ", this program reads format " +
                  std::to_string(kVersion));
  }
  State result;
  Impl& state = *result.impl_;
  state.applied_lsn = Lsn{reader.u64_le()};
  state.log_time = {read_time(reader)};
  const std::uint32_t queue_count = reader.u32_le();
  for (std::uint32_t q = 1; reader.ok() && q <= queue_count; ++q) {
    auto owned = std::make_unique<Queue>();
    Queue& queue = *owned;
    queue.id = QueueId{q};
    queue.options = read_options(reader);
    queue.name = reader.sized_text();
    if (!reader.ok() || queue_declaration_problem(queue.name, queue.options)) {
      return refuse("holds a queue that cannot be");
    }
    if (!state.by_name.emplace(lower_case(queue.name), queue.id).second) return refuse("holds a queue twice");
    state.queues.push_back(std::move(owned));
    queue.next_sequence = reader.u64_le();
    if (queue.next_sequence == 0 || queue.next_sequence > kSequenceMax) {
      return refuse("holds a queue whose sequence numbers cannot be");
    }
    state.sum += state.hash_of(queue) + mix64(mix64(q, queue.next_sequence), 2) - mix64(mix64(q, 1), 2);

    std::int64_t time_before = 0;
    for (std::uint64_t left = reader.u64_le(); reader.ok() && left > 0; --left) {
      const std::uint64_t sequence = reader.u64_le();
      const std::uint64_t lsn = reader.u64_le();
      const std::int64_t time_ms = read_time(reader);
      const std::string_view id = read_id(reader);
      if (!reader.ok() || !queue.options.duplicate_detection || id.empty() || sequence == 0 ||
          sequence >= queue.next_sequence || lsn == 0 || lsn > state.applied_lsn.value ||
          time_ms < time_before || time_ms > state.log_time.ms ||
          time_ms + queue.options.duplicate_window_ms <= state.log_time.ms ||
          queue.find_duplicate(id, state.texts) != kNone) {
        return refuse("holds a duplicate-detection entry that cannot be");
      }
      time_before = time_ms;
      const std::uint32_t index = state.add_entry(queue, id, id_hash(id));
      DuplicateEntry& entry = queue.duplicates[index];
      entry.sequence = sequence;
      entry.lsn = lsn;
      entry.time_ms = time_ms;
      state.add_to_window(queue, index);
    }

    std::uint64_t sequence_before = 0, lsn_before = 0;
    for (std::uint64_t left = reader.u64_le(); reader.ok() && left > 0; --left) {
      const std::uint64_t sequence = reader.u64_le();
      const std::uint64_t lsn = reader.u64_le();
      const std::int64_t enqueued_ms = read_time(reader);
      const std::int64_t expires_ms = read_time(reader);
      const std::uint32_t payload_bytes = reader.u32_le();
      const std::uint16_t delivery_count = reader.u16_le();
      const std::uint8_t flags = reader.u8();
      const std::string_view id = read_id(reader);
      const bool dead = (flags & kDeadLetter) != 0, has_session = (flags & kHasSession) != 0;
      const std::string_view session_id = has_session ? read_id(reader) : std::string_view{};
      if (!reader.ok() || flags > 7 || sequence <= sequence_before || sequence >= queue.next_sequence ||
          lsn <= lsn_before || lsn > state.applied_lsn.value || enqueued_ms > state.log_time.ms ||
          payload_bytes > journal::kBodyBytesMax || (dead && expires_ms != 0) ||
          has_session != (queue.options.requires_session && !dead)) {
        return refuse("holds a message that cannot be");
      }
      sequence_before = sequence;
      lsn_before = lsn;
      Message& message = queue.ring.add(sequence);
      message.lsn = lsn;
      message.enqueued_ms = enqueued_ms;
      message.expires_ms = expires_ms;
      message.payload_bytes = payload_bytes;
      message.delivery_count = delivery_count;
      message.place = dead ? SubQueue::dead_letter : SubQueue::active;
      const std::uint32_t entry =
          queue.options.duplicate_detection && !id.empty() ? queue.find_duplicate(id, state.texts) : kNone;
      if (entry != kNone && queue.duplicates[entry].sequence == sequence) {
        if (queue.duplicates[entry].lsn != lsn) return refuse("holds a message that cannot be");
        queue.duplicates[entry].resident = true;
        message.indexed = true;
        message.id = entry;
      } else {
        message.id = state.texts.add(id);
        if (message.id != 0) ++queue.unindexed_ids;
      }
      if (has_session) state.link_session(queue, session_id, sequence, message);
      if ((flags & kAnnotated) != 0) {
        Annotation& annotation = queue.annotations[sequence];
        annotation.reason = reader.sized_text();
        annotation.description = reader.sized_text();
        annotation.properties = to_buffer(reader.sized_bytes());
        message.annotated = true;
      }
      ++(dead ? queue.dead : queue.active);
      queue.bytes += payload_bytes;
      ++state.messages_total;
      state.sum += state.hash_of(queue, sequence, message);
    }
  }
  const std::uint64_t expected = reader.u64_le();
  if (!reader.finished()) return refuse("is cut short or longer than it says");
  if (expected != result.hash()) return refuse("does not have the hash it names");
  return result;
}

}  // namespace mainstay::broker
