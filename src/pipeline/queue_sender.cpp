#include "pipeline/queue_sender.h"

#include <algorithm>
#include <utility>

namespace mainstay::pipeline {

using client::LinkState;

namespace {
constexpr Duration attach_timeout = seconds(10);
}

QueueSender::QueueSender(client::ClientOptions options, const client::ReconnectOptions& reconnect,
                         std::string address, Clock& clock, Random& random, Log log,
                         client::SenderOptions link)
    : address_(std::move(address)),
      link_(link),
      clock_(clock),
      log_(log),
      keeper_(std::move(options), reconnect, clock, random,
              [log = std::move(log), queue = address_](const std::string& text) {
                log(Level::warning, "sending to queue " + queue + ": " + text);
              }) {}

std::size_t QueueSender::credit() {
  return sender_ ? sender_->credit() : 0;
}

bool QueueSender::send(std::uint64_t tag, BytesView message) {
  return sender_ && sender_->send(tag, message);
}

void QueueSender::take_outcomes() {
  std::vector<client::SendOutcome> arrived;
  sender_->take_outcomes(arrived);
  for (auto& outcome : arrived) {
    if (outcome.kind == client::SendOutcome::Kind::accepted) keeper_.served();
    unreported_.push_back(std::move(outcome));
  }
}

void QueueSender::end_link() {
  sender_->close();
  take_outcomes();  // its end gives what was on its way an unknown outcome
  sender_.reset();
}

void QueueSender::follow_link() {
  take_outcomes();
  if (sender_->state() == LinkState::closed) {
    const client::ClientError why = sender_->error();
    end_link();
    keeper_.lose(why);
  } else if (sender_->state() == LinkState::opening && clock_.now() >= attach_deadline_) {
    end_link();
    keeper_.lose({client::condition::timeout,
                  keeper_.endpoint() + " did not answer the attach to " + address_ + " in time"});
  } else if (sender_->credit() > 0) {
    keeper_.served();
    if (const auto window = sender_->duplicate_window();
        window && window->ns == 0 && !std::exchange(told_no_detection_, true)) {
      log_(Level::warning,
           "queue " + address_ +
               " does not detect duplicates: what is sent again after a lost connection may be "
               "in it twice. The processor's ledger removes it; the queue's length and counters "
               "do not know. Set duplicate_detection = true for it");
    }
  }
}

std::vector<client::SendOutcome> QueueSender::poll(Duration wait) {
  if (sender_ && sender_->state() == LinkState::opening)
    wait = std::clamp(attach_deadline_ - clock_.now(), Duration{0}, wait);
  keeper_.poll(unreported_.empty() ? wait : Duration{0});
  if (sender_ && (keeper_.connection() == nullptr || keeper_.generation() != generation_)) end_link();
  if (sender_) follow_link();
  if (client::Connection* connection = keeper_.connection(); connection != nullptr && !sender_) {
    generation_ = keeper_.generation();
    sender_.emplace(connection->open_sender(address_, link_));
    attach_deadline_ = clock_.now() + attach_timeout;
  }
  return std::exchange(unreported_, {});
}

}  // namespace mainstay::pipeline
