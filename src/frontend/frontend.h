// All AMQP connections of a node and what they mean to its broker.
//
// Strand: the group's (single writer). The driver feeds bytes per connection, passes on committed broker
// outputs, and writes what connections have to say after each round (take_dirty()).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "amqp/engine.h"
#include "amqp/message.h"
#include "base/random.h"
#include "broker/leader.h"
#include "frontend/backend.h"
#include "frontend/stall_meter.h"

namespace mainstay::frontend {

/// A TCP connection; never reused.
using ConnectionId = std::uint64_t;

struct FrontendOptions {
  amqp::EngineOptions engine;
  CreditLimits limits;  ///< what publishers are given credit for
  /// Deliveries put out for a receiving link that the AMQP engine has not taken yet, whatever credit the
  /// client gave: one that reads slowly costs no more memory than this, nor locks. 0 = no bound.
  std::uint32_t delivery_window = 1000;
  /// Publishes waiting for room, which only those see who had credit when it went. Beyond, they are refused
  /// as busy; half of it is kept for those that hold less than their part.
  std::uint64_t held_publish_bytes_max = 64U << 20;
  /// Multi-frame messages half arrived, all connections. Beyond, the connection that has most of it loses the
  /// links they are on.
  std::uint64_t unfinished_bytes_max = 64U << 20;
  /// Output that sockets have not taken, all connections. From half of it on each connection keeps to its
  /// part; connections that have stood still for long are closed when it is used up.
  std::uint64_t output_bytes_max = 64U << 20;
  /// Responses of `$management` nodes that wait for their clients. Beyond, requests for messages are answered
  /// as busy; half of it is kept for connections that have none waiting.
  std::uint64_t response_bytes_max = 16U << 20;
};

/// What waits where, now.
struct FlowStatus {
  std::uint64_t sending_links{},
      throttled_links{};           ///< throttled: less credit than link_credit for want of room
  std::uint64_t credit_granted{};  ///< messages that publishers may still send
  std::uint64_t budget_bytes{}, memory_bytes{}, memory_limit_bytes{};
  std::uint64_t held_bytes{}, unfinished_bytes{}, output_bytes{}, journal_backlog_bytes{};
  struct Stall {
    const char* reason = "";
    std::uint64_t links{};  ///< waiting now
    double seconds{};       ///< in which any waited, since the start
  };
  std::vector<Stall> stalls;  ///< one of each reason
};

struct FrontendCounters {
  std::uint64_t connections_opened{}, authentication_failures{};
  std::uint64_t published{}, publish_refused{}, oversize{}, malformed{};
  std::uint64_t delivered{}, settled{}, settle_refused{};
  std::uint64_t requests_answered{}, requests_refused{};  ///< of `$management` nodes; refused: with an error
  std::uint64_t
      credit_stalls{};  ///< times a link had messages to send and could not: no credit window or slow reader
  std::uint64_t held_publishes{};  ///< times a publish had to wait for room
  std::uint64_t links_cut{};  ///< links and connections ended because their unfinished or unread bytes were
                              ///< too many
};

class Connection;
class Management;

class Frontend {
 public:
  Frontend(FrontendOptions options, Backend& backend, Random& random);
  ~Frontend();

  ConnectionId open(Instant now);
  void input(ConnectionId connection, BytesView bytes, Instant now, WallTime wall);
  /// The socket ended; the connection is gone after this.
  void input_closed(ConnectionId connection, Instant now, WallTime wall);
  [[nodiscard]] BytesView output(ConnectionId connection) const;
  void consumed(ConnectionId connection, std::size_t bytes, Instant now, WallTime wall);
  /// Everything said and written: close the socket, then input_closed().
  [[nodiscard]] bool finished(ConnectionId connection) const;

  /// A committed output of the leader.
  void broker_output(const broker::Output& output, Instant now, WallTime wall);
  /// admit() may answer differently now: publishes held back are tried again, in order.
  void admission_changed(Instant now, WallTime wall);
  /// Some payloads that were not here have come: deliveries that wait for theirs go on, in order.
  void payloads_came(Instant now, WallTime wall);
  [[nodiscard]] bool awaits_payloads() const { return !awaiting_.empty(); }
  /// This node stops being live: every client is told with amqp:connection:forced and goes elsewhere. Every
  /// consumer leaves its queue at once: call it while Backend::leader() still answers.
  void close_all(const std::string& why, Instant now, WallTime wall);
  /// The leader is gone for good, with every answer it owed. After close_all(), before there is another one.
  void leader_gone();
  void tick(Instant now, WallTime wall);
  /// Gives and takes publish credit as Backend::flow() and memory say. Call it once per round, before
  /// take_dirty(): nothing is done while nothing has changed.
  void review_credit(Instant now);
  [[nodiscard]] FlowStatus flow_status(Instant now) const;
  /// Stalls that have lasted, and their ends: for the log.
  void stall_notices(Instant now, std::vector<StallNotice>& into) { stalls_.notices(now, into); }
  /// When tick() is due at the latest.
  [[nodiscard]] Instant next_deadline() const { return next_deadline_; }

  /// Connections that may have output or be finished since the last call.
  void take_dirty(std::vector<ConnectionId>& into);
  [[nodiscard]] const FrontendCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t connections() const { return connections_.size(); }
  [[nodiscard]] std::size_t held_publishes() const { return held_.size(); }
  /// LSN of the oldest message that was dispatched and waits for its reader; nothing when none waits. The log
  /// must be kept from there: a message received and deleted is nowhere else any more. O(links that wait).
  [[nodiscard]] std::optional<Lsn> oldest_held() const;
  /// Operations the leader has been given and not answered.
  [[nodiscard]] std::size_t pending_answers() const { return pending_.size() - pending_free_.size(); }

 private:
  friend class Connection;
  friend class Management;

  /// An operation handed to the leader whose answer is due to a connection.
  struct Pending {
    ConnectionId connection{};
    amqp::DeliveryRef delivery{};
    amqp::Outcome::Type mirrored = amqp::Outcome::Type::none;  ///< settlement: the client's outcome type
    bool answer = false;
    bool in_use = false;
    bool call = false;       ///< asked by a request: `delivery` is its number in the connection's Management
    std::uint32_t item = 0;  ///< and this the part of it
  };
  struct HeldPublish {
    ConnectionId connection{};
    amqp::LinkId link{};
    amqp::DeliveryRef delivery{};
    std::uint32_t message_format{};
    bool settled{};
    Buffer payload;
  };

  /// A message that arrived, taken apart.
  struct Publishing {
    amqp::IncomingTransfer transfer;
    Result<amqp::MessageView, amqp::MessageError> view;
    explicit Publishing(const amqp::IncomingTransfer& of)
        : transfer(of), view(amqp::view_message(of.payload)) {}
  };

  std::uint64_t pend(ConnectionId connection, amqp::DeliveryRef delivery, amqp::Outcome::Type mirrored,
                     bool answer);
  std::uint64_t pend_call(ConnectionId connection, std::uint64_t number, std::uint32_t item = 0);
  Pending take_pending(std::uint64_t tag);
  Connection* find(ConnectionId connection) const;
  void mark_dirty(Connection& connection);
  void deliver(const broker::Deliver& deliver, Instant now, WallTime wall);
  void await_payload(Connection& connection);
  void note_deadline(Connection& connection, Instant now);
  /// Drops the publishes of a link that went: never stored, never acknowledged; the client sends them again.
  void forget_held(ConnectionId connection, amqp::LinkId link);
  // flow.cpp: who may send and how much is kept for whom
  [[nodiscard]] CreditFigures figures() const;
  void share_anew(Instant now);
  /// @param consumers_too  also who has no credit while messages wait: asks the leader for each queue
  void note_stalls(Instant now, bool consumers_too);
  /// Takes the connection's buffers into the totals.
  void account(Connection& connection);
  void forget_account(Connection& connection);
  [[nodiscard]] bool may_hold(const Connection& connection, std::size_t bytes) const;
  [[nodiscard]] bool may_output(const Connection& connection) const;
  void cut_unfinished();
  void close_unread(Instant now);

  FrontendOptions options_;
  Backend& backend_;
  Random& random_;
  FrontendCounters counters_;
  std::map<ConnectionId, std::unique_ptr<Connection>> connections_;  // ordered: told in the order they came
  mutable Connection* last_found_ = nullptr;
  std::unordered_map<broker::ConsumerId, std::pair<ConnectionId, amqp::LinkId>> consumers_;
  std::vector<Pending> pending_;
  std::vector<std::uint32_t> pending_free_;
  std::deque<HeldPublish> held_;
  std::uint64_t held_bytes_ = 0;
  // Invariant: these are the sums of what account() last found on the connections.
  std::uint64_t output_bytes_ = 0, unfinished_bytes_ = 0;
  std::uint64_t response_bytes_ = 0;  ///< of `$management` responses that wait
  std::size_t connections_with_output_ = 0;
  std::size_t blocked_links_ = 0;  ///< receiving links with dispatched messages that cannot be sent

  std::vector<ConnectionId>
      awaiting_;  ///< connections on which a delivery waits for its payload, first first

  StallMeter stalls_;
  CreditBudget budget_;
  CreditFigures figures_;            ///< that budget_ was made of
  std::uint64_t shared_bytes_ = 0;   ///< given out last
  std::uint64_t shared_budget_ = 0;  ///< what there was to give
  [[nodiscard]] bool nearly_used_up() const { return budget_.bytes < budget_.capacity / 16; }
  bool shared_nearly_used_up_ = false;
  bool shared_short_ = false;  ///< it was not enough for all
  bool share_due_ = false;     ///< links came, went, woke up or send larger messages
  bool credit_due_ = false;    ///< links must be looked at although the shares stay
  std::size_t sending_links_ = 0;
  Instant shared_at_{}, stalls_noted_at_{};
  std::vector<ConnectionId> dirty_;
  /// Of the input() under way: what its connection has put off, and where that will go.
  std::vector<Publishing> put_off_;
  std::vector<broker::Leader::Coming> coming_;
  ConnectionId next_connection_ = 1;
  broker::ConsumerId next_consumer_ = 1;
  Instant next_deadline_{};
};

}  // namespace mainstay::frontend
