// Bodies of the broker's records: what happened, not what was asked for. Little-endian;
// docs/formats/effects.md lists them byte by byte. A body never changes meaning: a new meaning is a new
// record type.
//
// Every effect carries the log's time, which never goes back. Views point into the record (decoding) or at
// the caller's memory (encoding).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"
#include "broker/types.h"
#include "journal/journal.h"
#include "journal/record.h"

namespace mainstay::broker {

/// A queue came to be (its id is one above the last one's) or has new options (same id, same name).
struct QueueDeclared {
  WallTime time{};
  QueueId queue{};
  QueueOptions options;
  std::string_view name;
};

/// The part of a message_stored record that a consumer gets: the message as its sender encoded it.
struct StoredMessage {
  QueueId queue{};
  SequenceNumber sequence{};
  WallTime enqueued{};        ///< the record's log time
  std::int64_t expires_ms{};  ///< wall time; 0 = never
  std::uint32_t message_format{};
  bool has_session = false;
  std::string_view session_id;
  std::string_view message_id;
  BytesView payload;
};

/// Messages left the queue for good. In the log: never renumber.
enum class RemovalCause : std::uint8_t {
  completed = 0,
  received_and_deleted = 1,
  expired = 2,
  cancelled = 3,  ///< of scheduled messages, the others are never of those
};
struct MessagesSettled {
  WallTime time{};
  QueueId queue{};
  RemovalCause cause{};
  BytesView sequences;  ///< u64 little-endian each, at least one
  [[nodiscard]] std::size_t count() const { return sequences.size() / 8; }
  [[nodiscard]] SequenceNumber at(std::size_t i) const {
    return {load_le<std::uint64_t>(sequences.data() + i * 8)};
  }
};

/// A delivery failed; the message stays in its place. In the log: never renumber.
enum class FailureCause : std::uint8_t { abandoned = 0, lock_expired = 1, session_lock_lost = 2 };
struct DeliveryFailed {
  WallTime time{};
  QueueId queue{};
  SequenceNumber sequence{};
  std::uint32_t delivery_count{};  ///< from now on: one more than before, unchanged in a dead-letter queue
  FailureCause cause{};
  bool replaces_properties = false;
  BytesView modified_properties;  ///< whole map from now on, when replaces_properties
};

/// A message moved to its queue's dead-letter queue. In the log: never renumber.
enum class DeadLetterCause : std::uint8_t { application = 0, max_delivery_count = 1, expired = 2 };
struct MessageDeadLettered {
  WallTime time{};
  QueueId queue{};
  SequenceNumber sequence{};
  std::uint32_t delivery_count{};  ///< from now on
  DeadLetterCause cause{};
  bool replaces_properties = false;
  std::string_view reason, description;
  BytesView modified_properties;  ///< whole map from now on, when replaces_properties
};

struct TimeAdvanced {
  WallTime time{};
};

/// The same message again, in a record of its own: its old record is needed no more, so that the log's front
/// can go. The message is as it was stored, whatever has happened to it since.
struct MessageMoved {
  WallTime time{};
  StoredMessage message;
  /// Its sequence number now, when that is another one because it was scheduled; else 0.
  SequenceNumber renumbered{};
  [[nodiscard]] SequenceNumber sequence() const {
    return renumbered.value != 0 ? renumbered : message.sequence;
  }
};

/// A delivery ended in deferral: the message stays where it is, to be had by its sequence number only.
struct MessageDeferred {
  WallTime time{};
  QueueId queue{};
  SequenceNumber sequence{};
  std::uint32_t delivery_count{};  ///< from now on: one more than before, unchanged in a dead-letter queue
  bool replaces_properties = false;
  BytesView modified_properties;  ///< whole map from now on, when replaces_properties
};

/// A message was stored that is not there before `due`. `message.enqueued` is the record's log time,
/// `message.expires_ms` when it expires if it is there at `due`.
struct MessageScheduled {
  WallTime due{};  ///< after the record's time
  StoredMessage message;
};

/// A scheduled message is there: last in its queue and session, under that queue's next sequence number.
struct MessageActivated {
  WallTime time{};  ///< its enqueued time
  QueueId queue{};
  SequenceNumber scheduled_as{}, sequence{};
  std::int64_t expires_ms{};  ///< wall time; 0 = never
};

/// Log times and expiry times are in [0, kTimeMax_ms]: arithmetic on them cannot overflow.
inline constexpr std::int64_t kTimeMax_ms = std::int64_t{1} << 52;
inline constexpr std::size_t kReasonCharactersMax = 4096;
inline constexpr std::size_t kReasonBytesMax = 4 * kReasonCharactersMax;
inline constexpr std::size_t kModifiedPropertiesBytesMax = 65536;
inline constexpr std::size_t kIdCharactersMax = 128;
inline constexpr std::size_t kIdBytesMax = 4 * kIdCharactersMax;

/// The flag byte of queue options, in records and checkpoints: 1 requires sessions, 2 duplicate detection,
/// 4 dead-letter on expiry, 8 and 16 the durability level, 32 producers may not choose it. Zeros mean what
/// they meant before levels were recorded.
inline constexpr std::uint8_t kQueueFlagsMax = 63;
[[nodiscard]] std::uint8_t queue_flags(const QueueOptions& options);
/// Sets what the flags say in `options`. False when they say nothing that queue_flags() writes.
[[nodiscard]] bool read_queue_flags(std::uint8_t flags, QueueOptions& options);

/// Decoders: false when the body is not exactly what the format says. They check form and ranges, not whether
/// the effect fits the state.
[[nodiscard]] bool decode(BytesView body, QueueDeclared& out);
[[nodiscard]] bool decode(BytesView body, StoredMessage& out);
[[nodiscard]] bool decode(BytesView body, MessagesSettled& out);
[[nodiscard]] bool decode(BytesView body, DeliveryFailed& out);
[[nodiscard]] bool decode(BytesView body, MessageDeadLettered& out);
[[nodiscard]] bool decode(BytesView body, TimeAdvanced& out);
[[nodiscard]] bool decode(BytesView body, MessageMoved& out);
[[nodiscard]] bool decode(BytesView body, MessageDeferred& out);
[[nodiscard]] bool decode(BytesView body, MessageScheduled& out);
[[nodiscard]] bool decode(BytesView body, MessageActivated& out);

/// Encoders: append the effect's record to the log. @return its LSN.
Lsn append(journal::LogBuilder& log, const QueueDeclared& effect);
Lsn append(journal::LogBuilder& log, const StoredMessage& effect);
Lsn append(journal::LogBuilder& log, const MessagesSettled& effect);
Lsn append(journal::LogBuilder& log, const DeliveryFailed& effect);
Lsn append(journal::LogBuilder& log, const MessageDeadLettered& effect);
Lsn append(journal::LogBuilder& log, const TimeAdvanced& effect);
Lsn append(journal::LogBuilder& log, const MessageMoved& effect);
Lsn append(journal::LogBuilder& log, const MessageDeferred& effect);
Lsn append(journal::LogBuilder& log, const MessageScheduled& effect);
Lsn append(journal::LogBuilder& log, const MessageActivated& effect);

/// Reads the message in a message_stored, message_scheduled or message_moved record, as it was stored. Views
/// point into the record. False when it is of another type or its body is not well-formed.
[[nodiscard]] bool read_stored_message(const journal::Record& record, StoredMessage& out);

}  // namespace mainstay::broker
