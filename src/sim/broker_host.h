// What a simulated node is to its clients: publishing, receiving and settling at the replica in it, and the
// connections that end with it. Whatever drives the replica derives from this.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker/leader.h"
#include "journal/journal.h"
#include "paging/page_store.h"
#include "replica/replica.h"
#include "sim/world.h"

namespace mainstay::sim {

/// The node's side of a client's connection. What it calls arrives at the client later, or never.
class ClientPort {
 public:
  virtual ~ClientPort() = default;
  virtual void publish_done(std::uint64_t client_tag, bool stored, Lsn lsn, RegionTerm term,
                            bool duplicate) = 0;
  struct Delivered {
    broker::ConsumerId consumer{};
    broker::LockToken token{};
    std::string id, session;
    std::uint64_t index{};
    bool maybe_delivered = false;
    Duration handed_out{};  ///< true time at which it left the node: its lock began
  };
  virtual void deliver(Delivered delivered) = 0;
  virtual void settle_done(std::uint64_t client_tag, bool success) = 0;
  virtual void unsubscribed(broker::ConsumerId consumer) = 0;
  virtual void broken() = 0;
};

class BrokerHost {
 public:
  static constexpr std::uint64_t kRecordBytesMax = 8 << 10;
  static constexpr std::uint64_t kSettlementReserve = 8 << 10;

  BrokerHost(World& world, std::string name);
  virtual ~BrokerHost();
  BrokerHost(const BrokerHost&) = delete;
  BrokerHost& operator=(const BrokerHost&) = delete;

  [[nodiscard]] virtual bool up() const { return replica_ != nullptr; }
  [[nodiscard]] virtual std::uint64_t life() const = 0;
  [[nodiscard]] virtual bool serving() const = 0;
  /// Nothing happens in its process for so long; what arrives waits.
  [[nodiscard]] virtual Duration frozen_for() const { return {}; }
  [[nodiscard]] replica::Replica& replica() { return *replica_; }

  // Clients. False: not serving, the connection should end.
  struct Message {
    std::string queue, id, session;
    std::uint64_t index{};
    broker::Durability durability = broker::Durability::journal;
    Duration scheduled_in{};  ///< 0 = at once
  };
  [[nodiscard]] bool publish(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                             const Message& message);
  [[nodiscard]] bool subscribe(const std::shared_ptr<ClientPort>& port, broker::ConsumerId consumer,
                               const std::string& queue, bool session);
  void add_credit(broker::ConsumerId consumer, std::uint32_t credit);
  void unsubscribe(broker::ConsumerId consumer);
  [[nodiscard]] bool settle(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                            const ClientPort::Delivered& delivered, broker::Settlement how);
  /// Some of the queue's deferred messages come to the port, under peek-lock, as deliveries of consumer 0.
  [[nodiscard]] bool fetch_deferred(const std::shared_ptr<ClientPort>& port, const std::string& queue);
  /// In the queues, deferred and scheduled ones included.
  [[nodiscard]] std::uint64_t active_messages();

 protected:
  [[nodiscard]] static broker::QueueOptions queue_options(const std::string& name);
  /// A committed output on its way to its client.
  void show(broker::Output& output);
  void show_uncommitted();
  void declare_queues();
  /// Before the disk goes that they are on.
  void close_all() {
    replica_.reset();
    pages_.reset();
    journal_.reset();
  }
  void break_clients();
  [[nodiscard]] std::vector<broker::ConsumerId> consumers() const;
  /// Runs what may touch the state. A page that cannot be had ends this life, as it ends a node's process.
  template <class F>
  bool guarded(const F& work) {
    try {
      work();
      return true;
    } catch (const paging::PageLost& lost) {
      page_lost(lost.what());
      return false;
    }
  }

  // What the driver does.
  virtual void step() = 0;
  virtual void page_lost(const std::string& why) = 0;
  /// Runs `event` later unless this life has ended.
  virtual void later(Duration delay, std::function<void()> event) = 0;
  [[nodiscard]] virtual Instant now() = 0;
  [[nodiscard]] virtual WallTime wall() = 0;
  /// Why this publish must be refused though the node serves.
  [[nodiscard]] virtual bool refuses_publishes() { return false; }
  /// Something that rests on this record leaves for a client.
  virtual void shown(Lsn after) = 0;
  /// Every confirm of this node says that another one has the message.
  [[nodiscard]] virtual bool confirms_far() const { return false; }
  /// And says that another node has it, too.
  virtual void shown_far(Lsn after) = 0;
  /// A record that a delivery needs cannot be read. @return with reason, in this world: then the client's
  /// connection ends, as the front end would end it
  [[nodiscard]] virtual bool record_lost(Lsn) { return false; }
  /// A delivery is about to leave. False: it must not, nor may any other.
  [[nodiscard]] virtual bool may_deliver() { return true; }

  World& world_;
  const std::string name_;
  std::uint32_t window_ = 1000;  ///< of each consumer
  std::unique_ptr<journal::Journal> journal_;
  std::unique_ptr<paging::PageStore> pages_;
  std::unique_ptr<replica::Replica> replica_;

 private:
  [[nodiscard]] bool try_publish(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                                 const Message& message);
  [[nodiscard]] bool try_subscribe(const std::shared_ptr<ClientPort>& port, broker::ConsumerId consumer,
                                   const std::string& queue, bool session);
  [[nodiscard]] bool try_settle(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                                const ClientPort::Delivered& delivered, broker::Settlement how, bool in_time);
  [[nodiscard]] bool short_of_room();
  void deliver(const broker::Deliver& output);
  void show_fetched(const broker::Fetched& fetched);
  [[nodiscard]] std::optional<ClientPort::Delivered> read_delivery(const broker::Delivery& delivery);
  void taken_by_link(broker::ConsumerId consumer);

  struct Asked {
    std::shared_ptr<ClientPort> port;
    std::uint64_t client_tag{};
    std::string id;
    bool removes = false;  ///< a settlement that ends the message's stay
    bool far = false;      ///< a publish to be confirmed when another node has it, too
    /// A settlement that arrived well within its lock, of this consumer.
    std::optional<broker::ConsumerId> in_time_of{};
  };
  std::map<std::uint64_t, Asked> publishes_, settlements_;
  std::map<std::string, broker::LockToken> newest_locks_;  ///< handed out, by message
  /// Who looks for deferred messages, or has asked for some.
  struct Fetching {
    std::shared_ptr<ClientPort> port;
    broker::QueueId queue{};
    bool looking = false;
  };
  std::map<std::uint64_t, Fetching> fetches_;
  struct Receiving {
    std::shared_ptr<ClientPort> port;
    std::uint64_t handed = 0;  ///< deliveries
    std::uint64_t taken = 0;   ///< of those, by its link
  };
  std::map<broker::ConsumerId, Receiving> consumers_;
};

}  // namespace mainstay::sim
