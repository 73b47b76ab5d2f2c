#include "frontend/frontend.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "frontend/conditions.h"
#include "frontend/connection.h"

namespace mainstay::frontend {
namespace {

// A long time for a broker; only a ceiling for next_deadline() when no connection has one.
constexpr Duration kIdleLoop = seconds(3600);

amqp::Outcome outcome_of(amqp::Outcome::Type type) {
  amqp::Outcome outcome;
  outcome.type = type;
  return outcome;
}

}  // namespace

Frontend::Frontend(FrontendOptions options, Backend& backend, Random& random)
    : options_(std::move(options)), backend_(backend), random_(random) {
  budget_ = credit_budget(options_.limits, {});
}

Frontend::~Frontend() = default;

Connection* Frontend::find(ConnectionId connection) const {
  // What is told comes in runs of one connection's.
  if (last_found_ != nullptr && last_found_->id_ == connection) return last_found_;
  const auto found = connections_.find(connection);
  if (found == connections_.end()) return nullptr;
  return last_found_ = found->second.get();
}

void Frontend::mark_dirty(Connection& connection) {
  if (connection.dirty_) return;
  connection.dirty_ = true;
  dirty_.push_back(connection.id_);
}

void Frontend::take_dirty(std::vector<ConnectionId>& into) {
  into.clear();
  into.swap(dirty_);
  for (const ConnectionId id : into) {
    Connection* connection = find(id);
    if (connection == nullptr) continue;
    connection->dirty_ = false;
    account(*connection);
  }
}

ConnectionId Frontend::open(Instant now) {
  const ConnectionId id = next_connection_++;
  const auto added = connections_.emplace(id, std::make_unique<Connection>(*this, id, now));
  added.first->second->output_moved_ = now;
  ++counters_.connections_opened;
  mark_dirty(*added.first->second);
  note_deadline(*added.first->second, now);
  return id;
}

void Frontend::input(ConnectionId id, BytesView bytes, Instant now, WallTime wall) {
  Connection* connection = find(id);
  MS_ASSERT(connection != nullptr, "bytes come from an open connection");
  connection->now_ = now;
  connection->wall_ = wall;
  connection->engine_->input(bytes, now);
  if (connection->held_links_ > 0) connection->flush_held();
  connection->end_refused_links();
  mark_dirty(*connection);
  account(*connection);
  if (unfinished_bytes_ > options_.unfinished_bytes_max) cut_unfinished();
  note_deadline(*connection, now);
  review_credit(now);
}

void Frontend::note_deadline(Connection& connection, Instant now) {
  if (const auto due = connection.engine_->tick(now)) next_deadline_ = std::min(next_deadline_, *due);
}

void Frontend::input_closed(ConnectionId id, Instant now, WallTime wall) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  connection->now_ = now;
  connection->wall_ = wall;
  connection->engine_->input_closed(now);
  // The engine reports every link; what it does not (refused ones) holds nothing.
  for (auto& [link_id, link] : connection->links_) connection->drop_link(link_id, link);
  forget_account(*connection);
  last_found_ = nullptr;
  connections_.erase(id);
  review_credit(now);
}

BytesView Frontend::output(ConnectionId id) const {
  const Connection* connection = find(id);
  return connection == nullptr ? BytesView() : connection->engine_->output();
}

void Frontend::consumed(ConnectionId id, std::size_t bytes, Instant now, WallTime wall) {
  Connection* connection = find(id);
  if (connection == nullptr) return;
  connection->now_ = now;
  connection->wall_ = wall;
  connection->engine_->consumed(bytes);
  if (bytes > 0) connection->output_moved_ = now;
  account(*connection);
  if (connection->held_links_ > 0) {
    connection->flush_held();
    mark_dirty(*connection);
  }
}

bool Frontend::finished(ConnectionId id) const {
  const Connection* connection = find(id);
  return connection == nullptr || connection->engine_->finished();
}

std::uint64_t Frontend::pend(ConnectionId connection, amqp::DeliveryRef delivery,
                             amqp::Outcome::Type mirrored, bool answer) {
  std::uint32_t slot = 0;
  if (pending_free_.empty()) {
    slot = static_cast<std::uint32_t>(pending_.size());
    pending_.emplace_back();
  } else {
    slot = pending_free_.back();
    pending_free_.pop_back();
  }
  pending_[slot] = {connection, delivery, mirrored, answer, true, false, 0};
  return slot;
}

std::uint64_t Frontend::pend_call(ConnectionId connection, std::uint64_t number, std::uint32_t item) {
  const std::uint64_t tag = pend(connection, number, amqp::Outcome::Type::none, true);
  pending_[tag].call = true;
  pending_[tag].item = item;
  return tag;
}

Frontend::Pending Frontend::take_pending(std::uint64_t tag) {
  MS_ASSERT(tag < pending_.size() && pending_[tag].in_use, "the leader answers each operation once");
  const Pending pending = pending_[tag];
  pending_[tag].in_use = false;
  pending_free_.push_back(static_cast<std::uint32_t>(tag));
  return pending;
}

void Frontend::broker_output(const broker::Output& output, Instant now, WallTime wall) {
  if (const auto* published = std::get_if<broker::PublishDone>(&output)) {
    const Pending pending = take_pending(published->tag);
    if (published->error) {
      ++counters_.publish_refused;
    } else {
      ++counters_.published;
    }
    Connection* connection = find(pending.connection);
    if (connection == nullptr || !pending.answer) return;
    if (pending.call) {
      connection->management_->publish_done(pending.delivery, pending.item, *published);
      mark_dirty(*connection);
      return;
    }
    amqp::Outcome outcome =
        outcome_of(published->error ? amqp::Outcome::Type::rejected : amqp::Outcome::Type::accepted);
    if (published->error) outcome.error = condition_of(*published->error);
    connection->engine_->settle_incoming(pending.delivery, outcome);
    mark_dirty(*connection);
  } else if (const auto* deliver_output = std::get_if<broker::Deliver>(&output)) {
    deliver(*deliver_output, now, wall);
  } else if (const auto* settled = std::get_if<broker::SettleDone>(&output)) {
    const Pending pending = take_pending(settled->tag);
    ++(settled->error ? counters_.settle_refused : counters_.settled);
    Connection* connection = find(pending.connection);
    if (connection == nullptr || !pending.answer) return;
    if (pending.call) {
      connection->management_->settle_done(pending.delivery, settled->error);
      mark_dirty(*connection);
      return;
    }
    // The outcome's type is mirrored, a rejected one with null error: anything else reads as a failure
    // (§9.5).
    amqp::Outcome outcome = outcome_of(settled->error ? amqp::Outcome::Type::rejected : pending.mirrored);
    if (settled->error) outcome.error = condition_of(*settled->error);
    connection->engine_->settle_outgoing(pending.delivery, outcome);
    mark_dirty(*connection);
  } else if (const auto* subscribed = std::get_if<broker::Subscribed>(&output)) {
    const auto consumer = consumers_.find(subscribed->consumer);
    if (consumer == consumers_.end()) return;
    Connection* connection = find(consumer->second.first);
    const amqp::LinkId link_id = consumer->second.second;
    connection->links_.at(link_id).attached = true;
    amqp::AttachReply reply;
    reply.max_message_size = options_.engine.limits.message_bytes_max;
    if (subscribed->session_id) {
      reply.session_id = *subscribed->session_id;
      reply.session_locked_until_ticks = subscribed->locked_until.ms * 10'000 + 621'355'968'000'000'000;
    }
    connection->engine_->accept(link_id, reply);
    connection->now_ = now;
    connection->wall_ = wall;
    const bool drain = connection->links_.at(link_id).drain_asked;
    if (const std::uint32_t credit = connection->engine_->credit_left(link_id); credit > 0 || drain) {
      connection->on_credit(link_id, credit, drain);
    }
    mark_dirty(*connection);
  } else if (const auto* unsubscribed = std::get_if<broker::Unsubscribed>(&output)) {
    const auto consumer = consumers_.find(unsubscribed->consumer);
    if (consumer == consumers_.end()) return;
    Connection* connection = find(consumer->second.first);
    const amqp::LinkId link_id = consumer->second.second;
    connection->now_ = now;
    connection->wall_ = wall;
    const auto link = connection->links_.find(link_id);
    const bool attached = link->second.attached;
    consumers_.erase(consumer);
    link->second.consumer = 0;  // the leader has forgotten it already
    connection->drop_link(link_id, link->second);
    connection->links_.erase(link);
    const amqp::Condition condition = condition_of(unsubscribed->error);
    if (attached) {
      connection->engine_->detach(link_id, condition);
    } else {
      connection->engine_->refuse(link_id, condition);
    }
    mark_dirty(*connection);
  } else if (const auto* fetched = std::get_if<broker::Fetched>(&output)) {
    const Pending pending = take_pending(fetched->tag);
    Connection* connection = find(pending.connection);
    if (connection == nullptr) return;
    connection->now_ = now;
    connection->wall_ = wall;
    connection->management_->fetched(pending.delivery, *fetched);
    mark_dirty(*connection);
  } else if (const auto* drained = std::get_if<broker::Drained>(&output)) {
    const auto consumer = consumers_.find(drained->consumer);
    if (consumer == consumers_.end()) return;
    Connection* connection = find(consumer->second.first);
    auto& link = connection->links_.at(consumer->second.second);
    if (link.held.empty()) {
      connection->engine_->drained(consumer->second.second);
    } else {
      link.drain_due = true;
    }
    mark_dirty(*connection);
  }
}

void Frontend::deliver(const broker::Deliver& output, Instant now, WallTime wall) {
  const broker::Delivery& delivery = output.delivery;
  const auto consumer = consumers_.find(delivery.consumer);
  if (consumer == consumers_.end()) {
    // The link went between dispatch and commit. Its lock is released so that another consumer gets the
    // message at once.
    if (broker::Leader* leader = backend_.leader(); leader != nullptr && !delivery.token.is_nil()) {
      broker::Leader::Settle settle;
      settle.tag = pend(0, 0, amqp::Outcome::Type::none, false);
      settle.token = delivery.token;
      settle.how = broker::Settlement::release;
      leader->settle(settle, now, wall, backend_.leader_outputs());
    }
    return;
  }
  Connection* connection = find(consumer->second.first);
  const amqp::LinkId link_id = consumer->second.second;
  connection->now_ = now;
  connection->wall_ = wall;
  auto& link = connection->links_.at(link_id);
  if (!link.held.empty() || !connection->send(link_id, link, delivery)) {
    if (link.held.empty()) {
      ++connection->held_links_;
      ++blocked_links_;
      if (!connection->awaits_payload_) ++counters_.credit_stalls;
    }
    link.held.push_back({delivery, output.after});
  } else {
    connection->report_sent(link);
  }
  mark_dirty(*connection);
}

void Frontend::await_payload(Connection& connection) {
  if (std::exchange(connection.awaits_payload_, true)) return;
  awaiting_.push_back(connection.id_);
}

void Frontend::payloads_came(Instant now, WallTime wall) {
  for (const ConnectionId id : std::exchange(awaiting_, {})) {
    Connection* connection = find(id);
    if (connection == nullptr) continue;
    connection->awaits_payload_ = false;
    connection->now_ = now;
    connection->wall_ = wall;
    connection->flush_held();
    if (connection->management_) connection->management_->payloads_came();
    mark_dirty(*connection);
  }
}

void Frontend::admission_changed(Instant now, WallTime wall) {
  while (!held_.empty()) {
    HeldPublish& held = held_.front();
    Connection* connection = find(held.connection);
    const std::size_t bytes = held.payload.size();
    if (connection != nullptr) {
      connection->now_ = now;
      connection->wall_ = wall;
      const auto link = connection->links_.find(held.link);
      if (link != connection->links_.end()) {
        const Publishing message(
            {held.link, held.delivery, held.message_format, held.settled, false, BytesView(held.payload)});
        if (!connection->try_publish(link->second, message)) {
          break;
        }
        mark_dirty(*connection);
      }
    }
    held_bytes_ -= bytes;
    if (connection != nullptr) connection->held_bytes_ -= bytes;
    held_.pop_front();
  }
  for (auto& [id, connection] : connections_) {
    if (connection->refused_links_.empty()) continue;
    connection->end_refused_links();
    mark_dirty(*connection);
  }
  credit_due_ = true;
  review_credit(now);
}

void Frontend::forget_held(ConnectionId connection, amqp::LinkId link) {
  if (held_.empty()) return;
  Connection* of = find(connection);
  std::erase_if(held_, [&](const HeldPublish& held) {
    if (held.connection != connection || held.link != link) return false;
    held_bytes_ -= held.payload.size();
    of->held_bytes_ -= held.payload.size();
    return true;
  });
  credit_due_ = credit_due_ || held_.empty();
}

void Frontend::close_all(const std::string& why, Instant now, WallTime wall) {
  held_.clear();
  held_bytes_ = 0;
  for (auto& [id, connection] : connections_) connection->held_bytes_ = 0;
  // All leave before anything is given back: it must not be handed to one who is about to leave.
  for (auto& [id, connection] : connections_) {
    connection->now_ = now;
    connection->wall_ = wall;
    for (auto& [link_id, link] : connection->links_) connection->leave(link_id, link);
  }
  for (auto& [id, connection] : connections_) {
    for (auto& [link_id, link] : connection->links_) connection->give_back(link_id, link);
    connection->links_.clear();
    if (connection->management_) connection->management_->clear();
    connection->refused_links_.clear();
    connection->close({"amqp:connection:forced", why});
    mark_dirty(*connection);
  }
}

void Frontend::leader_gone() {
  MS_ASSERT(consumers_.empty(), "close_all() made every consumer leave");
  pending_.clear();
  pending_free_.clear();
}

std::optional<Lsn> Frontend::oldest_held() const {
  std::optional<Lsn> oldest;
  if (blocked_links_ == 0 && awaiting_.empty()) return oldest;
  for (const auto& [id, connection] : connections_) {
    if (connection->management_) {
      const auto waiting = connection->management_->oldest_waiting();
      if (waiting && (!oldest || *waiting < *oldest)) oldest = waiting;
    }
    if (connection->held_links_ == 0) continue;
    for (const auto& [link_id, link] : connection->links_) {
      for (const auto& held : link.held) {
        if (!oldest || held.delivery.lsn < *oldest) oldest = held.delivery.lsn;
      }
    }
  }
  return oldest;
}

void Frontend::tick(Instant now, WallTime wall) {
  const bool whole = now - stalls_noted_at_ >= seconds(1);  // every link is looked at
  // Most ticks are not for connections: thousands that are idle are not looked at before one of them is due.
  if (whole || now >= next_deadline_) {
    next_deadline_ = now + kIdleLoop;
    for (auto& [id, connection] : connections_) {
      connection->now_ = now;
      connection->wall_ = wall;
      if (const auto due = connection->engine_->tick(now)) next_deadline_ = std::min(next_deadline_, *due);
      if (!connection->engine_->output().empty() || connection->engine_->finished()) mark_dirty(*connection);
      account(*connection);
    }
  }
  close_unread(now);
  // Who had nothing to write when others had used up all room for output gets no word from its socket.
  if (blocked_links_ > 0) {
    for (auto& [id, connection] : connections_) {
      if (connection->held_links_ == 0 || connection->buffered_.output > 0) continue;
      connection->flush_held();
      mark_dirty(*connection);
    }
  }
  credit_due_ = credit_due_ || whole;
  review_credit(now);
  if (whole) {
    stalls_noted_at_ = now;
    note_stalls(now, true);
  }
}

}  // namespace mainstay::frontend
