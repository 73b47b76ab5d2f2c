// One AMQP connection: its engine, its links, and what is outstanding on them.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "amqp/engine.h"
#include "amqp/message.h"
#include "broker/leader.h"
#include "frontend/frontend.h"
#include "frontend/link_table.h"
#include "frontend/management.h"
#include "frontend/outstanding.h"

namespace mainstay::frontend {

/// What the broker adds to a message that goes to a client.
[[nodiscard]] amqp::DeliveryHead head_of(const broker::Delivery& delivery);

class Connection final : public amqp::EngineHandler {
 public:
  Connection(Frontend& frontend, ConnectionId id, Instant now);

  // EngineHandler
  bool on_sasl(const amqp::SaslRequest& request) override;
  void on_open(std::string_view container_id, std::string_view hostname) override;
  void on_attach(amqp::LinkId link, const amqp::AttachRequest& request) override;
  void on_transfer(const amqp::IncomingTransfer& transfer) override;
  void on_input_end() override { publish_put_off(); }
  void on_oversize(amqp::LinkId link, std::uint64_t bytes) override;
  void on_credit(amqp::LinkId link, std::uint32_t credit, bool drain) override;
  void on_disposition(amqp::LinkId link, amqp::DeliveryRef delivery, const amqp::Outcome& outcome,
                      bool settled) override;
  void on_detach(amqp::LinkId link, bool closed) override;
  void on_closed(const std::optional<amqp::Condition>& condition) override;

 private:
  friend class Frontend;
  friend class Management;

  using Publishing = Frontend::Publishing;
  struct Held {
    broker::Delivery delivery;
    Lsn after{};
  };
  struct Link {
    amqp::Role role{};
    bool attached = false;  ///< accept() was sent
    bool left = false;      ///< leave() was called
    broker::QueueId queue{};
    broker::SubQueue sub{};
    /// Sender: a publish was refused for want of room or leave; nothing more is taken, the link ends with
    /// this.
    std::optional<amqp::Condition> refusal;
    bool replay = false;                           ///< sender: archived messages into a promoted region
    std::optional<broker::Durability> durability;  ///< sender: asked for at attach
    MessageSize size{1};                           ///< sender: of its messages
    std::uint64_t share_bytes = 0;
    bool active = false;  ///< sender: has published lately, as of the last sharing
    bool published = false;
    Instant last_publish{};
    broker::ConsumerId consumer{};
    broker::ReceiveMode mode{};
    bool session = false;
    std::uint64_t sent = 0;      ///< deliveries handed to the engine
    std::uint64_t reported = 0;  ///< of these, what the leader knows
    std::deque<Held> held;       ///< dispatched by the broker, not yet taken by the engine
    bool drain_asked = false;    ///< the client's flow came before accept()
    bool drain_due = false;      ///< Drained came while deliveries were held
  };

  /// Publishes the messages of this input() that were put off: some together, so that the leader can look
  /// ahead. Anything else the client did comes after them.
  void publish_put_off();
  void publish(const Publishing& message);
  /// Admission and hand-over; false when it must wait.
  bool try_publish(Link& state, const Publishing& message);
  void refuse_publish(amqp::DeliveryRef delivery, bool settled, const amqp::Condition& condition);
  /// Takes nothing more on the link; end_refused_links() detaches it.
  void refuse_link(amqp::LinkId id, Link& link, amqp::Condition why);
  /// Ends links that had a publish refused for want of room or leave: what was pipelined behind it must not
  /// overtake it.
  void end_refused_links();
  /// Sender links: credit as the link's share says, when it is due.
  void top_up(amqp::LinkId id, Link& link);
  /// Closes the connection because of us; the engine is asked for its new deadline in the next tick().
  void close(const amqp::Condition& condition);
  /// @return false when the engine cannot take it now.
  /// Coming: this connection is told when it is there. Lost: this connection is being closed.
  Payload payload_of(const broker::Delivery& delivery);
  bool send(amqp::LinkId id, Link& link, const broker::Delivery& delivery);
  void flush_held();
  /// Tells the leader what the engine has taken, at least every quarter of the window.
  void report_sent(Link& link);
  void release(const broker::LockToken& token);
  /// The consumer is no longer the leader's, the link's publishes that still wait are forgotten.
  void leave(amqp::LinkId id, Link& link);
  /// What the client never saw is available again at once; what it saw stays locked (locks belong to the
  /// entity).
  void give_back(amqp::LinkId id, Link& link);
  void drop_link(amqp::LinkId id, Link& link);

  Frontend& frontend_;
  ConnectionId id_;
  std::unique_ptr<amqp::Engine> engine_;
  LinkTable<Link> links_;  // ordered: who sends first when a window opens is the same every time
  Outstanding outgoing_;
  std::unique_ptr<Management> management_;  ///< once it has had a link to a `$management` node
  std::string user_;
  std::string container_id_;
  std::size_t held_links_ = 0;
  std::vector<amqp::LinkId> refused_links_;
  bool dirty_ = false;
  bool publishing_ = false;          ///< publish_put_off() is at it
  bool awaits_payload_ = false;      ///< in the frontend's list of those
  amqp::Engine::Buffered buffered_;  ///< as in the frontend's totals
  std::uint64_t held_bytes_ = 0;     ///< of its publishes that wait
  bool closing_ = false;             ///< close_unread() has ended it
  Instant output_moved_{};           ///< when the socket last took something, or had nothing to take
  Instant now_{};                    // of the call under way
  WallTime wall_{};
  Buffer head_;  // scratch for encode_for_delivery
};

}  // namespace mainstay::frontend
