// Inside of State, shared with Leader (which reads it and never changes it but through apply()) and with the
// snapshot. Not a public header.
//
// A message is one slot of 56 bytes in its queue's ring, found by sequence number; the body is in the log.
// Invariants (broker_invariants.cpp checks them):
//   - place is active or dead_letter: one enum, so "in both" cannot be written down;
//   - active messages of a session form one list in sequence order; a session exists while its list is not
//     empty; dead-lettered messages have no session;
//   - LSNs rise with sequence numbers;
//   - a duplicate-detection entry lives while it is in the window or its message is resident; no two entries
//     have the same id; entries in the window form one list in log-time order;
//   - sum is the wrapping sum of the hashes of all parts, whatever the order they came in.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "broker/containers.h"
#include "broker/effects.h"
#include "broker/state.h"

namespace mainstay::broker {

/// What few messages have: reasons and modified properties.
struct Annotation {
  std::string reason, description;
  Buffer properties;
};

struct Message {
  std::uint64_t lsn{};
  std::int64_t enqueued_ms{};
  std::int64_t expires_ms{};
  std::uint64_t session_previous{}, session_next{};  ///< sequence numbers, 0 = none
  std::uint32_t payload_bytes{};
  std::uint32_t session = kNone;  ///< in Queue::sessions
  std::uint32_t id{};             ///< in Queue::duplicates when indexed, else a text
  std::uint16_t delivery_count{};
  SubQueue place{};
  bool indexed : 1 = false;
  bool annotated : 1 = false;  ///< has an entry in Queue::annotations
};
static_assert(sizeof(Message) == 56, "memory per resident message is a promise");

struct DuplicateEntry {
  std::uint64_t id_hash{};
  std::uint64_t lsn{};
  std::uint64_t sequence{};
  std::int64_t time_ms{};
  std::uint32_t id{};          ///< text, owned
  std::uint32_t next = kNone;  ///< in window order
  bool in_window = false;
  bool resident = false;  ///< a message refers to this entry
};

struct Session {
  std::uint64_t id_hash{};
  std::uint64_t head{}, tail{};  ///< sequence numbers
  std::uint32_t id{};            ///< text, owned
  std::uint32_t count = 0;
};

struct Queue {
  QueueId id{};
  std::string name;
  QueueOptions options;
  std::uint64_t next_sequence = 1;
  SequenceRing<Message> ring;
  std::unordered_map<std::uint64_t, Annotation> annotations;  ///< by sequence; never iterated for results
  Pool<DuplicateEntry> duplicates;
  HashIndex duplicate_index;
  std::uint32_t window_first = kNone, window_last = kNone;
  std::uint64_t window_size = 0;
  Pool<Session> sessions;
  HashIndex session_index;
  std::uint64_t active = 0, dead = 0, bytes = 0;
  std::uint64_t unindexed_ids = 0;        ///< resident messages with an id that duplicate_index does not know
  mutable std::uint64_t active_from = 1;  ///< no active message is below

  [[nodiscard]] std::uint32_t find_duplicate(std::string_view message_id, const TextArena& texts) const;
  [[nodiscard]] std::uint32_t find_session(std::string_view session_id, const TextArena& texts) const;
  /// First active message at or above `from`; 0 when none.
  [[nodiscard]] std::uint64_t next_active(std::uint64_t from) const;
  [[nodiscard]] std::uint64_t first_active() const;
};

struct State::Impl {
  Lsn applied_lsn{};
  WallTime log_time{};
  std::uint64_t sum = 0;
  std::int64_t next_window_end_ms = std::numeric_limits<std::int64_t>::max();
  TextArena texts;
  std::vector<std::unique_ptr<Queue>> queues;  ///< QueueId − 1
  std::unordered_map<std::string, QueueId> by_name;
  std::uint64_t messages_total = 0;

  [[nodiscard]] Queue* find(QueueId id) const {
    return id.value >= 1 && id.value <= queues.size() ? queues[id.value - 1].get() : nullptr;
  }
  [[nodiscard]] Queue& at(QueueId id) const {
    Queue* queue = find(id);
    MS_ASSERT(queue != nullptr, "a queue id comes from this state");
    return *queue;
  }

  /// The one way in: leader and replicas call these, with the effect as it is in the log.
  /// @return nullptr, or why this effect cannot follow this state (which is then unchanged but for its time).
  [[nodiscard]] const char* apply(Lsn lsn, const QueueDeclared& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const StoredMessage& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessagesSettled& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const DeliveryFailed& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessageDeadLettered& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const TimeAdvanced& effect);

  [[nodiscard]] const char* advance_time(WallTime time);
  void pass_windows();
  void drop_from_window(Queue& queue);
  void forget_duplicates(Queue& queue);
  void detach_entry(Queue& queue, std::uint32_t entry);
  void release_entry(Queue& queue, std::uint32_t entry);
  std::uint32_t add_entry(Queue& queue, std::string_view id, std::uint64_t id_hash);
  void add_to_window(Queue& queue, std::uint32_t entry);
  void remove_message(Queue& queue, std::uint64_t sequence, Message& message);
  void link_session(Queue& queue, std::string_view session_id, std::uint64_t sequence, Message& message);
  void unlink_session(Queue& queue, Message& message);
  [[nodiscard]] std::string_view message_id(const Queue& queue, const Message& message) const;

  [[nodiscard]] std::uint64_t hash_of(const Queue& queue, std::uint64_t sequence,
                                      const Message& message) const;
  [[nodiscard]] std::uint64_t hash_of(const Queue& queue, const DuplicateEntry& entry) const;
  [[nodiscard]] std::uint64_t hash_of(const Queue& queue) const;
  [[nodiscard]] std::uint64_t recompute_sum() const;
  void check_invariants() const;
};

std::string lower_case(std::string_view text);
std::uint64_t id_hash(std::string_view id);

}  // namespace mainstay::broker
