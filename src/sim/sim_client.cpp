#include "sim/sim_client.h"

#include <algorithm>
#include <utility>

namespace mainstay::sim {

/// One connection. Arrivals at either side never overtake each other.
class SimClient::Port final : public ClientPort, public std::enable_shared_from_this<Port> {
 public:
  Port(SimClient& client, BrokerHost& node) : client_(client), node_(node), life_(node.life()) {}

  void publish_done(std::uint64_t tag, bool stored, Lsn lsn, RegionTerm term, bool duplicate) override {
    to_client([=](SimClient& c) { c.on_publish_done(tag, stored, lsn, term, duplicate); });
  }
  void deliver(Delivered delivered) override {
    to_client([delivered = std::move(delivered)](SimClient& c) { c.on_delivered(delivered); });
  }
  void settle_done(std::uint64_t tag, bool success) override {
    to_client([=](SimClient& c) { c.on_settle_done(tag, success); });
  }
  void unsubscribed(broker::ConsumerId consumer) override {
    to_client([=](SimClient& c) { c.on_unsubscribed(consumer); });
  }
  void broken() override {
    to_client([self = this](SimClient& c) { c.lost(self); });
  }
  void to_node(std::function<bool(BrokerHost&, const std::shared_ptr<ClientPort>&)> what) {
    plan(last_at_node_, [self = shared_from_this(), what = std::move(what)]() mutable {
      self->arrived_.push_back(std::move(what));
      if (self->arrived_.size() == 1) self->look();
    });
  }
  void close() { closed_ = true; }

 private:
  /// The node takes what has arrived, unless its process is paused: then later, in the same order.
  void look() {
    const bool there = node_.up() && node_.life() == life_;
    if (there && !closed_ && node_.frozen_for() > Duration{}) {
      client_.world_.queue.after(node_.frozen_for(), [self = shared_from_this()] { self->look(); });
      return;
    }
    for (; !arrived_.empty(); arrived_.pop_front()) {
      if (closed_ || ended_by_node_) continue;
      const bool still = node_.up() && node_.life() == life_;
      if (still && arrived_.front()(node_, shared_from_this())) continue;
      ended_by_node_ = true;  // what is on its way behind this is not looked at
      broken();
    }
  }
  void to_client(std::function<void(SimClient&)> what) {
    plan(last_at_client_, [self = shared_from_this(), what = std::move(what)] {
      if (!self->closed_) what(self->client_);
    });
  }
  void plan(Duration& last, std::function<void()> what) {
    World& world = client_.world_;
    Duration at = world.queue.now() + world.between(microseconds(200), milliseconds(4));
    if (at <= last) at = last + microseconds(1);
    last = at;
    world.queue.after(at - world.queue.now(), std::move(what));
  }
  SimClient& client_;
  BrokerHost& node_;
  std::uint64_t life_;
  bool closed_ = false;
  bool ended_by_node_ = false;
  std::deque<std::function<bool(BrokerHost&, const std::shared_ptr<ClientPort>&)>> arrived_;
  Duration last_at_node_{}, last_at_client_{};
};

SimClient::SimClient(World& world, std::vector<BrokerHost*> nodes, std::string name)
    : world_(world), name_(std::move(name)), nodes_(std::move(nodes)) {}

void SimClient::start() {
  try_connect();
}

void SimClient::try_connect() {
  if (port_) return;
  BrokerHost& node = *nodes_[next_node_];
  next_node_ = (next_node_ + 1) % nodes_.size();
  if (node.serving()) {
    port_ = std::make_shared<Port>(*this, node);
    on_connected();
  } else {
    world_.queue.after(world_.between(milliseconds(20), milliseconds(150)), [this] { try_connect(); });
  }
}

void SimClient::at_node(std::function<bool(BrokerHost&, const std::shared_ptr<ClientPort>&)> what) {
  if (port_) port_->to_node(std::move(what));
}

void SimClient::disconnect() {
  if (port_) lost(port_.get());
}

void SimClient::lost(const Port* port) {
  if (port_.get() != port) return;
  port_->close();
  port_.reset();
  on_disconnected();
  world_.queue.after(world_.between(milliseconds(10), milliseconds(200)), [this] { try_connect(); });
}

// --- publisher
// -----------------------------------------------------------------------------------------------

Publisher::Publisher(World& world, std::vector<BrokerHost*> nodes, std::string name, std::uint64_t messages)
    : SimClient(world, std::move(nodes), std::move(name)), messages_(messages) {
  watch();
  pump();
}

void Publisher::on_connected() {
  // Everything unanswered again, in order and under the same ids.
  for (const std::uint64_t index : in_flight_) publish(index);
  if (!in_flight_.empty()) ++world_.report.reached["publish repeated after an unknown outcome"];
}

void Publisher::on_disconnected() {}

/// Bursts with pauses: batches of several records, and quiet in which state settles.
void Publisher::pump() {
  constexpr std::size_t kWindow = 4;
  for (std::uint64_t burst = world_.random.between(1, 5); burst > 0; --burst) {
    if (!connected() || next_ == messages_ || in_flight_.size() >= kWindow) break;
    in_flight_.push_back(next_);
    if (is_plain(next_) && world_.random.chance(1, 4)) {
      // Order does not matter there: it leaves behind later ones, over a connection of its own, say.
      world_.queue.after(world_.between(milliseconds(50), milliseconds(1'500)), [this, index = next_] {
        if (std::find(in_flight_.begin(), in_flight_.end(), index) != in_flight_.end()) publish(index);
      });
      ++next_;
      continue;
    }
    publish(next_++);
  }
  if (next_ < messages_) world_.queue.after(world_.between(milliseconds(1), seconds(2)), [this] { pump(); });
}

void Publisher::publish(std::uint64_t index) {
  const bool plain = is_plain(index);
  BrokerHost::Message message{plain ? "plain" : "sessions",
                              id(index),
                              plain ? "" : name_,
                              index,
                              is_far(index) ? world_.far : broker::Durability::journal,
                              index % 16 == 3 ? milliseconds(700) : Duration{}};
  at_node([message, index](BrokerHost& node, const std::shared_ptr<ClientPort>& port) {
    return node.publish(port, index, message);
  });
}

void Publisher::on_publish_done(std::uint64_t tag, bool stored, Lsn lsn, RegionTerm term, bool) {
  last_progress_ = world_.queue.now();
  if (!stored) {  // refused; a later one may have been stored, and order matters: begin anew from the oldest
    world_.queue.after(milliseconds(100), [this] { disconnect(); });
    return;
  }
  std::erase(in_flight_, tag);
  world_.publishes.acknowledged(id(tag), lsn, term);
  if (is_far(tag)) {
    world_.publishes.acknowledged_globally(id(tag));
    ++world_.report.reached[world_.far == broker::Durability::global ? "publish confirmed in both regions"
                                                                     : "publish confirmed on two disks"];
  }
  ++world_.report.published;
  world_.digest(tag + lsn.value);
}

void Publisher::watch() {
  world_.queue.after(milliseconds(500), [this] { watch(); });
  if (connected() && !in_flight_.empty() && world_.queue.now() - last_progress_ > seconds(3)) {
    last_progress_ = world_.queue.now();
    ++world_.report.reached["publish timed out"];
    content_with_less_.insert(in_flight_.begin(), in_flight_.end());
    disconnect();
  }
}

// --- receiver
// ------------------------------------------------------------------------------------------------

Receiver::Receiver(World& world, std::vector<BrokerHost*> nodes, std::string name, bool sessions)
    : SimClient(world, std::move(nodes), std::move(name)), sessions_(sessions) {
  if (!sessions) fetch_deferred();
}

void Receiver::on_connected() {
  subscribe();
}

void Receiver::on_disconnected() {
  // Removals asked for and not answered may have happened.
  for (const auto& [tag, id] : settling_) world_.publishes.settled(id);
  settling_.clear();
  consumer_ = 0;
}

void Receiver::subscribe() {
  if (!connected()) return;
  consumer_ = ++world_.next_id;
  last_delivery_ = world_.queue.now();
  at_node([consumer = consumer_, sessions = sessions_](BrokerHost& node,
                                                       const std::shared_ptr<ClientPort>& port) {
    if (!node.subscribe(port, consumer, sessions ? "sessions" : "plain", sessions)) return false;
    node.add_credit(consumer, 3);
    return true;
  });
  if (sessions_) world_.queue.after(seconds(1), [this, consumer = consumer_] { look_elsewhere(consumer); });
}

void Receiver::look_elsewhere(broker::ConsumerId consumer) {
  if (consumer != consumer_) return;
  if (world_.queue.now() - last_delivery_ < milliseconds(700)) {
    world_.queue.after(milliseconds(300), [this, consumer] { look_elsewhere(consumer); });
    return;
  }
  at_node([consumer](BrokerHost& node, const std::shared_ptr<ClientPort>&) {
    node.unsubscribe(consumer);
    return true;
  });
  subscribe();
}

void Receiver::on_unsubscribed(broker::ConsumerId consumer) {
  if (consumer != consumer_) return;
  consumer_ = 0;
  world_.queue.after(milliseconds(50), [this] {
    if (consumer_ == 0) subscribe();
  });
}

/// Deferred messages come by their numbers only.
void Receiver::fetch_deferred() {
  world_.queue.after(world_.between(milliseconds(100), milliseconds(600)), [this] { fetch_deferred(); });
  at_node([](BrokerHost& node, const std::shared_ptr<ClientPort>& port) {
    return node.fetch_deferred(port, "plain");
  });
}

void Receiver::on_delivered(const ClientPort::Delivered& delivered) {
  if (delivered.consumer == 0) {
    const std::uint64_t draw = world_.faults_on ? world_.random.below(8) : 0;
    settle(delivered, draw == 1   ? broker::Settlement::defer
                      : draw == 2 ? broker::Settlement::abandon
                                  : broker::Settlement::complete);
    return;
  }
  if (delivered.consumer != consumer_) return;
  last_delivery_ = world_.queue.now();
  broker::Settlement how = broker::Settlement::complete;
  Duration think = world_.between(milliseconds(1), milliseconds(30));
  if (world_.faults_on) {
    const std::uint64_t draw = world_.random.below(40);
    if (draw == 0) how = broker::Settlement::abandon;
    if (draw == 1) how = broker::Settlement::release;
    if (draw == 2) how = broker::Settlement::dead_letter;
    if (draw >= 36 && !sessions_) how = broker::Settlement::defer;
    if (draw == 3) {
      think = seconds(6);  // longer than the lock
      ++world_.report.reached["lock outlived"];
    }
  }
  world_.queue.after(think, [this, delivered, how] {
    if (delivered.consumer == consumer_) settle(delivered, how);
  });
}

void Receiver::settle(const ClientPort::Delivered& delivered, broker::Settlement how) {
  const std::uint64_t tag = ++world_.next_id;
  if (how == broker::Settlement::complete || how == broker::Settlement::dead_letter)
    settling_[tag] = delivered.id;
  at_node([tag, delivered, how](BrokerHost& node, const std::shared_ptr<ClientPort>& port) {
    if (!node.settle(port, tag, delivered, how)) return false;
    node.add_credit(delivered.consumer, 3);
    return true;
  });
}

void Receiver::on_settle_done(std::uint64_t tag, bool success) {
  const auto asked = settling_.find(tag);
  if (asked == settling_.end()) return;
  if (success) {
    world_.publishes.settled(asked->second);
    ++world_.report.completed;
  }
  settling_.erase(asked);
}

}  // namespace mainstay::sim
