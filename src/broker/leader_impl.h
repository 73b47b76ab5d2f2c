// Inside of Leader: what is volatile. Not a public header.
//
// Invariants (leader_invariants.cpp checks them), for each queue:
//   - without sessions, active messages from `cursor` on were never handed out; those below it are locked or
//   in
//     `returned`, never both. `cursor` names an active message, or is the queue's next sequence number;
//   - with sessions the same holds for each held session with the holder's `next` (0 = all handed out) and
//     `returned`; messages of sessions that nobody holds are neither locked nor returned;
//   - dead-lettered messages are locked or in the dead-letter lane's `returned`;
//   - locks of a queue are in the order in which they expire.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "broker/containers.h"
#include "broker/expiry_watch.h"
#include "broker/leader.h"
#include "broker/state_impl.h"

namespace mainstay::broker {

/// Messages that are available again, with the LSN that must be committed before they may be seen again.
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
  std::uint64_t dispatched = 0;
  bool in_line = false;  ///< in its lane's line of consumers with credit
  bool waiting = false;  ///< for a session
  bool dirty = false;    ///< committed() has something for it
  Lsn last_after{};      ///< `after` never falls along a consumer's deliveries: shown in order
  Instant deadline{};    ///< waiting: of the wait; holding: of the session's lock
  WallTime locked_until{};
  bool holds = false;
  std::string session_id;
  std::uint64_t next = 0;
  Returned returned;
  LockList outstanding;
};

struct Lane {
  Returned returned;
  std::uint64_t cursor = 1;  ///< active lane only
  Fifo<Consumer*> line;      ///< consumers with credit, whose turn is next first
};

struct Available {
  std::uint64_t head{};  ///< oldest message of the session
  std::uint32_t session{};
  friend auto operator<=>(const Available&, const Available&) = default;
};

struct QueueRuntime {
  Queue* queue = nullptr;
  Lane active, dead;
  LockList locks;
  std::uint64_t locked = 0;
  std::uint64_t duplicates_dropped = 0;
  bool dirty = false;
  ExpiryWatch expiry;
  // Sessions.
  std::vector<Consumer*> holders;                   ///< by index of the session in the state
  std::unordered_map<std::string, Consumer*> held;  ///< by id, also of sessions without messages
  std::vector<Available> available;                 ///< heap, oldest first; stale entries stay in it
  Fifo<ConsumerId> waiting;
  Lsn session_failure{};  ///< last failed delivery: the next holder sees nothing before it is committed

  Lane& lane(SubQueue sub) { return sub == SubQueue::active ? active : dead; }
  [[nodiscard]] const Lane& lane(SubQueue sub) const { return sub == SubQueue::active ? active : dead; }
  [[nodiscard]] bool has_sessions() const { return queue->options.requires_session; }
};

struct Leader::Impl {
  static constexpr std::size_t kExpiredPerCall = 16384;  ///< of a queue

  Impl(State& s, journal::LogBuilder& l, Random& r) : state(*s.impl_), whole(s), log(l), random(r) {}

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
  Lsn takeover{};
  Lsn committed_lsn{};
  std::vector<std::unique_ptr<QueueRuntime>> queues;  ///< QueueId − 1
  std::unordered_map<ConsumerId, std::unique_ptr<Consumer>> consumers;
  Pool<Lock> locks;
  Fifo<Uncommitted> uncommitted;
  std::set<std::pair<Instant, ConsumerId>> timers;  ///< waits for sessions and session locks
  std::deque<Annotation> shown;                     ///< what the last call's deliveries point to
  std::vector<std::uint32_t> dirty_queues;
  std::vector<ConsumerId> dirty_holders;
  bool more_has_expired = false;          ///< than the last tick has removed
  std::vector<std::uint32_t> dirty_dead;  ///< queues whose dead-letter lane has got something in this call

  // leader.cpp
  void take_over();
  void add_runtime(Queue& queue);
  [[nodiscard]] QueueRuntime* find(QueueId id) const {
    return id.value >= 1 && id.value <= queues.size() ? queues[id.value - 1].get() : nullptr;
  }
  [[nodiscard]] WallTime log_now(WallTime wall) const;
  [[nodiscard]] bool ready() const { return committed_lsn >= takeover; }
  void publish(const Publish& publish, WallTime now, std::vector<Output>& out);
  void committed(Lsn lsn, Times t, std::vector<Output>& out);
  void tick(Times t, std::vector<Output>& out);
  void catch_up(Times t, std::vector<Output>& out);
  void dispatch_dead(Times t, std::vector<Output>& out);
  /// Appends the effect's record and applies that effect: the only way in which the leader changes state.
  template <class Effect>
  Lsn record(const Effect& effect) {
    MS_ASSERT(log.end().lsn == state.applied_lsn, "every record goes through the leader");
    const Lsn lsn = append(log, effect);
    const char* why = state.apply(lsn, effect);
    MS_ASSERT(why == nullptr, why);
    return lsn;
  }

  // leader_dispatch.cpp
  void dispatch_all(QueueRuntime& q, Times t, std::vector<Output>& out);
  void dispatch_lane(QueueRuntime& q, SubQueue sub, Times t, std::vector<Output>& out);
  void dispatch_holder(QueueRuntime& q, Consumer& c, Times t, std::vector<Output>& out);
  void deliver(QueueRuntime& q, Consumer& c, SubQueue sub, std::uint64_t sequence, Lsn after, Times t,
               std::vector<Output>& out);
  void join_line(QueueRuntime& q, Consumer& c);
  void leave_line(QueueRuntime& q, Consumer& c);
  std::uint32_t new_lock();
  [[nodiscard]] std::uint32_t find_lock(const LockToken& token) const;
  void link_by_expiry(LockList& list, std::uint32_t index);
  void unlink(LockList& list, std::uint32_t index);
  void free_lock(QueueRuntime& q, std::uint32_t index);

  // leader_settle.cpp
  void settle(const Settle& settle, Times t, std::vector<Output>& out);
  void before_leaving(QueueRuntime& q, std::uint64_t sequence, const Message& message);
  void after_leaving(QueueRuntime& q, std::uint32_t session);
  Lsn remove(QueueRuntime& q, std::uint64_t sequence, RemovalCause cause, Times t);
  Lsn dead_letter(QueueRuntime& q, std::uint64_t sequence, DeadLetterCause cause, std::uint32_t count,
                  std::string_view reason, std::string_view description, const Buffer* properties, Times t);
  struct Failed {
    Lsn lsn{};
    bool dead_lettered = false;
  };
  Failed fail_delivery(QueueRuntime& q, std::uint64_t sequence, FailureCause cause, const Buffer* properties,
                       Times t);
  void give_back(QueueRuntime& q, const Lock& lock, Lsn after, Times t);
  [[nodiscard]] bool is_expired(const Message& message, WallTime wall) const;
  [[nodiscard]] bool is_locked(const QueueRuntime& q, std::uint64_t sequence, const Message& message) const;
  Lsn expire(QueueRuntime& q, std::uint64_t sequence, Times t);
  void expire_messages(QueueRuntime& q, Times t);
  void expire_locks(QueueRuntime& q, Times t);

  // leader_sessions.cpp
  void subscribe(const Subscribe& subscribe, Times t, std::vector<Output>& out);
  void unsubscribe(ConsumerId id, Times t, std::vector<Output>& out);
  void grant(QueueRuntime& q, Consumer& c, std::string session_id, Times t, std::vector<Output>& out);
  void end_session(QueueRuntime& q, Consumer& c, bool failed, Times t);
  void offer_session(QueueRuntime& q, std::uint32_t session);
  [[nodiscard]] bool is_available(const QueueRuntime& q, const Available& a) const;
  [[nodiscard]] std::uint32_t oldest_available(QueueRuntime& q, Times t);
  void assign_sessions(QueueRuntime& q, Times t, std::vector<Output>& out);
  void run_timers(Times t, std::vector<Output>& out);
  void set_timer(Consumer& c, Instant at);
  void clear_timer(Consumer& c);

  // leader_invariants.cpp
  void check_invariants() const;
};

}  // namespace mainstay::broker
