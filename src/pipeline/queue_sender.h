// MessageSender over AMQP: connects, opens the link, and does so again with back-off when either is lost,
// going to the next endpoint each time.
#pragma once

#include <memory>
#include <optional>

#include "client/backoff.h"
#include "pipeline/log.h"
#include "pipeline/message_sender.h"

namespace mainstay::pipeline {

class QueueSender final : public MessageSender {
 public:
  QueueSender(client::ClientOptions options, std::string address, Clock& clock, Random& random, Log log,
              client::SenderOptions link = {});

  std::size_t credit() override;
  bool send(std::uint64_t tag, BytesView message) override;
  std::vector<client::SendOutcome> poll(Duration wait) override;
  [[nodiscard]] std::uint64_t reconnects() const { return reconnects_; }

 private:
  void connect();
  void lose(const std::string& why);

  client::ClientOptions options_;
  std::string address_;
  client::SenderOptions link_;
  Clock& clock_;
  Log log_;
  client::Backoff backoff_;
  std::unique_ptr<client::Connection> connection_;
  std::optional<client::Sender> sender_;
  std::vector<client::SendOutcome> unreported_;
  Instant next_try_{};
  std::uint64_t reconnects_ = 0;
};

/// Waits without using the processor. For loops that have nothing else to wait for.
void pause(Duration wait);

}  // namespace mainstay::pipeline
