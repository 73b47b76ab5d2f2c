// The `$management` links of one connection: requests on links of client senders, each answered on a link of
// a client receiver from the same node (service-bus-dialect.md §5.1, §11).
//
// A request is settled when it has been read and answered when what it asked for is committed. Requests taken
// and not answered are bounded by credit: a client that takes no responses gets no more of it. A response
// link that goes loses its responses and nothing else.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "amqp/engine.h"
#include "broker/leader.h"
#include "frontend/frontend.h"
#include "frontend/management_codec.h"

namespace mainstay::frontend {

/// Strand: the Frontend's. Part of a Connection, made with its first such link.
class Management {
 public:
  Management(Frontend& frontend, Connection& connection);

  /// Accepts the link.
  void attach(amqp::LinkId link, const amqp::AttachRequest& request, broker::QueueId queue,
              broker::SubQueue sub);
  [[nodiscard]] bool has(amqp::LinkId link) const;
  /// A transfer on a link it has.
  void request(const amqp::IncomingTransfer& transfer);
  /// A message was too large; it used credit.
  void oversize(amqp::LinkId link);
  void credit(amqp::LinkId link, bool drain);
  /// The client's word about a response that was sent unsettled. @return false when it is not of a link it
  /// has.
  bool disposition(amqp::LinkId link, amqp::DeliveryRef delivery, const amqp::Outcome& outcome, bool settled);
  /// The link is gone; nothing happens when it has none of that name.
  void detach(amqp::LinkId link);
  /// Sends what waited, as credit and room allow.
  void flush();
  /// Ends the links on which messages have half arrived. @return how many
  std::size_t cut_unfinished(const amqp::Condition& why);
  /// The connection ends: forgets everything.
  void clear();

  /// Payloads that were on their way are here, some of them.
  void payloads_came();
  /// Where in the log the oldest message lies that waits for its payload.
  [[nodiscard]] std::optional<Lsn> oldest_waiting() const;

  // Answers of the leader to what request() asked of it under this number.
  void settle_done(std::uint64_t number, const std::optional<broker::BrokerError>& error);
  void publish_done(std::uint64_t number, std::uint32_t item, const broker::PublishDone& done);
  void fetched(std::uint64_t number, const broker::Fetched& fetched);

 private:
  struct Node {
    broker::QueueId queue{};
    broker::SubQueue sub{};
    std::uint16_t channel{};
    [[nodiscard]] bool same_entity(const Node& other) const {
      return queue == other.queue && sub == other.sub;
    }
  };
  struct RequestLink {
    Node node;
    std::uint32_t open = 0;  ///< requests taken whose response has not left
  };
  struct Response {
    amqp::LinkId request_link{};
    Buffer message;
  };
  struct ResponseLink {
    Node node;
    std::string name, address;  ///< what a request's reply-to may name
    bool settled = true;        ///< responses are sent so
    bool drain = false;         ///< to be answered once what waits has left
    std::deque<Response> waiting;
  };
  /// Messages on their way into a response.
  struct Fetch {
    bool peek = false;
    bool omit_body = false;
    std::optional<std::string> session_id;
    std::size_t left = 0;  ///< peek: that may still be added
    MessagesBody body;
    std::deque<broker::Delivery> waiting;  ///< not yet in the body: the first one's payload is on its way
    broker::SequenceNumber next{};         ///< peek: as the leader said
  };
  /// A request whose answer comes later, or is being made.
  struct Call {
    amqp::LinkId request_link{}, response_link{};
    ManagementReply reply;
    Node node;
    std::size_t left = 0;                      ///< answers of the leader still due
    std::optional<broker::BrokerError> error;  ///< the first
    std::vector<std::int64_t> numbers;         ///< of scheduled messages, as they were sent
    std::unique_ptr<Fetch> fetch;
  };

  std::optional<amqp::LinkId> route(const Node& node, std::string_view reply_to) const;
  void perform(Call call, const ManagementOperation& operation);
  void renew_lock(Call& call, std::span<const broker::LockToken> tokens, bool tell);
  void renew_session_lock(Call& call, const RenewSessionLock& operation);
  void update_disposition(Call&& call, const UpdateDisposition& operation);
  // management_messages.cpp
  void peek(Call&& call, const PeekMessages& operation);
  void look(std::uint64_t number, broker::SequenceNumber from);
  void receive(Call&& call, const ReceiveBySequenceNumber& operation);
  void schedule(Call&& call, const ScheduleMessages& operation);
  void cancel_scheduled(Call&& call, const CancelScheduledMessages& operation);
  /// A response with messages may be made: not too many bytes wait for clients.
  [[nodiscard]] bool has_room() const;
  /// Nothing when the journal cannot give it back: the connection is being closed then.
  void add_fetched(std::uint64_t number);
  void add_message(MessagesBody& body, const broker::Delivery& delivery, BytesView payload, bool omit_body);
  static ManagementStatus session_lock_lost();
  static ManagementStatus status_of(const broker::BrokerError& error);

  /// Why these locks cannot be settled or renewed here: one is not of this entity, or of a session that this
  /// connection does not hold.
  std::optional<ManagementStatus> lost(const Node& node, std::span<const broker::LockToken> tokens) const;
  /// Who holds the session, if it is this connection.
  std::optional<broker::ConsumerId> holder(const Node& node, std::string_view session_id) const;
  [[nodiscard]] bool is_ours(broker::ConsumerId consumer) const;
  std::uint64_t keep(Call call);

  void answer(const Call& call, const ManagementStatus& status, BytesView body = {});
  bool send_waiting(amqp::LinkId id, ResponseLink& link);
  void drop_waiting(ResponseLink& link);
  /// The request needs no more: its link may have credit for another.
  void finish(amqp::LinkId request_link);
  void top_up(amqp::LinkId id, const RequestLink& link);

  Frontend& frontend_;
  Connection& connection_;
  std::map<amqp::LinkId, RequestLink> requests_;
  std::map<amqp::LinkId, ResponseLink> responses_;
  std::map<std::uint64_t, Call> calls_;  ///< that the leader has not answered
  std::uint64_t next_call_ = 1;
  std::uint64_t next_tag_ = 1;
  std::size_t open_ = 0;     ///< of all request links, gone ones too
  std::uint64_t bytes_ = 0;  ///< of responses that wait; part of the frontend's sum
};

}  // namespace mainstay::frontend
