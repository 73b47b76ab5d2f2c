// MessageSender over AMQP: a link on whichever endpoint serves (client/keeper.h), opened again when it or its
// connection is lost. What to do about unknown outcomes is the caller's: QueueBuilder and the replay send the
// same ids again, in order per key.
#pragma once

#include <memory>
#include <optional>

#include "client/keeper.h"
#include "pipeline/log.h"
#include "pipeline/message_sender.h"

namespace mainstay::pipeline {

class QueueSender final : public MessageSender {
 public:
  QueueSender(client::ClientOptions options, const client::ReconnectOptions& reconnect, std::string address,
              Clock& clock, Random& random, Log log, client::SenderOptions link = {});

  std::size_t credit() override;
  bool send(std::uint64_t tag, BytesView message) override;
  std::vector<client::SendOutcome> poll(Duration wait) override;
  [[nodiscard]] std::uint64_t reconnects() const { return keeper_.reconnects(); }
  [[nodiscard]] const std::optional<client::ClientError>& over() const override { return keeper_.over(); }

 private:
  void end_link();
  void take_outcomes();
  void follow_link();

  std::string address_;
  client::SenderOptions link_;
  Clock& clock_;
  Log log_;
  client::ConnectionKeeper keeper_;
  std::optional<client::Sender> sender_;
  std::uint64_t generation_ = 0;
  Instant attach_deadline_{};
  bool told_no_detection_ = false;
  std::vector<client::SendOutcome> unreported_;
};

using client::pause;

}  // namespace mainstay::pipeline
