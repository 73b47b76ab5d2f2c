// The engine's class. engine.cpp has the connection, session.cpp sessions and links, transfer.cpp messages
// and credit, disposition.cpp outcomes.
//
// Invariants: sessions and links are freed only while a frame of the peer is handled at top level (its end,
// its detach), never inside a method the handler may call; so references stay good over handler calls.
// After a fatal error nothing is freed, phase_ just leaves `open` and every method turns into nothing.
#pragma once

#include <deque>

#include "amqp/frame.h"
#include "amqp/outcome.h"
#include "amqp/output_buffer.h"
#include "amqp/performatives.h"
#include "amqp/sasl.h"
#include "amqp/session.h"

namespace mainstay::amqp {

class EngineImpl final : public Engine {
 public:
  EngineImpl(const EngineOptions& options, EngineHandler& handler, Instant now);

  void input(BytesView bytes, Instant now) override;
  void input_closed(Instant now) override;
  [[nodiscard]] BytesView output() override;
  void consumed(std::size_t bytes) override;
  [[nodiscard]] bool finished() const override;
  std::optional<Instant> tick(Instant now) override;

  void accept(LinkId link, const AttachReply& reply) override;
  void refuse(LinkId link, const Condition& condition) override;
  void detach(LinkId link, const Condition& condition) override;
  void close(const Condition& condition, Instant now) override;

  void grant_credit(LinkId link, std::uint32_t credit) override;
  [[nodiscard]] std::uint32_t credit_left(LinkId link) const override;
  void settle_incoming(DeliveryRef delivery, const Outcome& outcome) override;

  [[nodiscard]] bool can_send(LinkId link) const override;
  DeliveryRef send(LinkId link, BytesView tag, std::uint32_t message_format, bool settled,
                   std::span<const BytesView> payload_parts) override;
  void drained(LinkId link) override;
  void settle_outgoing(DeliveryRef delivery, const Outcome& outcome) override;

  [[nodiscard]] Counters counters() const override { return counters_; }
  [[nodiscard]] std::uint64_t memory_bytes() const override;
  [[nodiscard]] Buffered buffered() const override { return {output_.size() + rest_bytes_, partial_bytes_}; }
  [[nodiscard]] std::uint64_t unfinished_bytes(LinkId link) const override;

 private:
  enum class Phase : std::uint8_t {
    header,  ///< a protocol header is awaited
    sasl,
    await_open,
    open,
    closing,  ///< our close is sent; the peer's is awaited for a while
    finished,
  };

  /// The next session of a channel numbers its deliveries on from where the last one stopped.
  struct Channel {
    std::unique_ptr<Session> session;
    std::uint64_t next_incoming = 0, next_outgoing = 0;
  };
  struct LinkSlot {
    std::unique_ptr<Link> link;
    std::uint32_t generation = 0;
  };

  // engine.cpp: bytes to frames, and the connection's own performatives
  std::optional<std::size_t> unit_bytes(BytesView from);
  void handle_unit(BytesView unit);
  void handle_protocol_header(BytesView header);
  void handle_sasl_frame(const FrameBody& body);
  void handle_frame(std::uint16_t channel, BytesView body);
  void handle_open(const FrameBody& body);
  void handle_close(const FrameBody& body);
  bool ask_handler(const SaslRequest& request);
  void send_open();
  void send_frame(FrameType type, std::uint16_t channel, BytesView body);
  void send_hot(std::uint16_t channel, std::size_t body_bytes);
  void fail(std::string_view symbol, std::string description);
  void refuse_before_open(std::span<const std::uint8_t, 8> header, std::string description);
  void report_end(const std::optional<Condition>& condition);
  void enforce_output_limit();
  void flush();

  // session.cpp
  void handle_begin(std::uint16_t channel, const FrameBody& body);
  void handle_end(Session& session, const FrameBody& body);
  void handle_attach(Session& session, const FrameBody& body);
  void handle_detach(Session& session, const FrameBody& body);
  void end_session(Session& session, std::string_view symbol, std::string description);
  void answer_attach(Link& link, const AttachAnswer& answer);
  void send_detach(Link& link, bool closed, const Condition* error);
  void forget_deliveries(Session& session, LinkId link);
  void drop_partial(Link& link);
  void drop_rest(Session& session);
  Link* new_link();
  void free_link(Link& link);
  [[nodiscard]] Session* session_on(std::uint16_t channel) const;
  [[nodiscard]] Session* session_of(DeliveryRef delivery) const;
  [[nodiscard]] Link* find_link(LinkId id) const;
  Link* link_at(Session& session, std::uint32_t handle);
  static Link* link_or_null(const Session& session, std::uint32_t handle);

  // transfer.cpp
  void handle_flow(Session& session, const FrameBody& body);
  void handle_link_flow(Session& session, Link& link, const FlowFrame& flow);
  void handle_transfer(Session& session, const FrameBody& body);
  void complete(Session& session, Link& link, DeliveryRef delivery, std::uint32_t message_format,
                bool settled, bool stays, BytesView payload);
  void oversize(Session& session, Link& link, DeliveryRef delivery, bool settled, std::uint64_t bytes);
  void handle_disposition(Session& session, const FrameBody& body);
  void outcomes_from_receiver(Session& session, const DispositionFrame& frame);
  void settlements_from_sender(Session& session, const DispositionFrame& frame);
  void tell(Session& session, bool incoming, std::uint32_t delivery_id, bool settled, const Outcome& outcome);
  void flush_disposition(Session& session, bool incoming);
  void flush_session(Session& session);
  void send_flow(Session& session, const Link* link, bool drain);
  void send_rest(Session& session);
  void answer_drain(Session& session, Link& link);
  void announce_credit(Session& session);
  [[nodiscard]] std::uint32_t incoming_room(const Session& session) const;
  void mark_dirty(Session& session);
  void mark_dirty(Session& session, Link& link);

  void malformed(std::string problem) { fail(condition::decode_error, std::move(problem)); }

  EngineOptions options_;
  EngineHandler& handler_;
  Phase phase_ = Phase::header;
  bool sasl_done_ = false;
  bool open_sent_ = false;
  bool close_sent_ = false;
  bool reported_ = false;       ///< the handler has had its on_closed
  bool stream_broken_ = false;  ///< frame boundaries are lost: the rest of the input is ignored
  std::optional<Condition> close_condition_;
  SaslServer sasl_;

  Instant now_;
  Instant started_;
  Instant last_input_;
  Instant last_output_;
  Instant close_deadline_{};
  Duration peer_idle_timeout_{};  ///< 0 = none
  std::uint32_t peer_max_frame_ = kMinMaxFrameBytes;
  std::uint16_t peer_channel_max_ = 0xffff;

  Buffer held_;              ///< the beginning of a header or frame
  bool unit_stays_ = false;  ///< the one being handled lies in what input() was given
  OutputBuffer output_;
  Buffer scratch_;
  Counters counters_;

  std::vector<Channel> channels_;
  std::vector<LinkSlot> slots_;
  std::deque<std::uint32_t> free_slots_;  ///< oldest first, so that ids repeat as late as can be
  std::uint32_t links_ = 0;
  std::uint64_t partial_bytes_ = 0;
  std::uint64_t rest_bytes_ = 0;  ///< of all sessions' rest payloads
  std::vector<std::uint16_t> dirty_sessions_;
};

}  // namespace mainstay::amqp
