// Inside of Leader: what is volatile. Not a public header.
//
// Nothing here grows with the backlog. What is available is found by looking at messages in order of
// sequence, from a cursor on; only what comes back below a cursor is remembered one by one, up to a limit.
// When there is more, the highest is forgotten and the cursor goes back to it: what is passed again is
// skipped by asking whether it is locked. So one pass over what lies between is paid for by `returned_max`
// returns.
//
// Invariants (leader_invariants.cpp checks them), for each queue:
//   - each lock is found by its token, by its queue and sequence number, and in one list: its queue's in the
//     order in which they expire, or its session holder's;
//   - a message of a lane (active ones of a queue without sessions; dead-lettered ones) that is below the
//     lane's `cursor` is locked or in `returned`, never both; from `fresh` on none was ever handed out;
//   - with sessions the same holds for each held session with the holder's `next` (0 = past the last),
//     `returned` and `fresh`; messages of sessions that nobody holds are neither locked nor returned;
//   - a session that nobody holds, whose oldest message is committed and below `session_cursor`, is in
//     `available`;
//   - a queue with locks of its own, with messages that expire or with scheduled ones has its timer armed, no
//     later than they are due;
//   - deferred and scheduled messages are in no lane and in no session's list; deferred ones may be locked.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "broker/containers.h"
#include "broker/expiry_watch.h"
#include "broker/leader.h"
#include "broker/state_impl.h"
#include "broker/timer_heap.h"

namespace mainstay::broker {

/// Messages below a cursor that are available again, with the LSN that must be committed before they may be
/// seen again.
using Returned = std::map<std::uint64_t, Lsn>;

struct Lock {
  LockToken token;
  std::uint64_t sequence{};
  Lsn after{};
  ConsumerId consumer{};
  Instant expires{};  ///< not used while a session is held: the session's counts
  std::uint32_t queue{};
  std::uint32_t previous = kNone, next = kNone;  ///< in the queue's list, or the session holder's
  SubQueue sub{};
  bool live = false;
  bool in_session = false;
  bool deferred = false;  ///< on a deferred message: it is in no lane
};

struct LockList {
  std::uint32_t first = kNone, last = kNone;
};

struct Consumer {
  ConsumerId id{};
  std::uint32_t queue{};
  SubQueue sub{};
  ReceiveMode mode{};
  std::uint32_t credit = 0;
  std::uint32_t window = 0;
  std::uint64_t dispatched = 0;
  std::uint64_t taken = 0;  ///< of those; at most `window` are not
  bool in_line = false;     ///< in its lane's line of consumers that can get a message
  bool waiting = false;     ///< for a session
  bool dirty = false;       ///< in dirty_holders
  bool draining = false;    ///< in Impl::draining
  Lsn last_after{};         ///< `after` never falls along a consumer's deliveries: shown in order
  Instant deadline{};       ///< waiting: of the wait; holding: of the session's lock
  WallTime locked_until{};
  bool holds = false;
  std::string session_id;
  std::uint32_t holding = kNone;  ///< in Impl::holdings, while its session has messages
  std::uint64_t next = 0;
  std::uint64_t fresh = 0;  ///< no message of the session from here on was handed out to it
  Lsn after{};              ///< of returned ones that are not in `returned`
  Returned returned;
  LockList outstanding;

  [[nodiscard]] bool has_room() const { return window == 0 || dispatched - taken < window; }
  [[nodiscard]] bool can_take() const { return credit > 0 && has_room(); }
};

struct Lane {
  Returned returned;
  std::uint64_t cursor = 1;
  std::uint64_t fresh = 1;
  Lsn after{};           ///< of those that came from the cursor on and so are not in `returned`
  Fifo<Consumer*> line;  ///< consumers that can get a message, whose turn is next first
  std::uint64_t locked = 0;
};

struct Available {
  std::uint64_t head{};  ///< oldest message of the session
  std::uint32_t session{};
  friend auto operator<=>(const Available&, const Available&) = default;
};

/// Lets a table with strings as keys be asked with views.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};

/// About half a KiB without anything allocated while the queue is idle. What a publish and its commit use
/// stands in front.
struct alignas(64) QueueRuntime {
  Queue* queue = nullptr;
  bool dirty = false;      ///< in dirty_queues
  bool searching = false;  ///< in unfinished
  // Sessions.
  std::uint64_t session_cursor = 1;
  Fifo<ConsumerId> waiting;
  std::unordered_map<std::string, Consumer*, TextHash, std::equal_to<>>
      held;                       ///< by id, also of sessions without messages
  std::set<Available> available;  ///< the oldest ones
  std::uint64_t holdings = 0;     ///< held sessions with messages
  Lsn session_failure{};  ///< last failed delivery or activation: the next holder sees nothing before it is
                          ///< committed
  // All queues.
  std::uint64_t duplicates_dropped = 0;
  Lane active, dead;  ///< with sessions, of `active` only `locked` is used
  LockList locks;
  ExpiryWatch expiry{MessageRing::Due::expires}, schedule{MessageRing::Due::is_enqueued};
  std::uint64_t deferred_locked = 0;
  Lsn deferred_change{};  ///< last record about a deferred message: they are not seen before it is committed

  Lane& lane(SubQueue sub) { return sub == SubQueue::active ? active : dead; }
  [[nodiscard]] const Lane& lane(SubQueue sub) const { return sub == SubQueue::active ? active : dead; }
  [[nodiscard]] bool has_sessions() const { return queue->options.requires_session; }
  [[nodiscard]] std::uint64_t locked() const { return active.locked + dead.locked + deferred_locked; }
};
static_assert(sizeof(QueueRuntime) <= 1024, "memory of an idle queue is a promise");

/// Who holds a session that has messages.
struct Holding {
  std::uint32_t queue{}, session{};
  Consumer* holder = nullptr;
};

struct Leader::Impl {
  static constexpr std::size_t kExpiredPerCall = 16384;  ///< of a queue, and as many scheduled ones

  Impl(State& s, journal::LogBuilder& l, Random& r, LeaderLimits most)
      : state(*s.impl_), whole(s), log(l), random(r), limits(most) {}

  struct Times {
    Instant now;
    WallTime wall;
  };
  struct Uncommitted {
    Lsn lsn;
    std::uint32_t queue{};
    std::uint64_t sequence{};
  };

  State::Impl& state;
  State& whole;
  journal::LogBuilder& log;
  Random& random;
  const LeaderLimits limits;
  Lsn takeover{};
  Lsn committed_lsn{};
  std::vector<std::unique_ptr<QueueRuntime>> queues;  ///< QueueId − 1
  std::unordered_map<ConsumerId, std::unique_ptr<Consumer>> consumers;
  Pool<Lock> locks;
  HashIndex lock_index;  ///< by queue and sequence number
  Pool<Holding> holdings;
  HashIndex holding_index;  ///< by queue and session
  Fifo<Uncommitted> uncommitted;
  /// Activated before they were committed: their time came at once.
  std::multimap<Lsn, Uncommitted> activated_uncommitted;
  TimerHeap<Instant> lock_timers;           ///< queue index → its first lock expires, or did not last
  TimerHeap<std::int64_t> expiry_timers;    ///< queue index → log time (ms)
  TimerHeap<std::int64_t> schedule_timers;  ///< the same of scheduled messages
  std::set<std::pair<Instant, ConsumerId>> timers;  ///< waits for sessions and session locks
  std::vector<std::uint32_t> dirty_queues;          ///< to be looked at when this call ends
  std::vector<ConsumerId> dirty_holders;
  std::vector<ConsumerId> draining;       ///< Drained is owed
  bool more_has_expired = false;          ///< or was scheduled, than the last tick has dealt with
  Times seen{};                           ///< of the last call that had both
  std::uint64_t steps_left = 0;           ///< of this call's search
  std::vector<std::uint32_t> unfinished;  ///< queues whose search goes on in the next committed() or tick()
  std::vector<ConsumerId> holders_to_resume;
  std::uint64_t searched = 0;

  // leader.cpp
  void take_over();
  void add_runtime(Queue& queue);
  [[nodiscard]] QueueRuntime* find(QueueId id) const {
    return id.value >= 1 && id.value <= queues.size() ? queues[id.value - 1].get() : nullptr;
  }
  [[nodiscard]] WallTime log_now(WallTime wall) const;
  [[nodiscard]] bool ready() const { return committed_lsn >= takeover; }
  void publish(const Publish& publish, WallTime now, std::vector<Output>& out);
  void committed(Lsn lsn);
  void became_visible(const Uncommitted& one);
  void tick(Times t, std::vector<Output>& out);
  /// Each call of the public interface begins and ends with these.
  void begin() { steps_left = limits.search_steps_max; }
  void end(Times t, std::vector<Output>& out);
  void mark(QueueRuntime& q);
  void mark(Consumer& holder);
  void resume_searches();
  /// Appends the effect's record and applies that effect: the only way in which the leader changes state.
  template <class Effect>
  Lsn record(const Effect& effect) {
    MS_ASSERT(log.end().lsn == state.applied_lsn, "every record goes through the leader");
    const Lsn lsn = append(log, effect);
    const char* why = state.apply(lsn, effect);
    MS_ASSERT(why == nullptr, why);
    return lsn;
  }

  // leader_prefetch.cpp
  void prefetch(std::span<const Coming> coming) const;

  // leader_dispatch.cpp
  void dispatch_dirty(Times t, std::vector<Output>& out);
  void dispatch_lane(QueueRuntime& q, SubQueue sub, Times t, std::vector<Output>& out);
  void dispatch_holder(QueueRuntime& q, Consumer& c, Times t, std::vector<Output>& out);
  void describe(const QueueRuntime& q, std::uint64_t sequence, const Message& message, Delivery& d) const;
  void deliver(QueueRuntime& q, Consumer& c, SubQueue sub, std::uint64_t sequence, Lsn after, Times t,
               std::vector<Output>& out);
  void offer(QueueRuntime& q, Consumer& c);
  void finish_drains(std::vector<Output>& out);
  void stop_draining(Consumer& c);
  void forget(Consumer& c);
  void join_line(QueueRuntime& q, Consumer& c);
  void leave_line(QueueRuntime& q, Consumer& c);
  std::uint32_t new_lock(std::uint32_t queue, std::uint64_t sequence);
  [[nodiscard]] std::uint32_t find_lock(const LockToken& token) const;
  void link_by_expiry(LockList& list, std::uint32_t index);
  void unlink(LockList& list, std::uint32_t index);
  void free_lock(QueueRuntime& q, std::uint32_t index);

  // leader_settle.cpp
  void settle(const Settle& settle, Times t, std::vector<Output>& out);
  void step_over(QueueRuntime& q, std::uint64_t sequence, const Message& message);
  [[nodiscard]] bool leave_session(QueueRuntime& q, std::uint32_t session, std::uint32_t listed,
                                   std::uint32_t for_good);
  Lsn remove(QueueRuntime& q, std::uint64_t sequence, RemovalCause cause, Times t);
  Lsn dead_letter(QueueRuntime& q, std::uint64_t sequence, DeadLetterCause cause, std::uint32_t count,
                  std::string_view reason, std::string_view description, const Buffer* properties, Times t);
  Lsn defer(QueueRuntime& q, std::uint64_t sequence, const Buffer* properties, Times t);
  struct Failed {
    Lsn lsn{};
    bool dead_lettered = false;
  };
  Failed fail_delivery(QueueRuntime& q, std::uint64_t sequence, FailureCause cause, const Buffer* properties,
                       Times t);
  void give_back(QueueRuntime& q, const Lock& lock, Lsn after, Times t);
  [[nodiscard]] bool is_expired(const Message& message, WallTime wall) const;
  Lsn expire(QueueRuntime& q, std::uint64_t sequence, Times t);
  void expire_messages(QueueRuntime& q, Times t);
  void expire_locks(QueueRuntime& q, Times t);
  void watch_expiry(QueueRuntime& q, std::uint64_t sequence, std::int64_t expires_ms);

  // leader_deferred.cpp
  void receive_deferred(const ReceiveDeferred& receive, Times t, std::vector<Output>& out);
  [[nodiscard]] std::optional<BrokerError> not_receivable(const QueueRuntime& q,
                                                          const ReceiveDeferred& receive,
                                                          const Consumer* holder) const;
  [[nodiscard]] Fetched peek(const Peek& peek) const;
  void cancel_scheduled(const CancelScheduled& cancel, Times t, std::vector<Output>& out);
  void watch_schedule(QueueRuntime& q, std::uint64_t sequence, std::int64_t due_ms);
  void activate_due(QueueRuntime& q, Times t);
  void activate(QueueRuntime& q, std::uint64_t sequence, Times t);

  // leader_sessions.cpp
  void subscribe(const Subscribe& subscribe, Times t, std::vector<Output>& out);
  void unsubscribe(ConsumerId id, Times t);
  void grant(QueueRuntime& q, Consumer& c, std::string session_id, Times t, std::vector<Output>& out);
  void end_session(QueueRuntime& q, Consumer& c, bool failed, Times t);
  [[nodiscard]] std::uint32_t oldest_available(QueueRuntime& q, Times t);
  void assign_sessions(QueueRuntime& q, Times t, std::vector<Output>& out);
  void run_timers(Times t, std::vector<Output>& out);
  void set_timer(Consumer& c, Instant at);
  void clear_timer(Consumer& c);

  // leader_search.cpp
  [[nodiscard]] bool step(QueueRuntime& q);
  [[nodiscard]] std::uint32_t lock_on(std::uint32_t queue, std::uint64_t sequence) const;
  [[nodiscard]] bool is_locked(const QueueRuntime& q, std::uint64_t sequence) const {
    return lock_on(q.queue->id.value, sequence) != kNone;
  }
  void put_back(QueueRuntime& q, SubQueue sub, std::uint64_t sequence, Lsn after);
  void put_back(Consumer& holder, std::uint64_t sequence, Lsn after);
  [[nodiscard]] std::uint64_t find_fresh(QueueRuntime& q, SubQueue sub);
  [[nodiscard]] std::uint64_t find_fresh(QueueRuntime& q, Consumer& holder);
  [[nodiscard]] Consumer* holder_of(std::uint32_t queue, std::uint32_t session) const;
  void hold(QueueRuntime& q, std::uint32_t session, Consumer& holder);
  void let_go(QueueRuntime& q, Consumer& holder);
  [[nodiscard]] bool is_visible(const Message& message) const {
    return message.lsn <= std::max(committed_lsn, takeover).value;
  }
  void offer_session(QueueRuntime& q, std::uint32_t session);
  [[nodiscard]] bool search_sessions(QueueRuntime& q);

  // leader_invariants.cpp
  void check_invariants() const;
  void check_queue(std::uint32_t index) const;
  [[nodiscard]] bool searching_in(std::uint32_t queue) const { return queues[queue - 1]->searching; }
};

/// What a delivery says of the message, but for its lock.
inline void Leader::Impl::describe(const QueueRuntime& q, std::uint64_t sequence, const Message& message,
                                   Delivery& d) const {
  d.queue = q.queue->id;
  d.sub = message.place;
  d.sequence = SequenceNumber{sequence};
  d.lsn = Lsn{message.lsn};
  d.delivery_count = message.delivery_count;
  d.state = message.state;
  d.scheduled_as = SequenceNumber{message.scheduled_as(sequence)};
  d.maybe_delivered = message.moved || d.lsn <= takeover;
  d.enqueued = {message.enqueued_ms};
  if (message.annotated) {
    const Annotation& annotation = q.queue->annotations.at(sequence);
    d.dead_letter_reason = annotation.reason;
    d.dead_letter_description = annotation.description;
    d.modified_properties = annotation.properties;
  }
}

}  // namespace mainstay::broker
