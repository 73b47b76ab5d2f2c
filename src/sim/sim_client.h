// Clients as an application has them: they publish with stable ids and repeat what they are not sure of,
// receive, settle, lose connections and find the live region again.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "sim/broker_host.h"
#include "sim/world.h"

namespace mainstay::sim {

/// Keeps a connection to whichever of the nodes serves. Both ways in order, with delay.
class SimClient {
 public:
  SimClient(World& world, std::vector<BrokerHost*> nodes, std::string name);
  virtual ~SimClient() = default;
  SimClient(const SimClient&) = delete;
  SimClient& operator=(const SimClient&) = delete;
  void start();
  /// As if the client's network failed.
  void disconnect();

 protected:
  class Port;
  [[nodiscard]] bool connected() const { return port_ != nullptr; }
  /// Does `what` at the node later, unless the connection has ended. False from it ends the connection.
  void at_node(std::function<bool(BrokerHost&, const std::shared_ptr<ClientPort>&)> what);
  virtual void on_connected() = 0;
  virtual void on_disconnected() = 0;
  virtual void on_publish_done(std::uint64_t, bool, Lsn, RegionTerm, bool) {}
  virtual void on_delivered(const ClientPort::Delivered&) {}
  virtual void on_settle_done(std::uint64_t, bool) {}
  virtual void on_unsubscribed(broker::ConsumerId) {}

  World& world_;
  std::string name_;

 private:
  void try_connect();
  void lost(const Port* port);
  std::vector<BrokerHost*> nodes_;
  std::size_t next_node_ = 0;
  std::shared_ptr<Port> port_;
};

/// Publishes numbered messages of one session, some of them to the queue without sessions, a few in flight at
/// a time.
class Publisher final : public SimClient {
 public:
  Publisher(World& world, std::vector<BrokerHost*> nodes, std::string name, std::uint64_t messages);
  [[nodiscard]] bool done() const { return next_ == messages_ && in_flight_.empty(); }

 private:
  void on_connected() override;
  void on_disconnected() override;
  void on_publish_done(std::uint64_t tag, bool stored, Lsn lsn, RegionTerm term, bool duplicate) override;
  void publish(std::uint64_t index);
  void pump();
  void watch();
  [[nodiscard]] std::string id(std::uint64_t index) const { return name_ + "-" + std::to_string(index); }
  /// Some ask to be confirmed only when another node has them (World::far), and for less when that took too
  /// long: after a forced promotion there may be no other region any more.
  [[nodiscard]] bool is_far(std::uint64_t index) const {
    return index % 8 == 6 && !content_with_less_.contains(index);
  }
  [[nodiscard]] static bool is_plain(std::uint64_t index) { return index % 4 == 3; }
  std::set<std::uint64_t> content_with_less_;
  std::uint64_t messages_;
  std::uint64_t next_ = 0;
  std::deque<std::uint64_t> in_flight_;  ///< sent on this or an earlier connection, unanswered; ascending
  Duration last_progress_{};
};

/// Receives from one queue and settles in various ways.
class Receiver final : public SimClient {
 public:
  Receiver(World& world, std::vector<BrokerHost*> nodes, std::string name, bool sessions);

 private:
  void on_connected() override;
  void on_disconnected() override;
  void on_delivered(const ClientPort::Delivered& delivered) override;
  void on_settle_done(std::uint64_t tag, bool success) override;
  void on_unsubscribed(broker::ConsumerId consumer) override;
  void subscribe();
  void look_elsewhere(broker::ConsumerId consumer);
  void fetch_deferred();
  void settle(const ClientPort::Delivered& delivered, broker::Settlement how);
  bool sessions_;
  broker::ConsumerId consumer_ = 0;
  Duration last_delivery_{};
  std::map<std::uint64_t, std::string> settling_;  ///< removals asked for, by tag
};

}  // namespace mainstay::sim
