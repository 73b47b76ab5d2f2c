#include "pipeline/queue_sender.h"

#include <poll.h>

#include <algorithm>

namespace mainstay::pipeline {

using client::LinkState;

void pause(Duration wait) {
  if (wait.ns > 0) ::poll(nullptr, 0, static_cast<int>(std::max<std::int64_t>(wait.milliseconds(), 1)));
}

QueueSender::QueueSender(client::ClientOptions options, std::string address, Clock& clock, Random& random,
                         Log log, client::SenderOptions link)
    : options_(std::move(options)),
      address_(std::move(address)),
      link_(link),
      clock_(clock),
      log_(std::move(log)),
      backoff_(random) {}

void QueueSender::connect() {
  auto connected = client::Connection::connect(options_);
  if (!connected) {
    lose("cannot connect: " + connected.error().description);
    return;
  }
  connection_ = std::move(*connected);
  options_.first_endpoint = connection_->endpoint_index();
  sender_.emplace(connection_->open_sender(address_, link_));
}

void QueueSender::lose(const std::string& why) {
  if (sender_) {
    std::vector<client::SendOutcome> last;
    sender_->close();
    sender_->take_outcomes(last);
    for (auto& outcome : last) unreported_.push_back(std::move(outcome));
  }
  sender_.reset();
  connection_.reset();
  options_.first_endpoint = (options_.first_endpoint + 1) % options_.endpoints.size();
  const Duration wait = backoff_.next();
  next_try_ = clock_.now() + wait;
  ++reconnects_;
  // A long outage tells about itself at 1, 2, 4, 8, … tries.
  if ((backoff_.tries() & (backoff_.tries() - 1)) == 0) {
    log_(Level::warning, "queue " + address_ + ": " + why + "; trying again in " +
                             std::to_string(wait.milliseconds()) + " ms (try " +
                             std::to_string(backoff_.tries()) + ")");
  }
}

std::size_t QueueSender::credit() {
  return sender_ ? sender_->credit() : 0;
}

bool QueueSender::send(std::uint64_t tag, BytesView message) {
  return sender_ && sender_->send(tag, message);
}

std::vector<client::SendOutcome> QueueSender::poll(Duration wait) {
  if (!connection_) {
    const Duration left = next_try_ - clock_.now();
    if (left.ns > 0) {
      if (unreported_.empty()) pause(std::min(left, wait));
    } else {
      connect();
    }
  }
  if (connection_) {
    const auto polled = connection_->poll(unreported_.empty() ? wait : Duration{0});
    std::vector<client::SendOutcome> arrived;
    sender_->take_outcomes(arrived);
    for (auto& outcome : arrived) {
      if (outcome.kind == client::SendOutcome::Kind::accepted) backoff_.reset();
      unreported_.push_back(std::move(outcome));
    }
    if (!polled) {
      lose(polled.error().description);
    } else if (sender_->state() == LinkState::closed) {
      lose(sender_->error().condition + ": " + sender_->error().description);
    }
  }
  return std::exchange(unreported_, {});
}

}  // namespace mainstay::pipeline
