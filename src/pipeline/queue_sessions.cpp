#include "pipeline/queue_sessions.h"

#include <algorithm>

#include "pipeline/queue_sender.h"

namespace mainstay::pipeline {

using client::LinkState;

namespace {
// How long a batch that has messages waits for more to arrive; over when nothing came.
constexpr Duration gather_wait = milliseconds(2);
}  // namespace

QueueSessions::QueueSessions(client::ClientOptions client, std::string address, Options options, Clock& clock,
                             Random& random, Log log)
    : client_(std::move(client)),
      address_(std::move(address)),
      options_(options),
      clock_(clock),
      log_(std::move(log)),
      backoff_(random) {}

bool QueueSessions::connect() {
  auto connected = client::Connection::connect(client_);
  if (!connected) {
    lose("cannot connect: " + connected.error().description);
    return false;
  }
  connection_ = std::move(*connected);
  client_.first_endpoint = connection_->endpoint_index();
  return true;
}

void QueueSessions::lose(const std::string& why) {
  slots_.clear();
  connection_.reset();
  client_.first_endpoint = (client_.first_endpoint + 1) % client_.endpoints.size();
  const Duration wait = backoff_.next();
  next_try_ = clock_.now() + wait;
  ++reconnects_;
  if ((backoff_.tries() & (backoff_.tries() - 1)) == 0) {
    log_(Level::warning, "queue " + address_ + ": " + why + "; trying again in " +
                             std::to_string(wait.milliseconds()) + " ms (try " +
                             std::to_string(backoff_.tries()) + ")");
  }
}

void QueueSessions::let_go() {
  if (!connection_) return;
  slots_.clear();
  connection_->close(milliseconds(200));
  connection_.reset();
}

bool QueueSessions::advance(Slot& slot) {
  client::Receiver& receiver = slot.receiver;
  if (receiver.state() == LinkState::closed) {
    if (slot.state == State::full || slot.state == State::lent) return slot.lent > 0;
    if (slot.state == State::opening && receiver.error().condition != client::condition::no_session) {
      // Refused for another reason (unknown queue, no sessions, not live): do not ask in a tight loop.
      lose(receiver.error().condition + ": " + receiver.error().description);
    }
    return false;
  }
  if (slot.state == State::opening && receiver.state() == LinkState::open) {
    backoff_.reset();
    receiver.drain(options_.session_batch);
    slot.state = State::filling;
    slot.taken = 0;
  }
  if (slot.state == State::filling) {
    std::vector<client::Received> arrived;
    receiver.take(arrived);
    for (auto& message : arrived) slot.messages.push_back(std::move(message));
    if (receiver.drained()) {
      slot.taken = slot.messages.size();
      if (slot.messages.empty()) return false;
      slot.state = State::full;
    }
  }
  if (slot.state == State::answering) {
    std::vector<client::Settlement> answers;
    receiver.take_settlements(answers);
    for (const auto& answer : answers) {
      if (answer.ok) continue;
      ++unconfirmed_;
      slot.give_up = true;
      log_(Level::warning, "settling a message of " + address_ + ": " + answer.error.description);
    }
    if (receiver.unsettled() == 0) {
      if (slot.give_up || slot.taken < options_.session_batch) return false;
      receiver.drain(options_.session_batch);
      slot.state = State::filling;
    }
  }
  return true;
}

std::vector<Incoming> QueueSessions::receive(Duration wait, std::size_t most) {
  std::vector<Incoming> out;
  const Instant deadline = clock_.now() + wait;
  while (true) {
    if (!connection_) {
      const Instant at = clock_.now();
      if (at < next_try_) {
        pause(std::min(next_try_, deadline) - at);
        if (clock_.now() < next_try_) return out;
      }
      if (!connect()) return out;
    }
    while (slots_.size() < options_.sessions_max) {
      client::ReceiverOptions next;
      next.session = client::ReceiverOptions::Session::next_available;
      next.session_timeout = options_.session_timeout;
      slots_.emplace(next_slot_++,
                     Slot{connection_->open_receiver(address_, next), State::opening, {}, 0, 0, false});
    }
    const std::size_t before = out.size();
    const bool full = !out.empty() || std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) {
      return slot.second.state == State::full;
    });
    const Duration left = deadline - clock_.now();
    const auto polled = connection_->poll(!out.empty()          ? gather_wait
                                          : full || left.ns < 0 ? Duration{0}
                                                                : left);
    if (!polled) {
      lose(polled.error().description);
      return out;
    }
    for (auto at = slots_.begin(); at != slots_.end();) {
      const bool keep = advance(at->second);
      if (!connection_) return out;
      at = keep ? std::next(at) : slots_.erase(at);
    }
    for (auto& [id, slot] : slots_) {
      if (slot.state != State::full) continue;
      if (!out.empty() && out.size() + slot.messages.size() > most) break;
      for (auto& message : slot.messages) out.push_back({id, message.handle, std::move(message.message)});
      slot.lent = slot.messages.size();
      slot.messages.clear();
      slot.state = State::lent;
    }
    // Messages that arrive while the first are being taken join the batch: each batch costs the same few
    // syncs.
    if (!out.empty() && (out.size() == before || out.size() >= most)) return out;
    if (out.empty() && clock_.now() >= deadline) return out;
  }
}

QueueSessions::Slot* QueueSessions::lent_slot(const Incoming& message) {
  const auto found = slots_.find(message.session);
  if (found == slots_.end() || found->second.lent == 0) return nullptr;
  if (--found->second.lent == 0) found->second.state = State::answering;
  return &found->second;
}

void QueueSessions::complete(const Incoming& message) {
  if (Slot* slot = lent_slot(message)) slot->receiver.complete(message.handle);
}
void QueueSessions::abandon(const Incoming& message) {
  if (Slot* slot = lent_slot(message)) {
    slot->give_up = true;
    slot->receiver.abandon(message.handle);
  }
}
void QueueSessions::release(const Incoming& message) {
  if (Slot* slot = lent_slot(message)) {
    slot->give_up = true;
    slot->receiver.release(message.handle);
  }
}
void QueueSessions::dead_letter(const Incoming& message, const std::string& reason,
                                const std::string& description) {
  if (Slot* slot = lent_slot(message)) slot->receiver.dead_letter(message.handle, reason, description);
}

}  // namespace mainstay::pipeline
