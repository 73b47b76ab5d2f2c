// Inside of State, shared with Leader (which reads it and never changes it but through apply()) and with
// checkpoints. Not a public header.
//
// A message is one slot of 64 bytes in its queue's ring, found by sequence number; the body is in the log.
// Invariants (broker_invariants.cpp checks them):
//   - place is active or dead_letter: one enum, so "in both" cannot be written down; in its place a message
//     is active (to be handed out), deferred or scheduled, the latter two are "hidden" and found by their
//     sequence number or their time only; scheduled ones are never dead-lettered;
//   - active messages of a session that are not hidden form one list in sequence order; the hidden ones are
//     counted; a session exists while it has any; dead-lettered messages have no session;
//   - a duplicate-detection entry lives while it is in the window; no two have the same id;
//   - sum is the wrapping sum of the hashes of all parts, whatever the order they came in; each page has the
//     sum of its own.
#pragma once

#include <limits>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "broker/containers.h"
#include "broker/duplicate_window.h"
#include "broker/effects.h"
#include "broker/message_ring.h"
#include "broker/pager.h"
#include "broker/session_pool.h"
#include "broker/state.h"

namespace mainstay::broker {

/// The ring's annotations by sequence number.
struct Annotations {
  const MessageRing& ring;
  [[nodiscard]] const Annotation& at(std::uint64_t sequence) const {
    const Annotation* annotation = ring.annotation(sequence);
    MS_ASSERT(annotation != nullptr, "an annotated message has an annotation");
    return *annotation;
  }
};

/// What a publish uses stands in front.
struct alignas(64) Queue {
  explicit Queue(Pager& pager) : ring(pager), sessions(pager), window(pager) {}

  QueueId id{};
  bool window_watched = false;  ///< in State::Impl::window_ends
  std::uint64_t next_sequence = 1;
  QueueOptions options;
  MessageRing ring;
  SessionPool sessions;
  std::uint64_t active = 0, dead = 0;  ///< not hidden
  std::uint64_t deferred = 0, scheduled = 0, bytes = 0;
  static constexpr std::size_t kFront = 6 * 64;  ///< up to here, without duplicate detection
  DuplicateWindow window;
  std::string name;
  Annotations annotations{ring};
  mutable std::uint64_t active_from = 1;  ///< no active message is below
  /// Of the message that first_active() found last, so that asking again loads nothing.
  mutable std::uint64_t oldest_sequence = 0;
  mutable std::int64_t oldest_enqueued_ms = 0;

  /// The window's entry of this id; nullptr when there is none.
  [[nodiscard]] const WindowEntry* find_duplicate(std::string_view message_id) const {
    return window.empty() ? nullptr : window.find(message_id, id_hash(message_id));
  }
  [[nodiscard]] std::uint32_t find_session(std::string_view session_id) const {
    return sessions.live() == 0 ? kNone : sessions.find(session_id, id_hash(session_id));
  }
  /// First active message at or above `from`; 0 when none.
  [[nodiscard]] std::uint64_t next_active(std::uint64_t from) const { return ring.next_active(from); }
  [[nodiscard]] std::uint64_t next_dead(std::uint64_t from) const { return ring.next_dead(from); }
  [[nodiscard]] std::uint64_t first_active() const;
  /// Of the queue's counters, the one that such a message is counted in.
  std::uint64_t& counter(const Message& message) {
    if (message.state == MessageState::deferred) return deferred;
    if (message.state == MessageState::scheduled) return scheduled;
    return message.place == SubQueue::active ? active : dead;
  }
};

struct State::Impl {
  Impl(paging::PageStore* store, StateLimits limits)
      : pager(store, limits.index_bytes, limits.index_hot_bytes) {}

  Lsn applied_lsn{};
  WallTime log_time{};
  std::uint64_t sum = 0;
  std::int64_t next_window_end_ms = std::numeric_limits<std::int64_t>::max();
  Pager pager;                                 ///< before the queues, whose pages it owns
  std::vector<std::unique_ptr<Queue>> queues;  ///< QueueId − 1
  std::unordered_map<std::string, QueueId> by_name;
  std::uint64_t messages_total = 0, payload_bytes_total = 0;
  /// Heap, earliest first: one for each queue whose window is not empty, no later than its first entry's end.
  std::vector<std::pair<std::int64_t, std::uint32_t>> window_ends;

  [[nodiscard]] Queue* find(QueueId id) const {
    return id.value >= 1 && id.value <= queues.size() ? queues[id.value - 1].get() : nullptr;
  }
  [[nodiscard]] Queue& at(QueueId id) const {
    Queue* queue = find(id);
    MS_ASSERT(queue != nullptr, "a queue id comes from this state");
    return *queue;
  }
  /// Between commands: nothing refers into pages.
  void trim() { pager.trim(); }

  /// The one way in: leader and replicas call these, with the effect as it is in the log.
  /// @return nullptr, or why this effect cannot follow this state (which is then unchanged but for its time).
  [[nodiscard]] const char* apply(Lsn lsn, const QueueDeclared& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const StoredMessage& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessagesSettled& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const DeliveryFailed& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessageDeadLettered& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const TimeAdvanced& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessageMoved& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessageDeferred& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessageScheduled& effect);
  [[nodiscard]] const char* apply(Lsn lsn, const MessageActivated& effect);

  [[nodiscard]] const char* advance_time(WallTime time);
  void pass_windows();
  void drop_from_window(Queue& queue);
  void watch_window(Queue& queue);
  void watch_windows_anew();
  void remove_message(Queue& queue, std::uint64_t sequence, const Message& message);
  /// Stores a message whose form is checked; hidden when `due_ms` is not 0.
  [[nodiscard]] const char* store(Lsn lsn, const StoredMessage& effect, std::int64_t due_ms);
  [[nodiscard]] static std::uint32_t session_named(Queue& queue, std::string_view session_id);
  static void link_session(Queue& queue, std::uint32_t index, std::uint64_t sequence, Message& message);
  static void unlink_session(Queue& queue, const Message& message);
  static void forget_session(Queue& queue, std::uint32_t index);
  void next_sequence(Queue& queue);
  void replace_properties(Queue& queue, std::uint64_t sequence, bool replaces, BytesView properties);

  [[nodiscard]] std::uint64_t hash_of(const Queue& queue, std::uint64_t sequence,
                                      const Message& message) const;
  [[nodiscard]] static std::uint64_t hash_of(QueueId queue, std::uint64_t sequence, const Message& message,
                                             std::uint64_t session_hash, const Annotation* annotation);
  [[nodiscard]] static std::uint64_t hash_of(QueueId queue, const WindowEntry& entry);
  [[nodiscard]] static std::uint64_t hash_of(const Queue& queue);
  [[nodiscard]] static std::uint64_t hash_of_sequence(const Queue& queue);
  [[nodiscard]] std::uint64_t recompute_sum();
  void check_invariants();
};

/// For tests.
inline State::Impl& inside(State& state) {
  return *state.impl_;
}

std::string lower_case(std::string_view text);

}  // namespace mainstay::broker
