#include "broker/effects.h"

#include <array>

namespace mainstay::broker {

namespace {

using journal::RecordType;

constexpr std::size_t kStoredHeaderBytes = 40;
constexpr std::size_t kSettledHeaderBytes = 16;
constexpr std::size_t kMovedHeaderBytes = 24;
constexpr std::size_t kScheduledHeaderBytes = 8;
constexpr std::size_t kActivatedBytes = 40;
constexpr std::uint8_t kReplacesProperties = 1;

bool time_in_range(std::int64_t ms) {
  return ms >= 0 && ms <= kTimeMax_ms;
}

WallTime read_time(ByteReader& reader) {
  const std::int64_t ms = reader.i64_le();
  if (!time_in_range(ms)) reader.fail();
  return {ms};
}

std::array<std::byte, kStoredHeaderBytes> stored_header(const StoredMessage& effect) {
  std::array<std::byte, kStoredHeaderBytes> header;
  std::byte* at = header.data();
  store_le(at, effect.enqueued.ms);
  store_le(at + 8, effect.sequence.value);
  store_le(at + 16, effect.expires_ms);
  store_le(at + 24, effect.queue.value);
  store_le(at + 28, effect.message_format);
  store_le(at + 32, static_cast<std::uint16_t>(effect.message_id.size()));
  store_le(at + 34, static_cast<std::uint16_t>(effect.session_id.size()));
  store_le(at + 36, std::uint32_t{effect.has_session ? 1U : 0U});
  return header;
}

bool properties_agree(bool replaces, BytesView properties) {
  return (replaces || properties.empty()) && properties.size() <= kModifiedPropertiesBytesMax;
}

}  // namespace

std::uint8_t queue_flags(const QueueOptions& options) {
  return static_cast<std::uint8_t>(
      (options.requires_session ? 1U : 0U) | (options.duplicate_detection ? 2U : 0U) |
      (options.dead_letter_on_expiry ? 4U : 0U) | (static_cast<unsigned>(options.durability) << 3U) |
      (options.producers_choose_durability ? 0U : 32U));
}

bool read_queue_flags(std::uint8_t flags, QueueOptions& options) {
  options.requires_session = (flags & 1) != 0;
  options.duplicate_detection = (flags & 2) != 0;
  options.dead_letter_on_expiry = (flags & 4) != 0;
  options.durability = static_cast<Durability>((flags >> 3) & 3);
  options.producers_choose_durability = (flags & 32) == 0;
  return flags <= kQueueFlagsMax && options.durability <= Durability::global;
}

bool decode(BytesView body, QueueDeclared& out) {
  ByteReader reader(body);
  out.time = read_time(reader);
  out.queue = QueueId{reader.u32_le()};
  const std::uint8_t flags = reader.u8();
  const bool flags_known = read_queue_flags(flags, out.options);
  out.options.duplicate_window_ms = reader.i64_le();
  out.options.lock_duration_ms = reader.i64_le();
  out.options.max_delivery_count = reader.u32_le();
  out.options.default_ttl_ms = reader.i64_le();
  out.name = reader.sized_text();
  return reader.finished() && flags_known && !queue_declaration_problem(out.name, out.options);
}

bool decode(BytesView body, StoredMessage& out) {
  if (body.size() < kStoredHeaderBytes) return false;
  const std::byte* at = body.data();
  out.enqueued = {load_le<std::int64_t>(at)};
  out.sequence = {load_le<std::uint64_t>(at + 8)};
  out.expires_ms = load_le<std::int64_t>(at + 16);
  out.queue = {load_le<std::uint32_t>(at + 24)};
  out.message_format = load_le<std::uint32_t>(at + 28);
  const std::size_t id_bytes = load_le<std::uint16_t>(at + 32);
  const std::size_t session_bytes = load_le<std::uint16_t>(at + 34);
  const auto flags = load_le<std::uint32_t>(at + 36);
  if (!time_in_range(out.enqueued.ms) || !time_in_range(out.expires_ms) || flags > 1) return false;
  if (id_bytes > kIdBytesMax || session_bytes > kIdBytesMax) return false;
  if (body.size() - kStoredHeaderBytes < id_bytes + session_bytes) return false;
  out.has_session = flags == 1;
  if (!out.has_session && session_bytes != 0) return false;
  out.message_id = as_text(body.subspan(kStoredHeaderBytes, id_bytes));
  out.session_id = as_text(body.subspan(kStoredHeaderBytes + id_bytes, session_bytes));
  out.payload = body.subspan(kStoredHeaderBytes + id_bytes + session_bytes);
  return true;
}

bool decode(BytesView body, MessagesSettled& out) {
  if (body.size() < kSettledHeaderBytes + 8 || (body.size() - kSettledHeaderBytes) % 8 != 0) return false;
  const std::byte* at = body.data();
  out.time = {load_le<std::int64_t>(at)};
  out.queue = {load_le<std::uint32_t>(at + 8)};
  const auto cause = load_le<std::uint32_t>(at + 12);
  out.cause = static_cast<RemovalCause>(cause);
  out.sequences = body.subspan(kSettledHeaderBytes);
  return time_in_range(out.time.ms) && cause <= 3;
}

bool decode(BytesView body, DeliveryFailed& out) {
  ByteReader reader(body);
  out.time = read_time(reader);
  out.queue = QueueId{reader.u32_le()};
  out.delivery_count = reader.u32_le();
  out.sequence = SequenceNumber{reader.u64_le()};
  const std::uint8_t cause = reader.u8();
  const std::uint8_t flags = reader.u8();
  out.cause = static_cast<FailureCause>(cause);
  out.replaces_properties = (flags & kReplacesProperties) != 0;
  out.modified_properties = reader.sized_bytes();
  return reader.finished() && cause <= 2 && flags <= 1 &&
         properties_agree(out.replaces_properties, out.modified_properties);
}

bool decode(BytesView body, MessageDeadLettered& out) {
  ByteReader reader(body);
  out.time = read_time(reader);
  out.queue = QueueId{reader.u32_le()};
  out.delivery_count = reader.u32_le();
  out.sequence = SequenceNumber{reader.u64_le()};
  const std::uint8_t cause = reader.u8();
  const std::uint8_t flags = reader.u8();
  out.cause = static_cast<DeadLetterCause>(cause);
  out.replaces_properties = (flags & kReplacesProperties) != 0;
  out.reason = reader.sized_text();
  out.description = reader.sized_text();
  out.modified_properties = reader.sized_bytes();
  return reader.finished() && cause <= 2 && flags <= 1 && out.reason.size() <= kReasonBytesMax &&
         out.description.size() <= kReasonBytesMax &&
         properties_agree(out.replaces_properties, out.modified_properties);
}

bool decode(BytesView body, TimeAdvanced& out) {
  ByteReader reader(body);
  out.time = read_time(reader);
  return reader.finished();
}

bool decode(BytesView body, MessageMoved& out) {
  if (body.size() < kMovedHeaderBytes) return false;
  const std::byte* at = body.data();
  out.time = {load_le<std::int64_t>(at)};
  const auto queue = load_le<std::uint32_t>(at + 8);
  const auto reserved = load_le<std::uint32_t>(at + 12);
  const auto sequence = load_le<std::uint64_t>(at + 16);
  if (!time_in_range(out.time.ms) || reserved != 0 || !decode(body.subspan(kMovedHeaderBytes), out.message) ||
      out.message.queue.value != queue || out.message.sequence.value > sequence) {
    return false;
  }
  out.renumbered = SequenceNumber{out.message.sequence.value == sequence ? 0 : sequence};
  return true;
}

bool decode(BytesView body, MessageDeferred& out) {
  ByteReader reader(body);
  out.time = read_time(reader);
  out.queue = QueueId{reader.u32_le()};
  out.delivery_count = reader.u32_le();
  out.sequence = SequenceNumber{reader.u64_le()};
  const std::uint8_t flags = reader.u8();
  out.replaces_properties = (flags & kReplacesProperties) != 0;
  out.modified_properties = reader.sized_bytes();
  return reader.finished() && flags <= 1 &&
         properties_agree(out.replaces_properties, out.modified_properties);
}

bool decode(BytesView body, MessageScheduled& out) {
  if (body.size() < kScheduledHeaderBytes) return false;
  out.due = {load_le<std::int64_t>(body.data())};
  if (!decode(body.subspan(kScheduledHeaderBytes), out.message)) return false;
  return time_in_range(out.due.ms) && out.due > out.message.enqueued &&
         (out.message.expires_ms == 0 || out.message.expires_ms >= out.due.ms);
}

bool decode(BytesView body, MessageActivated& out) {
  if (body.size() != kActivatedBytes) return false;
  const std::byte* at = body.data();
  out.time = {load_le<std::int64_t>(at)};
  out.queue = {load_le<std::uint32_t>(at + 8)};
  const auto reserved = load_le<std::uint32_t>(at + 12);
  out.scheduled_as = {load_le<std::uint64_t>(at + 16)};
  out.sequence = {load_le<std::uint64_t>(at + 24)};
  out.expires_ms = load_le<std::int64_t>(at + 32);
  return time_in_range(out.time.ms) && time_in_range(out.expires_ms) && reserved == 0;
}

Lsn append(journal::LogBuilder& log, const QueueDeclared& effect) {
  Buffer body;
  ByteWriter writer(body);
  writer.i64_le(effect.time.ms);
  writer.u32_le(effect.queue.value);
  writer.u8(queue_flags(effect.options));
  writer.i64_le(effect.options.duplicate_window_ms);
  writer.i64_le(effect.options.lock_duration_ms);
  writer.u32_le(effect.options.max_delivery_count);
  writer.i64_le(effect.options.default_ttl_ms);
  writer.sized_text(effect.name);
  return log.append(RecordType::queue_declared, body);
}

Lsn append(journal::LogBuilder& log, const StoredMessage& effect) {
  const auto header = stored_header(effect);
  const std::array<BytesView, 4> parts{header, as_bytes(effect.message_id), as_bytes(effect.session_id),
                                       effect.payload};
  return log.append(RecordType::message_stored, parts);
}

/// A record that is a message's own with something in front.
static Lsn append_behind(journal::LogBuilder& log, RecordType type, BytesView front,
                         const StoredMessage& message) {
  const auto header = stored_header(message);
  const std::array<BytesView, 5> parts{front, header, as_bytes(message.message_id),
                                       as_bytes(message.session_id), message.payload};
  return log.append(type, parts);
}

Lsn append(journal::LogBuilder& log, const MessageMoved& effect) {
  std::array<std::byte, kMovedHeaderBytes> front;
  store_le(front.data(), effect.time.ms);
  store_le(front.data() + 8, effect.message.queue.value);
  store_le(front.data() + 12, std::uint32_t{0});
  store_le(front.data() + 16, effect.sequence().value);
  return append_behind(log, RecordType::message_moved, front, effect.message);
}

Lsn append(journal::LogBuilder& log, const MessagesSettled& effect) {
  std::array<std::byte, kSettledHeaderBytes> header;
  store_le(header.data(), effect.time.ms);
  store_le(header.data() + 8, effect.queue.value);
  store_le(header.data() + 12, static_cast<std::uint32_t>(effect.cause));
  const std::array<BytesView, 2> parts{header, effect.sequences};
  return log.append(RecordType::messages_settled, parts);
}

Lsn append(journal::LogBuilder& log, const DeliveryFailed& effect) {
  Buffer body;
  ByteWriter writer(body);
  writer.i64_le(effect.time.ms);
  writer.u32_le(effect.queue.value);
  writer.u32_le(effect.delivery_count);
  writer.u64_le(effect.sequence.value);
  writer.u8(static_cast<std::uint8_t>(effect.cause));
  writer.u8(effect.replaces_properties ? kReplacesProperties : 0);
  writer.sized_bytes(effect.modified_properties);
  return log.append(RecordType::delivery_failed, body);
}

Lsn append(journal::LogBuilder& log, const MessageDeadLettered& effect) {
  Buffer body;
  ByteWriter writer(body);
  writer.i64_le(effect.time.ms);
  writer.u32_le(effect.queue.value);
  writer.u32_le(effect.delivery_count);
  writer.u64_le(effect.sequence.value);
  writer.u8(static_cast<std::uint8_t>(effect.cause));
  writer.u8(effect.replaces_properties ? kReplacesProperties : 0);
  writer.sized_text(effect.reason);
  writer.sized_text(effect.description);
  writer.sized_bytes(effect.modified_properties);
  return log.append(RecordType::message_dead_lettered, body);
}

Lsn append(journal::LogBuilder& log, const TimeAdvanced& effect) {
  std::array<std::byte, 8> body;
  store_le(body.data(), effect.time.ms);
  return log.append(RecordType::time_advanced, BytesView(body));
}

Lsn append(journal::LogBuilder& log, const MessageDeferred& effect) {
  Buffer body;
  ByteWriter writer(body);
  writer.i64_le(effect.time.ms);
  writer.u32_le(effect.queue.value);
  writer.u32_le(effect.delivery_count);
  writer.u64_le(effect.sequence.value);
  writer.u8(effect.replaces_properties ? kReplacesProperties : 0);
  writer.sized_bytes(effect.modified_properties);
  return log.append(RecordType::message_deferred, body);
}

Lsn append(journal::LogBuilder& log, const MessageScheduled& effect) {
  std::array<std::byte, kScheduledHeaderBytes> front;
  store_le(front.data(), effect.due.ms);
  return append_behind(log, RecordType::message_scheduled, front, effect.message);
}

Lsn append(journal::LogBuilder& log, const MessageActivated& effect) {
  std::array<std::byte, kActivatedBytes> body;
  store_le(body.data(), effect.time.ms);
  store_le(body.data() + 8, effect.queue.value);
  store_le(body.data() + 12, std::uint32_t{0});
  store_le(body.data() + 16, effect.scheduled_as.value);
  store_le(body.data() + 24, effect.sequence.value);
  store_le(body.data() + 32, effect.expires_ms);
  return log.append(RecordType::message_activated, BytesView(body));
}

bool read_stored_message(const journal::Record& record, StoredMessage& out) {
  if (record.header.type == RecordType::message_stored) return decode(record.body, out);
  if (record.header.type == RecordType::message_scheduled) {
    MessageScheduled scheduled;
    if (!decode(record.body, scheduled)) return false;
    out = scheduled.message;
    return true;
  }
  MessageMoved moved;
  if (record.header.type != RecordType::message_moved || !decode(record.body, moved)) return false;
  out = moved.message;
  return true;
}

}  // namespace mainstay::broker
