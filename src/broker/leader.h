// The live node's broker: decides, records the decision, and holds what is volatile (locks, consumers,
// credit).
//
// "The leader decides, the log records the decision, replicas apply it": every change of replicated state is
// appended to the log *and applied to State by the same code a standby runs*, at once. So State is the log's
// end, while the outside may only see what is committed: each output carries `after`, the LSN that must be
// committed before it may be shown. Messages are dispatched only once committed (committed()).
//
// Settlements, lock expiry and session locks are in the leader's hands; after a failover unsettled messages
// are handed out again, marked maybe_delivered.
//
// One strand. Same state, same calls, same times, same random numbers: same outputs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/result.h"
#include "broker/state.h"
#include "broker/types.h"
#include "journal/journal.h"

namespace mainstay::broker {

/// Answer to a publish. Show it when `after` is committed.
struct PublishDone {
  std::uint64_t tag{};
  Lsn after{};  ///< for a duplicate: the LSN of the original
  bool duplicate = false;
  Durability durability = Durability::journal;  ///< and wait until `after` is as durable as this
  SequenceNumber sequence{};
  std::optional<BrokerError> error;  ///< nothing was stored
};
/// Hand the message to the consumer when `after` is committed.
struct Deliver {
  /// Receive_and_delete: the removal's LSN. Peek-lock: the message's own; for a redelivery that of the
  /// failure before it, when that is not committed yet. Never falls along one consumer's deliveries.
  Lsn after{};
  Delivery delivery;
};
/// Answer to a settlement. Show it when `after` is committed.
struct SettleDone {
  std::uint64_t tag{};
  Lsn after{};  ///< 0 = nothing was recorded (release): show it at once
  std::optional<BrokerError> error;
};
/// The consumer may receive now. `session_id` for session receivers.
struct Subscribed {
  ConsumerId consumer{};
  std::optional<std::string> session_id;
  WallTime locked_until{};  ///< of the session lock
};
/// The consumer is refused or ended by the broker; it is gone.
struct Unsubscribed {
  ConsumerId consumer{};
  BrokerError error;
};
/// All that could be delivered to a draining consumer has been put out before this.
struct Drained {
  ConsumerId consumer{};
};
/// Answer to receive_deferred() and peek(). Show it, messages and all, when `after` is committed.
struct Fetched {
  std::uint64_t tag{};
  Lsn after{};
  std::vector<Delivery> messages;  ///< as they were asked for; of peek(): in order of sequence number
  /// Peek: it has looked at many that were not asked for, more may be from here on. 0 = it came to an end.
  SequenceNumber next{};
  std::optional<BrokerError> error;  ///< nothing has happened, `messages` is empty
};
using Output = std::variant<PublishDone, Deliver, SettleDone, Subscribed, Unsubscribed, Drained, Fetched>;

/// Bounds on what is volatile. They change how long a search takes, never what is handed out or in which
/// order.
struct LeaderLimits {
  /// Messages that came back and are remembered one by one, of each lane and each session's holder. When more
  /// do, they are found again by looking.
  std::size_t returned_max = 4096;
  std::size_t available_max = 1024;  ///< sessions of a queue that are known to be free, oldest first
  /// Messages looked at in one call in search of one that is available. A search that takes longer goes on in
  /// the next committed() or tick(), for which next_deadline() asks at once.
  std::uint64_t search_steps_max = 20'000;
};

class Leader {
 public:
  /// Takes over `state` (the log's end, all of it committed or about to be) and writes through `log`; both
  /// outlive it. Nothing is handed out before committed() has reached that end.
  /// O(queues), whatever the backlog.
  Leader(State& state, journal::LogBuilder& log, Random& random, LeaderLimits limits = {});
  ~Leader();

  /// Declares a queue, or changes its options, by record. Same options: no record. @return its id, or
  /// `bad_queue_options`: out of range, or another value of requires_session than the queue was declared
  /// with.
  [[nodiscard]] Result<QueueId, BrokerError> declare_queue(std::string_view name, const QueueOptions& options,
                                                           WallTime now);

  void publish(const Publish& publish, WallTime now, std::vector<Output>& out);
  /// Where a publish is about to go.
  struct Coming {
    QueueId queue{};
    std::string_view session_id;
  };
  /// Publishes are about to come: brings near what they will touch. Changes nothing, and nothing depends on
  /// it but their speed, which with thousands of queues in use is mostly waiting for memory.
  void prefetch(std::span<const Coming> coming) const;
  void subscribe(const Subscribe& subscribe, Instant now, WallTime wall, std::vector<Output>& out);
  /// Sets what the consumer may still receive. With drain: dispatches what it can, puts out Drained, credit
  /// becomes 0; when the consumer's window is full, taken() goes on with that.
  void set_credit(ConsumerId consumer, std::uint32_t credit, bool drain, Instant now, WallTime wall,
                  std::vector<Output>& out);
  /// Deliveries put out to the consumer since it subscribed, shown yet or not. 0 when there is none of that
  /// name.
  [[nodiscard]] std::uint64_t dispatched(ConsumerId consumer) const;
  /// The consumer's link has taken over `total` of the deliveries put out to it since it subscribed: they are
  /// no longer the leader's caller's to keep. Gives a consumer whose window was full what it has credit for.
  void taken(ConsumerId consumer, std::uint64_t total, Instant now, WallTime wall, std::vector<Output>& out);
  /// The link is gone. Locks of a queue without sessions stay until they expire (they belong to the entity);
  /// a held session is freed and its unsettled messages return without a raised count.
  void unsubscribe(ConsumerId consumer, Instant now, WallTime wall, std::vector<Output>& out);

  struct Settle {
    std::uint64_t tag{};
    LockToken token{};
    Settlement how{};
    std::string_view reason, description;  ///< dead_letter; ≤ 4096 characters, longer ones are cut
    /// Abandon, dead_letter, defer: encoded AMQP map merged into what earlier ones gave; ignored when it is
    /// no map or the merged map would be over 64 KiB.
    BytesView modified_properties;
    /// Not 0: a message of a session is settled only while this consumer holds that session, else the answer
    /// is session_lock_lost.
    ConsumerId holder = 0;
  };
  /// By token, from wherever: locks belong to the entity. A message received by receive_deferred() stays
  /// deferred unless it is completed or dead-lettered.
  void settle(const Settle& settle, Instant now, WallTime wall, std::vector<Output>& out);
  /// @return new end of the lock; for a message of a session its session's end, which this does not move.
  [[nodiscard]] Result<WallTime, BrokerError> renew_lock(LockToken token, Instant now, WallTime wall);
  [[nodiscard]] Result<WallTime, BrokerError> renew_session_lock(ConsumerId consumer, Instant now,
                                                                 WallTime wall);
  /// What a lock is on. It may have run out already, which settle() and renew_lock() find out.
  struct Locked {
    QueueId queue{};
    SubQueue sub{};
    ConsumerId session_holder{};  ///< who holds the message's session; 0 = it has none
  };
  [[nodiscard]] std::optional<Locked> locked(const LockToken& token) const;

  /// Deferred messages, by sequence number; answered by Fetched. All or none: any that is not there, not
  /// deferred, locked, of another session or named twice makes it message_not_found. Peek-lock gives each a
  /// lock of its own, which ends as others do: settled, or by its time (count + 1; in a session with the
  /// session's). The message is deferred still then.
  struct ReceiveDeferred {
    std::uint64_t tag{};
    QueueId queue{};
    SubQueue sub = SubQueue::active;
    ReceiveMode mode = ReceiveMode::peek_lock;
    std::span<const SequenceNumber> sequences;
    /// A queue with sessions (not its dead-letter queue): who holds the session of all of them, else
    /// session_lock_lost. See session_holder().
    ConsumerId holder = 0;
  };
  void receive_deferred(const ReceiveDeferred& receive, Instant now, WallTime wall, std::vector<Output>& out);

  /// Messages from a sequence number on, active, deferred and scheduled, locked or not: no locks, no counts.
  /// Answered by Fetched.
  struct Peek {
    std::uint64_t tag{};
    QueueId queue{};
    SubQueue sub = SubQueue::active;
    SequenceNumber from{};
    std::size_t max{};
    std::optional<std::string_view> session_id;  ///< only those of this session
  };
  void peek(const Peek& peek, std::vector<Output>& out) const;

  /// Scheduled messages go for good; answered by SettleDone. All or none: any that is not there, not (or no
  /// longer) scheduled or named twice makes it message_not_found. Their ids stay in the window.
  struct CancelScheduled {
    std::uint64_t tag{};
    QueueId queue{};
    std::span<const SequenceNumber> sequences;
  };
  void cancel_scheduled(const CancelScheduled& cancel, Instant now, WallTime wall, std::vector<Output>& out);

  /// Who holds the session now; nothing when nobody does.
  [[nodiscard]] std::optional<ConsumerId> session_holder(QueueId queue, std::string_view session_id,
                                                         Instant now) const;

  /// Gives a message a new record at the log's end, with the same content, so that the segment of the one it
  /// has may go. @param record  read at the message's LSN. @param sequence  the message's, which for one that
  /// was scheduled is not the record's. @return its new LSN; 0 when the message has left the queue or has
  /// another record by now: nothing is recorded then.
  [[nodiscard]] Lsn move_message(const journal::Record& record, SequenceNumber sequence, WallTime now);

  /// Everything up to `lsn` is committed: messages up to there may be dispatched.
  void committed(Lsn lsn, Instant now, WallTime wall, std::vector<Output>& out);
  /// Lock expiry, message expiry, scheduled messages, waiting session receivers, duplicate-detection windows.
  /// Call at next_deadline() or every second, whichever is earlier; a late call only delays.
  void tick(Instant now, WallTime wall, std::vector<Output>& out);
  /// May be early, never late; message expiry does not count, the times of scheduled messages do.
  [[nodiscard]] std::optional<Instant> next_deadline() const;
  /// A search goes on in the next committed(), which may repeat the LSN, or tick().
  [[nodiscard]] bool searching() const;
  /// Messages looked at in search of available ones, since this leadership began. For metrics and tests.
  [[nodiscard]] std::uint64_t searched() const;

  /// Appends a state_hash record: replicas compare theirs when they apply it.
  Lsn record_state_hash();
  /// Appends a record that is not the broker's own (epoch_started, sealed, forked). While a leader lives,
  /// every record of its log goes through it: state and log move together.
  Lsn record_other(journal::RecordType type, BytesView body);

  [[nodiscard]] QueueStats stats(QueueId queue) const;  ///< State's, with what is volatile filled in
  [[nodiscard]] std::size_t consumers() const;
  /// Checks every invariant that ties locks, consumers and state together; aborts by MS_ASSERT.
  /// O(everything): tests.
  void check_invariants() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainstay::broker
