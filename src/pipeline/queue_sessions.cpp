#include "pipeline/queue_sessions.h"

#include <algorithm>

#include "pipeline/queue_sender.h"

namespace mainstay::pipeline {

using client::LinkState;

namespace {
// How long a batch that has messages waits for more to arrive; over when nothing came.
constexpr Duration gather_wait = milliseconds(2);
// For an attach, beyond the time the broker may look for a session.
constexpr Duration attach_timeout = seconds(10);
}  // namespace

QueueSessions::QueueSessions(client::ClientOptions client, const client::ReconnectOptions& reconnect,
                             std::string address, Options options, Clock& clock, Random& random, Log log)
    : address_(std::move(address)),
      options_(options),
      clock_(clock),
      log_(log),
      keeper_(std::move(client), reconnect, clock, random,
              [log = std::move(log), queue = address_](const std::string& text) {
                log(Level::warning, "receiving from queue " + queue + ": " + text);
              }) {}

void QueueSessions::lose(const client::ClientError& why) {
  slots_.clear();
  keeper_.lose(why);
}

void QueueSessions::let_go() {
  slots_.clear();
  keeper_.leave(milliseconds(200));
}

bool QueueSessions::advance(Slot& slot) {
  client::Receiver& receiver = slot.receiver;
  if (receiver.state() == LinkState::closed) {
    if (slot.state == State::full || slot.state == State::lent) return slot.lent > 0;
    if (slot.state == State::opening && receiver.error().condition == client::condition::no_session) {
      keeper_.served();  // it looked, and there was none
    } else if (slot.state == State::opening) {
      // Refused for another reason (unknown queue, no sessions, not live): do not ask in a tight loop.
      lose(client::ClientError(receiver.error()));
    }
    return false;
  }
  if (slot.state == State::opening && receiver.state() == LinkState::opening &&
      clock_.now() >= slot.attach_deadline) {
    lose({client::condition::timeout,
          keeper_.endpoint() + " did not answer the attach to " + address_ + " in time"});
    return false;
  }
  if (slot.state == State::opening && receiver.state() == LinkState::open) {
    keeper_.served();
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
    client::Connection* connection = keeper_.connection();
    while (connection != nullptr && slots_.size() < options_.sessions_max) {
      generation_ = keeper_.generation();
      client::ReceiverOptions next;
      next.session = client::ReceiverOptions::Session::next_available;
      next.session_timeout = options_.session_timeout;
      slots_.emplace(next_slot_++, Slot{connection->open_receiver(address_, next),
                                        State::opening,
                                        clock_.now() + options_.session_timeout + attach_timeout,
                                        {},
                                        0,
                                        0,
                                        false});
    }
    const std::size_t before = out.size();
    const bool full = !out.empty() || std::any_of(slots_.begin(), slots_.end(), [](const auto& slot) {
      return slot.second.state == State::full;
    });
    const Duration left = deadline - clock_.now();
    keeper_.poll(!out.empty() ? gather_wait : full || left.ns < 0 ? Duration{0} : left);
    if (keeper_.over()) return out;
    if (keeper_.connection() == nullptr || keeper_.generation() != generation_) {
      const bool had = !slots_.empty();
      slots_.clear();
      if (had || !out.empty() || clock_.now() >= deadline) return out;
      continue;
    }
    for (auto at = slots_.begin(); at != slots_.end();) {
      const bool keep = advance(at->second);
      if (keeper_.connection() == nullptr) return out;
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
