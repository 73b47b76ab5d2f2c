// The nouns of the broker: queues, sub-queues, messages, locks. Semantics are Azure Service Bus's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace mainstay::broker {

/// A queue within its group; given at declaration, never reused, in the log.
using QueueId = Id<struct QueueTag, std::uint32_t>;
/// Position of a message in its queue: dense from 1, kept when it moves to the dead-letter queue, survives
/// failover.
using SequenceNumber = Id<struct SequenceTag>;
/// A consumer (a receiving link). Chosen by the caller, never reused while the leader lives. Volatile: not in
/// the log.
using ConsumerId = std::uint64_t;
/// Names a lock; is the AMQP delivery-tag. Volatile.
using LockToken = Uuid;

/// A queue is two addressable sequences: its own and its dead-letter queue (`<name>/$DeadLetterQueue`).
enum class SubQueue : std::uint8_t { active = 0, dead_letter = 1 };

/// What a message in its place waits for. In checkpoints, and numbered as `x-opt-message-state`.
enum class MessageState : std::uint8_t {
  active = 0,     ///< to be handed out
  deferred = 1,   ///< to be received by its sequence number, by Leader::receive_deferred() only
  scheduled = 2,  ///< its time has not come
};

/// How safe a message is when its publish is confirmed. In the log: never renumber. Each includes the ones
/// before.
enum class Durability : std::uint8_t {
  journal = 0,  ///< synced to the disk of the live node
  region = 1,   ///< and of another node of its region
  global = 2,   ///< and of a node of the other region
};
/// Names as configuration and clients write them.
[[nodiscard]] const char* durability_name(Durability level);
[[nodiscard]] std::optional<Durability> durability_of(std::string_view name);

struct QueueOptions {
  bool requires_session = false;  ///< every message has a session (group-id); receivers hold sessions
  bool duplicate_detection = false;
  std::int64_t duplicate_window_ms = 600'000;  ///< 20 s to 7 days
  std::int64_t lock_duration_ms = 60'000;      ///< 1 s to 5 min
  std::uint32_t max_delivery_count = 10;       ///< 1 to 2000 failed deliveries, then the dead-letter queue
  std::int64_t default_ttl_ms = 0;  ///< 0 = messages do not expire; a message's own ttl can only shorten it
  bool dead_letter_on_expiry = false;           ///< else expired messages are dropped
  Durability durability = Durability::journal;  ///< the least a confirm waits for
  bool producers_choose_durability = true;      ///< they may ask for more
  friend bool operator==(const QueueOptions&, const QueueOptions&) = default;
};

/// What is wrong with a queue's name (1 to 260 bytes, printable, none that a sub-queue could have) or with
/// its options (ranges above); nothing when all is well.
[[nodiscard]] std::optional<std::string> queue_declaration_problem(std::string_view name,
                                                                   const QueueOptions& options);

enum class ErrorCode : std::uint8_t {
  queue_not_found,
  session_required,       ///< the queue requires sessions and the message or receiver has none
  session_not_supported,  ///< the receiver asks for a session on a queue without
  session_locked,         ///< the named session is held by another receiver
  session_timeout,        ///< no session became available in time
  session_lock_lost,
  message_lock_lost,    ///< expired, settled before, or never given out
  message_not_found,    ///< a sequence number named none, or one that is not deferred (not scheduled)
  id_too_long,          ///< message id or session id over 128 characters
  cannot_dead_letter,   ///< the message is in a dead-letter queue already
  publish_not_allowed,  ///< target is a dead-letter queue
  bad_queue_options,    ///< out of range, or a change that a queue does not allow
};

/// `what` says it to the client's developer.
struct BrokerError {
  ErrorCode code{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const BrokerError& error, const boost::source_location& where);

enum class Settlement : std::uint8_t {
  complete,  ///< done: remove
  abandon,  ///< failed: count + 1, available at once in its place; at the queue's limit → dead-letter queue
  release,  ///< not tried: available at once in its place, count unchanged
  defer,    ///< count + 1: there, for Leader::receive_deferred() only; it does not expire
  dead_letter,  ///< with reason and description
};

/// A message to be stored. Views are copied before the call returns.
struct Publish {
  std::uint64_t tag{};  ///< the caller's; comes back in PublishDone
  QueueId queue{};
  std::string_view message_id;  ///< ≤ 128 characters; empty = none: never a duplicate
  std::string_view session_id;  ///< ≤ 128 characters; valid when has_session
  bool has_session = false;
  std::int64_t ttl_ms = -1;  ///< header.ttl; -1 = none
  std::uint32_t message_format{};
  Durability durability = Durability::journal;  ///< what PublishDone is to wait for: passed on, not recorded
  /// Stored now and there from then on, under another sequence number; a time that has passed: at once. Its
  /// time to live begins then.
  std::optional<WallTime> scheduled_enqueue;
  BytesView payload;  ///< the encoded message as it came
};

enum class ReceiveMode : std::uint8_t { peek_lock, receive_and_delete };

struct Subscribe {
  ConsumerId consumer{};
  QueueId queue{};
  SubQueue sub = SubQueue::active;
  ReceiveMode mode = ReceiveMode::peek_lock;
  enum class Session : std::uint8_t { none, next_available, named };
  Session session = Session::none;  ///< dead-letter queues never have sessions
  std::string session_id;           ///< for named
  Instant session_deadline{};       ///< next_available: refuse with session_timeout then
  /// Most deliveries put out and not reported by Leader::taken(), whatever the credit: a client that grants
  /// much and reads nothing costs no more. 0 = no bound.
  std::uint32_t window = 0;
};

/// A message on its way to a consumer, or to who looks at it. The bytes are in the log at `lsn` (effects.h:
/// read_stored_message()).
struct Delivery {
  ConsumerId consumer{};  ///< 0 when asked for by sequence number or looked at
  QueueId queue{};
  SubQueue sub{};
  SequenceNumber sequence{};
  Lsn lsn{};                       ///< of its message_stored record
  LockToken token{};               ///< nil for receive_and_delete and for what is only looked at
  std::uint32_t delivery_count{};  ///< earlier deliveries that failed or ended in deferral
  MessageState state{};
  /// The sequence number under which it was scheduled (x-opt-enqueue-sequence-number); 0 = it was not.
  SequenceNumber scheduled_as{};
  bool maybe_delivered =
      false;            ///< stored under an earlier leadership: may have been handed out there unsettled
  WallTime enqueued{};  ///< of a scheduled message: when it will be
  WallTime locked_until{};
  /// Owned: a delivery may wait for a commit or for a slow reader. Empty but in dead-letter queues.
  std::string dead_letter_reason, dead_letter_description;
  Buffer modified_properties;  ///< encoded AMQP map, empty when none
};

/// Numbers for metrics, CLI and tests. Each message is in one of active, dead_letter, deferred, scheduled.
struct QueueStats {
  QueueId queue{};
  std::string name;
  std::uint64_t active{};  ///< in the queue itself, locked ones included
  std::uint64_t dead_letter{};
  std::uint64_t deferred{};  ///< both sub-queues, locked ones included
  std::uint64_t scheduled{};
  std::uint64_t locked{};              ///< given out and unsettled, both sub-queues (leader only)
  std::uint64_t sessions{};            ///< with at least one message
  std::uint64_t bytes{};               ///< payload bytes of all its messages
  WallTime oldest{};                   ///< enqueued time of the oldest active message; 0 when empty
  std::uint64_t duplicates_dropped{};  ///< since this leadership began
};

}  // namespace mainstay::broker
