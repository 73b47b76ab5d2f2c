#include "client/publisher.h"

#include <algorithm>
#include <utility>

namespace mainstay::client {

Publisher::Publisher(PublisherOptions options, Clock& clock, Random& random, Tell tell)
    : options_(std::move(options)),
      clock_(clock),
      random_(random),
      keeper_(options_.client, options_.reconnect, clock, random, std::move(tell)),
      queue_(options_.queue) {}

bool Publisher::publish(std::uint64_t tag, Buffer message) {
  return !over_ && queue_.add(tag, std::move(message));
}

void Publisher::end_link(ClientError why) {
  take_outcomes();
  if (sender_) sender_->close();
  sender_.reset();
  if (std::exchange(link_open_, false)) queue_.link_lost(why);
}

void Publisher::give_up(const ClientError& why) {
  end_link(why);
  over_ = why;
  queue_.give_up(why);
}

void Publisher::take_outcomes() {
  if (!sender_) return;
  sender_->take_outcomes(outcomes_);
  for (const SendOutcome& outcome : outcomes_) {
    if (outcome.kind == SendOutcome::Kind::accepted) keeper_.served();
    queue_.outcome(outcome, clock_.now(), random_);
  }
}

void Publisher::send_what_may_go() {
  while (link_open_ && sender_->credit() > 0) {
    const PublishQueue::Item* item = queue_.next(clock_.now());
    if (item == nullptr || !sender_->send(item->tag, item->message)) return;
    queue_.sent(clock_.now());
  }
}

std::vector<PublishResult> Publisher::poll(Duration wait) {
  const Instant deadline = clock_.now() + wait;
  do {
    send_what_may_go();
    Duration left = std::max(deadline - clock_.now(), Duration{0});
    if (const auto retry = queue_.next_retry(); retry && *retry > clock_.now())
      left = std::min(left, *retry - clock_.now());
    if (sender_ && !link_open_) left = std::min(left, std::max(attach_deadline_ - clock_.now(), Duration{0}));
    const std::size_t before = queue_.on_its_way();
    keeper_.poll(left);
    take_outcomes();
    Connection* connection = keeper_.connection();
    if (sender_ && (connection == nullptr || keeper_.generation() != generation_)) end_link(sender_->error());
    if (connection != nullptr && !sender_) {
      generation_ = keeper_.generation();
      sender_.emplace(connection->open_sender(options_.address, options_.link));
      attach_deadline_ = clock_.now() + options_.attach_timeout;
    }
    if (sender_ && !link_open_ && sender_->state() == LinkState::open && sender_->credit() > 0) {
      keeper_.served();
      if (const auto fit = queue_.link_opened(sender_->duplicate_window()); !fit) {
        give_up(fit.error());
      } else {
        link_open_ = true;
        send_what_may_go();
      }
    } else if (sender_ && sender_->state() == LinkState::closed) {
      const ClientError why = sender_->error();
      end_link(why);
      keeper_.lose(why);
    } else if (sender_ && sender_->state() == LinkState::opening && clock_.now() >= attach_deadline_) {
      const ClientError why{condition::timeout, keeper_.endpoint() + " did not answer the attach to " +
                                                    options_.address + " in time"};
      end_link(why);
      keeper_.lose(why);
    }
    if (keeper_.over() && !over_) give_up(*keeper_.over());
    if (over_ || queue_.on_its_way() < before) break;
  } while (clock_.now() < deadline && queue_.size() > 0);
  return queue_.take_results();
}

void Publisher::close(Duration most) {
  const ClientError why{condition::closed, "the publisher was closed here"};
  end_link(why);
  keeper_.leave(most);
  if (!over_) give_up(why);
}

}  // namespace mainstay::client
