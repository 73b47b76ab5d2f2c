#include "sim/broker_host.h"

#include <string>
#include <utility>

#include "broker/effects.h"
#include "journal/record.h"
#include "sim/group_bugs.h"

namespace mainstay::sim {

broker::QueueOptions BrokerHost::queue_options(const std::string& name) {
  broker::QueueOptions options;
  options.requires_session = name == "sessions";
  options.duplicate_detection = true;
  options.duplicate_window_ms = 7LL * 24 * 3600 * 1000;
  options.lock_duration_ms = 5'000;
  options.max_delivery_count = 2000;
  return options;
}

BrokerHost::BrokerHost(World& world, std::string name) : world_(world), name_(std::move(name)) {}
BrokerHost::~BrokerHost() = default;

void BrokerHost::declare_queues() {
  for (const char* name : {"sessions", "plain"})
    (void)replica_->leader().declare_queue(name, queue_options(name), wall());
}

std::vector<broker::ConsumerId> BrokerHost::consumers() const {
  std::vector<broker::ConsumerId> all;
  for (const auto& [id, receiving] : consumers_) all.push_back(id);
  return all;
}

void BrokerHost::break_clients() {
  std::map<ClientPort*, std::shared_ptr<ClientPort>> ports;
  std::vector<std::shared_ptr<ClientPort>> in_order;
  const auto take = [&](const std::shared_ptr<ClientPort>& port) {
    if (ports.emplace(port.get(), port).second) in_order.push_back(port);
  };
  for (const auto& [tag, asked] : publishes_) take(asked.port);
  for (const auto& [tag, asked] : settlements_) take(asked.port);
  for (const auto& [tag, asked] : fetches_) take(asked.port);
  for (const auto& [id, receiving] : consumers_) take(receiving.port);
  publishes_.clear();
  settlements_.clear();
  fetches_.clear();
  consumers_.clear();
  for (const auto& port : in_order) port->broken();
}

// --- clients
// ---------------------------------------------------------------------------------------------------------

bool BrokerHost::publish(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                         const Message& message) {
  bool taken = false;
  guarded([&] { taken = try_publish(port, client_tag, message); });
  return taken;
}

bool BrokerHost::short_of_room() {
  return journal_->room() < replica_->bytes_under_way() + kRecordBytesMax + kSettlementReserve;
}

bool BrokerHost::try_publish(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                             const Message& message) {
  if (!serving() || refuses_publishes()) return false;
  if (short_of_room()) {
    ++world_.report.reached["publish refused: disk full"];
    // The link ends: were only this message refused, those behind it could overtake it.
    return false;
  }
  const auto queue = replica_->state().find_queue(message.queue);
  if (!queue) return false;
  broker::Publish publish;
  publish.tag = ++world_.next_id;
  publish.queue = *queue;
  publish.message_id = message.id;
  publish.session_id = message.session;
  publish.has_session = !message.session.empty();
  // Long ones too, so that segments fill up; the same message is always as long.
  const std::string payload =
      message.id + "/" + std::to_string(message.index) + std::string(message.index * 37 % 16 * 400, ' ');
  publish.payload = as_bytes(payload);
  if (message.scheduled_in.ns > 0)
    publish.scheduled_enqueue = WallTime{wall().ms + message.scheduled_in.milliseconds()};
  if (world_.options.canary != Canary::confirm_without_standby) publish.durability = message.durability;
  publishes_[publish.tag] = {port, client_tag, message.id, false, message.durability == world_.far};
  replica_->leader().publish(publish, wall(), replica_->leader_outputs());
  step();
  return true;
}

bool BrokerHost::subscribe(const std::shared_ptr<ClientPort>& port, broker::ConsumerId consumer,
                           const std::string& queue, bool session) {
  bool taken = false;
  guarded([&] { taken = try_subscribe(port, consumer, queue, session); });
  return taken;
}

bool BrokerHost::try_subscribe(const std::shared_ptr<ClientPort>& port, broker::ConsumerId consumer,
                               const std::string& queue, bool session) {
  if (!serving()) return false;
  const auto found = replica_->state().find_queue(queue);
  if (!found) return false;
  broker::Subscribe subscribe;
  subscribe.consumer = consumer;
  subscribe.queue = *found;
  if (session) {
    subscribe.session = broker::Subscribe::Session::next_available;
    subscribe.session_deadline = now() + seconds(3);
  }
  subscribe.window = window_;
  consumers_[consumer] = {port};
  replica_->leader().subscribe(subscribe, now(), wall(), replica_->leader_outputs());
  step();
  return true;
}

void BrokerHost::add_credit(broker::ConsumerId consumer, std::uint32_t credit) {
  guarded([&] {
    if (!serving() || !consumers_.contains(consumer)) return;
    replica_->leader().set_credit(consumer, credit, false, now(), wall(), replica_->leader_outputs());
    step();
  });
}

void BrokerHost::unsubscribe(broker::ConsumerId consumer) {
  guarded([&] {
    if (!serving() || consumers_.erase(consumer) == 0) return;
    replica_->leader().unsubscribe(consumer, now(), wall(), replica_->leader_outputs());
    step();
  });
}

bool BrokerHost::settle(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                        const ClientPort::Delivered& delivered, broker::Settlement how) {
  // Clocks drift, and what waits for the end of a pause comes behind the timers.
  const Duration lock = milliseconds(queue_options("").lock_duration_ms - 1'000);
  // A lock begins when a delivery is ordered. What waited for its commit for longer than that is handed out
  // all the same, and handed out again: then the later lock is the one.
  const auto newest = newest_locks_.find(delivered.id);
  const bool overtaken = newest != newest_locks_.end() && !(newest->second == delivered.token);
  const bool in_time =
      delivered.consumer != 0 && !overtaken && world_.queue.now() - delivered.handed_out < lock;
  bool taken = false;
  guarded([&] { taken = try_settle(port, client_tag, delivered, how, in_time); });
  return taken;
}

bool BrokerHost::try_settle(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                            const ClientPort::Delivered& delivered, broker::Settlement how, bool in_time) {
  if (!serving()) return false;
  if (resurrected(StandInBug::settlement_throttled) && (refuses_publishes() || short_of_room())) {
    later(milliseconds(100), [this, port, client_tag, delivered, how, in_time] {
      (void)try_settle(port, client_tag, delivered, how, in_time);
    });
    return true;
  }
  broker::Leader::Settle settle;
  settle.tag = ++world_.next_id;
  settle.token = delivered.token;
  settle.how = how;
  const bool removes = how == broker::Settlement::complete || how == broker::Settlement::dead_letter;
  Asked& asked = settlements_[settle.tag] = {port, client_tag, delivered.id, removes};
  if (in_time) asked.in_time_of = delivered.consumer;
  world_.trace(name_ + " is asked to settle " + delivered.id + " as " +
               std::to_string(static_cast<int>(how)));
  replica_->leader().settle(settle, now(), wall(), replica_->leader_outputs());
  step();
  return true;
}

std::uint64_t BrokerHost::active_messages() {
  std::uint64_t active = 0;
  guarded([&] {
    for (const auto queue : replica_->state().queues()) {
      const broker::QueueStats stats = replica_->state().stats(queue);
      active += stats.active + stats.deferred + stats.scheduled;
    }
  });
  return active;
}

void BrokerHost::show_uncommitted() {
  if (replica_->role() != replica::Role::live) return;
  auto outputs = std::move(replica_->leader_outputs());
  replica_->leader_outputs().clear();
  for (broker::Output& output : outputs) show(output);
}

void BrokerHost::show(broker::Output& output) {
  if (auto* done = std::get_if<broker::PublishDone>(&output)) {
    const auto asked = publishes_.find(done->tag);
    if (asked == publishes_.end()) return;
    if (!done->error) shown(done->after);
    if (!done->error && (asked->second.far || confirms_far())) shown_far(done->after);
    world_.trace(name_ + " stored " + asked->second.id + " at LSN " + std::to_string(done->after.value));
    if (done->duplicate) ++world_.report.reached["publish was a duplicate"];
    asked->second.port->publish_done(asked->second.client_tag, !done->error, done->after, replica_->term(),
                                     done->duplicate);
    publishes_.erase(asked);
  } else if (auto* handed = std::get_if<broker::Deliver>(&output)) {
    if (!may_deliver()) return;
    shown(handed->after);
    deliver(*handed);
  } else if (auto* settled = std::get_if<broker::SettleDone>(&output)) {
    const auto asked = settlements_.find(settled->tag);
    if (asked == settlements_.end()) return;
    world_.trace(name_ + (settled->error ? " refuses to settle " : " settled ") + asked->second.id +
                 " at LSN " + std::to_string(settled->after.value) +
                 (settled->error ? ": " + settled->error->what : ""));
    if (!settled->error) {
      shown(settled->after);
      if (asked->second.removes)
        world_.settlements.removed(asked->second.id, settled->after, replica_->term());
    } else {
      ++world_.report.reached["settlement refused"];
      if (asked->second.in_time_of && consumers_.contains(*asked->second.in_time_of))
        world_.report.violated("settlement: " + name_ + " refuses to settle " + asked->second.id +
                               ", which was asked for within its lock: " + settled->error->what);
    }
    asked->second.port->settle_done(asked->second.client_tag, !settled->error);
    settlements_.erase(asked);
  } else if (auto* fetched = std::get_if<broker::Fetched>(&output)) {
    show_fetched(*fetched);
  } else if (auto* ended = std::get_if<broker::Unsubscribed>(&output)) {
    const auto found = consumers_.find(ended->consumer);
    if (found == consumers_.end()) return;
    const auto keep = found->second.port;
    consumers_.erase(found);
    keep->unsubscribed(ended->consumer);
  }
}

bool BrokerHost::fetch_deferred(const std::shared_ptr<ClientPort>& port, const std::string& queue) {
  bool taken = false;
  guarded([&] {
    if (!serving()) return;
    const auto found = replica_->state().find_queue(queue);
    if (!found) return;
    broker::Leader::Peek peek;
    peek.tag = ++world_.next_id;
    peek.queue = *found;
    peek.from = broker::SequenceNumber{1};
    peek.max = 200;
    fetches_[peek.tag] = {port, *found, true};
    replica_->leader().peek(peek, replica_->leader_outputs());
    step();
    taken = true;
  });
  return taken;
}

void BrokerHost::show_fetched(const broker::Fetched& fetched) {
  const auto found = fetches_.find(fetched.tag);
  if (found == fetches_.end()) return;
  const Fetching asked = std::move(found->second);
  fetches_.erase(found);
  if (!fetched.messages.empty() && !may_deliver()) return;
  shown(fetched.after);
  if (asked.looking) {
    std::vector<broker::SequenceNumber> deferred;
    for (const broker::Delivery& seen : fetched.messages) {
      if (seen.state == broker::MessageState::scheduled)
        ++world_.report.reached["a scheduled message was seen"];
      if (seen.state == broker::MessageState::deferred) deferred.push_back(seen.sequence);
    }
    if (deferred.empty() || replica_->role() != replica::Role::live) return;
    // One at a time, any: those before it may be locked.
    const broker::SequenceNumber one = deferred[world_.random.below(deferred.size())];
    broker::Leader::ReceiveDeferred receive;
    receive.tag = ++world_.next_id;
    receive.queue = asked.queue;
    receive.sequences = {&one, 1};
    fetches_[receive.tag] = {asked.port, asked.queue, false};
    replica_->leader().receive_deferred(receive, now(), wall(), replica_->leader_outputs());
    return;
  }
  if (fetched.error) {
    ++world_.report.reached["a deferred message was locked"];
    return;
  }
  for (const broker::Delivery& delivery : fetched.messages) {
    ++world_.report.reached["a deferred message was received"];
    if (auto delivered = read_delivery(delivery)) asked.port->deliver(std::move(*delivered));
  }
}

std::optional<ClientPort::Delivered> BrokerHost::read_delivery(const broker::Delivery& delivery) {
  Buffer raw;
  journal::Record record;
  broker::StoredMessage stored;
  if (world_.options.canary == Canary::show_before_commit && delivery.lsn > journal_->durable().lsn)
    return std::nullopt;
  const auto read = journal_->read(delivery.lsn, delivery.lsn, 1, raw);
  if (!read || journal::decode_record(raw, record) != journal::DecodeStatus::ok ||
      !broker::read_stored_message(record, stored)) {
    if (!record_lost(delivery.lsn))
      world_.report.violated("delivery: " + name_ + " has no message at LSN " +
                             std::to_string(delivery.lsn.value) + (read ? "" : ": " + read.error().what));
    return std::nullopt;
  }
  ClientPort::Delivered delivered;
  delivered.consumer = delivery.consumer;
  delivered.handed_out = world_.queue.now();
  delivered.token = delivery.token;
  delivered.id = stored.message_id;
  delivered.session = stored.has_session ? std::string(stored.session_id) : "";
  const std::string payload(as_text(stored.payload));
  delivered.index = std::stoull(payload.substr(payload.find('/') + 1));
  delivered.maybe_delivered = delivery.maybe_delivered;
  if (delivered.maybe_delivered) ++world_.report.reached["delivered again after a failover"];
  if (!delivered.session.empty()) world_.order.delivered(delivered.session, delivered.index);
  world_.trace(name_ + " delivers " + delivered.id + " of LSN " + std::to_string(delivery.lsn.value) +
               " to consumer " + std::to_string(delivered.consumer));
  world_.digest(delivery.lsn.value);
  return delivered;
}

void BrokerHost::deliver(const broker::Deliver& output) {
  const auto receiving = consumers_.find(output.delivery.consumer);
  if (receiving == consumers_.end()) return;
  auto delivered = read_delivery(output.delivery);
  if (!delivered) {
    if (world_.options.canary == Canary::show_before_commit) return;
    const auto port = receiving->second.port;
    replica_->leader().unsubscribe(receiving->first, now(), wall(), replica_->leader_outputs());
    consumers_.erase(receiving);
    port->broken();
    return;
  }
  newest_locks_[delivered->id] = delivered->token;
  const broker::ConsumerId consumer = delivered->consumer;
  Receiving& link = receiving->second;
  ++link.handed;
  if (link.handed - link.taken == window_) ++world_.report.reached["a delivery window was full"];
  later(world_.between(microseconds(100), milliseconds(20)), [this, consumer] { taken_by_link(consumer); });
  link.port->deliver(std::move(*delivered));
}

/// The link has room for one more: that is when the next message leaves a full window.
void BrokerHost::taken_by_link(broker::ConsumerId consumer) {
  const auto receiving = consumers_.find(consumer);
  if (receiving == consumers_.end() || replica_->role() != replica::Role::live) return;
  replica_->leader().taken(consumer, ++receiving->second.taken, now(), wall(), replica_->leader_outputs());
  step();
}

}  // namespace mainstay::sim
