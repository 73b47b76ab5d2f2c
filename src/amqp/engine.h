// AMQP 1.0 server engine: one connection's bytes in, events and bytes out. No socket, clock, thread or broker
// inside. Standard: OASIS AMQP 1.0 parts 1 (types), 2 (transport), 5 (security: SASL). What messages mean is
// broker business; this file knows connections, sessions, links, credit, deliveries and dispositions.
//
// Use: feed what the socket gave to input(); the handler is called synchronously, in order. Answer through
// the methods below, inside or after the call. Then write output() to the socket and tell consumed(). Call
// tick() when told. Threads: none of its own; one strand per engine. Memory per connection is bounded by
// EngineLimits; a peer that does not read stops getting transfers (can_send()), one that exceeds a limit is
// closed with the condition that names it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"

namespace mainstay::amqp {

/// A link within its connection, unique for the connection's life (not the wire handle).
using LinkId = std::uint32_t;
/// Small: a place for the link in a table of its connection. No two links have the same at once.
inline constexpr std::uint32_t kLinkSlotBits = 16;
[[nodiscard]] constexpr std::uint32_t link_slot(LinkId id) {
  return id & ((1U << kLinkSlotBits) - 1);
}
/// A delivery within its session as the engine counts them; unique per connection and direction, never
/// reused.
using DeliveryRef = std::uint64_t;

enum class Role : std::uint8_t {
  sender,
  receiver
};  ///< always the *client's* role: a client sender publishes
enum class SenderSettleMode : std::uint8_t { unsettled = 0, settled = 1, mixed = 2 };
enum class ReceiverSettleMode : std::uint8_t { first = 0, second = 1 };

/// An error as AMQP tells it: a symbol from the standard or a dialect, and a sentence for a person (never
/// empty).
struct Condition {
  std::string symbol;
  std::string description;
};

/// Outcome of a delivery. `fields` are the wire bytes of what the broker may need beyond the type:
/// for rejected: error; for modified: flags and message-annotations.
struct Outcome {
  enum class Type : std::uint8_t { none, accepted, rejected, released, modified, other };
  Type type = Type::none;
  std::optional<Condition> error;  ///< rejected only
  /// rejected: the error's info map; modified: message-annotations; each encoded as an AMQP map, empty when
  /// absent.
  Buffer map;
  bool delivery_failed = false;     ///< modified only
  bool undeliverable_here = false;  ///< modified only
};

/// A client's attach. Encoded fields are the client's own bytes, to be echoed (service-bus-dialect.md §3.3).
struct AttachRequest {
  std::string name;
  Role role{};
  std::string address;  ///< of target (client sender) or source (client receiver); empty when null
  bool address_is_null = false;
  /// Of the other terminus, the client's own: where answers to it are sent (service-bus-dialect.md §5.1).
  /// Empty when it has none.
  std::string own_address;
  /// The session's channel: links with the same one are on the same session while both live.
  std::uint16_t channel = 0;
  bool dynamic = false;
  bool coordinator = false;  ///< target is a transaction coordinator
  SenderSettleMode sender_settle_mode = SenderSettleMode::mixed;
  ReceiverSettleMode receiver_settle_mode = ReceiverSettleMode::first;
  /// Entry `com.microsoft:session-filter` of source.filter: absent / null (next available) / a session id.
  enum class SessionFilter : std::uint8_t { absent, next_available, named };
  SessionFilter session_filter = SessionFilter::absent;
  std::string session_id;                   ///< for `named`
  std::optional<std::uint32_t> timeout_ms;  ///< link property com.microsoft:timeout
  std::vector<std::string> desired_capabilities;
  std::optional<std::uint64_t> max_message_size;
  Buffer source;      ///< encoded, empty when null or absent
  Buffer target;      ///< encoded
  Buffer properties;  ///< encoded map, empty when absent
};

/// What the server answers on accepting.
struct AttachReply {
  std::uint64_t max_message_size = 1U << 20;  ///< bytes; never 0 (JS reads 0 as "nothing fits")
  std::uint32_t credit = 0;                   ///< client senders: first credit, sent in the same flush
  /// Session receivers: the assigned session, echoed in source.filter in the form the client used.
  std::optional<std::string> session_id;
  std::optional<std::int64_t>
      session_locked_until_ticks;  ///< link property com.microsoft:locked-until-utc (100 ns since 0001)
  /// Client senders: link property mainstay:duplicate-detection-window-ms (long): for how long the entity
  /// remembers message ids, 0 = it does not. Absent: not told.
  std::optional<std::int64_t> duplicate_window_ms;
  /// Answer for a null dynamic or anonymous-relay address.
  std::optional<std::string> assigned_address;
  std::vector<std::string> offered_capabilities;
};

/// A complete incoming message. `payload` is all sections as sent, joined over frames; valid during the call,
/// and, when it `stays`, until on_input_end() of the same input().
struct IncomingTransfer {
  LinkId link{};
  DeliveryRef delivery{};
  std::uint32_t message_format{};
  bool settled{};
  bool stays{};
  BytesView payload;
};

/// Identity the peer proved. Asked once, before open.
struct SaslRequest {
  std::string_view mechanism;  ///< "PLAIN" or "ANONYMOUS" (also for MSSBCBS and a skipped SASL layer)
  std::string_view user;       ///< PLAIN: authentication id
  std::string_view password;   ///< PLAIN; never log it
};

/// Called by the engine, on its strand, during input(), input_closed() or tick(), never out of the methods
/// the handler itself may call. Do not call input(), input_closed() or tick() from inside.
class EngineHandler {
 public:
  virtual ~EngineHandler() = default;
  /// @return true to let the peer in; false ends the connection with SASL outcome `auth`.
  virtual bool on_sasl(const SaslRequest& request) = 0;
  virtual void on_open(std::string_view container_id, std::string_view hostname) = 0;
  /// Answer with accept() or refuse(), now or later (a session receiver may wait for its session).
  virtual void on_attach(LinkId link, const AttachRequest& request) = 0;
  /// The client sent a complete message. Answer with settle_incoming() unless it was settled.
  virtual void on_transfer(const IncomingTransfer& transfer) = 0;
  /// A message over the link's limit was discarded while arriving; the engine has already answered
  /// `rejected{amqp:link:message-size-exceeded}` (or dropped a settled one). It used credit: grant it again.
  virtual void on_oversize(LinkId link, std::uint64_t bytes) = 0;
  /// The client's credit for a link on which the server sends. With `drain`, send what can be sent, then
  /// drained(). May come before the attach is answered (clients pipeline): can_send() is false until
  /// accept(), which makes no such call again: look at credit_left() then. Comes again, unchanged, when the
  /// session's window or the number of unsettled messages had stopped the link and no longer does. After
  /// consumed() ask can_send() by yourself.
  virtual void on_credit(LinkId link, std::uint32_t credit, bool drain) = 0;
  /// The client settled, or (receiver settle mode second) told its outcome of, a message the server sent.
  /// Called once per delivery of a range, oldest first; an outcome told unsettled and settled later comes
  /// once. When `!settled`, answer with settle_outgoing().
  virtual void on_disposition(LinkId link, DeliveryRef delivery, const Outcome& outcome, bool settled) = 0;
  /// The client detached (or ended its session, or the connection ends): the link id is dead after this call.
  virtual void on_detach(LinkId link, bool closed) = 0;
  /// What the handler has put off is due: the last frame of an input() has been handled, or the connection or
  /// a session is about to be ended for an error of the peer. Comes whether or not there was a message.
  virtual void on_input_end() {}
  /// The connection is over, every link got its on_detach. `condition` is set when it did not end cleanly.
  virtual void on_closed(const std::optional<Condition>& condition) = 0;
};

struct EngineLimits {
  std::uint32_t max_frame_bytes = 65536;       ///< announced; ≥ 512
  std::uint16_t channel_max = 8191;            ///< sessions per connection, less one
  std::uint32_t handle_max = 1023;             ///< links per session, less one
  std::uint32_t links_max = 16384;             ///< per connection, at most 32768; more are refused
  std::uint32_t incoming_window = 8192;        ///< transfers per session
  std::uint64_t message_bytes_max = 1U << 20;  ///< default of a link's max-message-size, and its ceiling
  std::uint64_t partial_bytes_max = 16U
                                    << 20;  ///< unfinished multi-frame messages on one connection, together
  /// Messages sent and not settled, per session: can_send() is false at this number.
  std::uint32_t unsettled_max = 65536;
  std::uint64_t output_bytes_max = 1U << 20;    ///< can_send() is false above
  std::uint64_t output_bytes_hard = 16U << 20;  ///< above, the peer is closed: it never reads
  Duration idle_timeout = {
      120'000'000'000};  ///< announced; the connection is closed after twice that in silence
  Duration handshake_timeout = {20'000'000'000};  ///< from create() to the peer's open
};

struct EngineOptions {
  std::string container_id;
  EngineLimits limits;
  std::vector<std::string> sasl_mechanisms = {"MSSBCBS", "PLAIN", "ANONYMOUS"};  ///< offered in this order
  bool allow_skipped_sasl = true;  ///< a peer may open with AMQP at once: asked as ANONYMOUS
};

class Engine {
 public:
  static std::unique_ptr<Engine> create(const EngineOptions& options, EngineHandler& handler, Instant now);
  virtual ~Engine() = default;

  /// Takes bytes from the peer; any split is fine. Malformed bytes close the connection with the right
  /// condition.
  virtual void input(BytesView bytes, Instant now) = 0;
  /// The socket ended. Handler gets on_detach for every link, then on_closed.
  virtual void input_closed(Instant now) = 0;
  /// Bytes to write, front to back; may be empty. Gathers what was put off (folded dispositions, flows), so
  /// call it once per round of work, not per message. Invalid after any other call.
  [[nodiscard]] virtual BytesView output() = 0;
  /// The first `bytes` of output() have been written.
  virtual void consumed(std::size_t bytes) = 0;
  /// True when the connection is over and output() has been written: close the socket.
  [[nodiscard]] virtual bool finished() const = 0;
  /// Idle time-outs both ways, the wait for open, the wait for the answer to a close. @return when to call
  /// again at the latest; nullopt when the connection is over. Ask again after close().
  virtual std::optional<Instant> tick(Instant now) = 0;

  virtual void accept(LinkId link, const AttachReply& reply) = 0;
  /// Attach with null source or target, then detach(closed, error), in one flush.
  virtual void refuse(LinkId link, const Condition& condition) = 0;
  /// Ends a link from our side. The client's answer is awaited silently; no on_detach follows.
  virtual void detach(LinkId link, const Condition& condition) = 0;
  /// Closes the connection. The handler hears on_detach and on_closed when the client answers, the socket
  /// ends or, after 5 s, in tick(). Use `amqp:connection:forced` for anything but the peer's own fault: SDKs
  /// only recover from that.
  virtual void close(const Condition& condition, Instant now) = 0;

  /// Client senders: sets the outstanding credit to `credit` (flow with every field filled in). Cheap when
  /// unchanged.
  virtual void grant_credit(LinkId link, std::uint32_t credit) = 0;
  /// Outstanding credit: what a client sender still has, or what a client receiver has given.
  [[nodiscard]] virtual std::uint32_t credit_left(LinkId link) const = 0;
  /// Settles a message the client sent; nothing happens when its link is gone or it is settled. On a link of
  /// receiver settle mode second the outcome leaves unsettled and the client's settlement is awaited.
  /// Adjacent deliveries with the same outcome on one session are folded into one disposition at the next
  /// output(). Outcome type accepted, rejected (error required), released or modified.
  virtual void settle_incoming(DeliveryRef delivery, const Outcome& outcome) = 0;

  /// True when a transfer on the link may be sent now: attached, credit left, the session's window open,
  /// output below its limit.
  [[nodiscard]] virtual bool can_send(LinkId link) const = 0;
  /// Sends a message (split over frames as needed); needs can_send(). The payload is given in parts, copied
  /// once.
  /// @param tag  1 to 32 bytes.
  virtual DeliveryRef send(LinkId link, BytesView tag, std::uint32_t message_format, bool settled,
                           std::span<const BytesView> payload_parts) = 0;
  /// Uses up the credit and answers the drain (delivery-count advanced, link-credit 0, drain = true).
  virtual void drained(LinkId link) = 0;
  /// Answers the client's disposition with a settled one. Folds like settle_incoming(); nothing happens when
  /// the delivery is settled or its link gone.
  virtual void settle_outgoing(DeliveryRef delivery, const Outcome& outcome) = 0;

  struct Counters {
    std::uint64_t bytes_in{}, bytes_out{}, transfers_in{}, transfers_out{}, frames_in{}, frames_out{};
  };
  [[nodiscard]] virtual Counters counters() const = 0;
  [[nodiscard]] virtual std::uint64_t memory_bytes() const = 0;  ///< buffers held, for the connection's bound
  /// Bytes of messages that are neither the handler's nor the peer's. O(1): asked after every call.
  struct Buffered {
    std::uint64_t output{};      ///< not taken by the socket yet, or by the peer's session window
    std::uint64_t unfinished{};  ///< multi-frame messages that have begun to arrive
  };
  [[nodiscard]] virtual Buffered buffered() const = 0;
  /// The part of them on one link whose client sends. 0 when it is gone.
  [[nodiscard]] virtual std::uint64_t unfinished_bytes(LinkId link) const = 0;
};

}  // namespace mainstay::amqp
