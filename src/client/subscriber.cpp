#include "client/subscriber.h"

#include <algorithm>
#include <utility>

namespace mainstay::client {

Subscriber::Subscriber(SubscriberOptions options, Clock& clock, Random& random, Tell tell)
    : options_(std::move(options)),
      clock_(clock),
      keeper_(options_.client, options_.reconnect, clock, random, std::move(tell)),
      memory_(options_.remembered_max) {}

void Subscriber::open_link(Connection& connection) {
  generation_ = keeper_.generation();
  ReceiverOptions link;
  attach_deadline_ = clock_.now() + options_.attach_timeout;
  if (options_.sessions) {
    link.session = ReceiverOptions::Session::next_available;
    link.session_timeout = options_.session_timeout;
    attach_deadline_ = attach_deadline_ + options_.session_timeout;
  }
  receiver_.emplace(connection.open_receiver(options_.address, link));
}

void Subscriber::end_link(ClientError why) {
  if (receiver_) receiver_->close();
  receiver_.reset();
  link_open_ = false;
  for (auto& [link_handle, asked] : asked_) {
    if (!asked.repeated) results_.push_back({asked.handle, SettleResult::Kind::unknown, why});
    memory_.unknown(asked.key, std::move(asked.wanted));
  }
  asked_.clear();
  for (auto& [handle, held] : held_) void_.emplace(handle, std::move(held.key));
  held_.clear();
}

void Subscriber::ask(std::uint64_t link_handle, Asked asked) {
  switch (asked.wanted.as) {
    case SettleAs::complete:
      receiver_->complete(link_handle);
      break;
    case SettleAs::abandon:
      receiver_->abandon(link_handle);
      break;
    case SettleAs::defer:
      receiver_->defer(link_handle);
      break;
    case SettleAs::release:
      receiver_->release(link_handle);
      break;
    case SettleAs::dead_letter:
      receiver_->dead_letter(link_handle, asked.wanted.reason, asked.wanted.description);
      break;
  }
  asked_.emplace(link_handle, std::move(asked));
}

void Subscriber::settle(std::uint64_t handle, SettleAs as, const std::string& reason,
                        const std::string& description) {
  SettlementMemory::Wanted wanted{as, reason, description};
  if (const auto held = held_.find(handle); held != held_.end()) {
    const Held what = std::move(held->second);
    held_.erase(held);
    ask(what.link_handle, {handle, what.key, std::move(wanted), false});
  } else if (const auto gone = void_.find(handle); gone != void_.end()) {
    memory_.unknown(gone->second, std::move(wanted));
    void_.erase(gone);
    results_.push_back({handle,
                        SettleResult::Kind::unknown,
                        {condition::lost, "the connection it was received on had ended"}});
  }
}

void Subscriber::take(std::vector<Delivery>& into) {
  receiver_->take(received_);
  if (!received_.empty()) last_arrival_ = clock_.now();
  for (Received& received : received_) {
    MessageKey key = key_of(received.message);
    if (auto wanted = memory_.recognise(key)) {
      ++recognised_;
      ask(received.handle, {0, std::move(key), std::move(*wanted), true});
      continue;
    }
    const std::uint64_t handle = next_handle_++;
    held_.emplace(handle, Held{received.handle, key});
    into.push_back({handle, std::move(key), session_, std::move(received.message)});
  }
  receiver_->take_settlements(settlements_);
  const bool over = receiver_->state() != LinkState::open;
  for (Settlement& settlement : settlements_) {
    const auto at = asked_.find(settlement.handle);
    if (at == asked_.end() || (!settlement.ok && over))
      continue;  // the end of a link is no answer: end_link()
    last_arrival_ = clock_.now();
    if (!at->second.repeated) {
      results_.push_back({at->second.handle,
                          settlement.ok ? SettleResult::Kind::confirmed : SettleResult::Kind::refused,
                          std::move(settlement.error)});
    } else if (!settlement.ok) {
      memory_.unknown(at->second.key, std::move(at->second.wanted));  // it comes once more
    }
    asked_.erase(at);
  }
}

void Subscriber::follow_link() {
  if (receiver_->state() == LinkState::closed) {
    const ClientError why = receiver_->error();
    const bool none = !link_open_ && why.condition == condition::no_session;
    end_link(why);
    if (none) {
      keeper_.served();
    } else {
      keeper_.lose(why);
    }
  } else if (receiver_->state() == LinkState::open) {
    if (!std::exchange(link_open_, true)) {
      keeper_.served();
      session_ = receiver_->session_id().value_or("");
      last_arrival_ = clock_.now();
    }
    if (receiver_->credit() <= options_.credit / 2)
      receiver_->add_credit(options_.credit - static_cast<std::uint32_t>(receiver_->credit()));
    // An empty session is left to others.
    if (options_.sessions && held_.empty() && asked_.empty() &&
        clock_.now() - last_arrival_ >= options_.session_idle)
      end_link({condition::closed, "the session was empty"});
  } else if (clock_.now() >= attach_deadline_) {
    const ClientError why{condition::timeout, keeper_.endpoint() + " did not answer the attach to " +
                                                  options_.address + " in time"};
    end_link(why);
    keeper_.lose(why);
  }
}

std::vector<Delivery> Subscriber::poll(Duration wait) {
  std::vector<Delivery> out;
  const Instant deadline = clock_.now() + wait;
  do {
    Duration left = std::max(deadline - clock_.now(), Duration{0});
    if (receiver_ && !link_open_)
      left = std::min(left, std::max(attach_deadline_ - clock_.now(), Duration{0}));
    if (options_.sessions && link_open_) left = std::min(left, options_.session_idle);
    keeper_.poll(left);
    if (receiver_) take(out);
    Connection* connection = keeper_.connection();
    if (receiver_ && (connection == nullptr || keeper_.generation() != generation_))
      end_link(receiver_->error());
    if (receiver_) follow_link();
    connection = keeper_.connection();
    if (connection != nullptr && !receiver_) open_link(*connection);
  } while (out.empty() && results_.empty() && !keeper_.over() && clock_.now() < deadline);
  return out;
}

std::vector<SettleResult> Subscriber::take_results() {
  return std::exchange(results_, {});
}

void Subscriber::close(Duration most) {
  end_link({condition::closed, "the subscriber was closed here"});
  keeper_.leave(most);
}

}  // namespace mainstay::client
