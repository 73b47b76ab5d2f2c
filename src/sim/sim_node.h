// One region's node: the production replica on a virtual disk and clock, driven as the real node drives it.
// Here are the faults of a process and its disk.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/memory_disk.h"
#include "base/wire.h"
#include "replica/recover.h"
#include "replica/replica.h"
#include "sim/lying_disk.h"
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
  };
  virtual void deliver(Delivered delivered) = 0;
  virtual void settle_done(std::uint64_t client_tag, bool success) = 0;
  virtual void unsubscribed(broker::ConsumerId consumer) = 0;
  virtual void broken() = 0;
};

class SimNode {
 public:
  SimNode(World& world, std::string region, std::string other_region);
  ~SimNode();

  [[nodiscard]] const std::string& region() const { return region_; }
  [[nodiscard]] bool up() const { return replica_ != nullptr; }
  [[nodiscard]] std::uint64_t life() const { return life_; }
  [[nodiscard]] replica::Replica& replica() { return *replica_; }
  [[nodiscard]] MemoryDisk& disk() { return disk_; }
  [[nodiscard]] DriftingClock& clock() { return clock_; }
  [[nodiscard]] bool serving() const;

  void start();
  enum class End : std::uint8_t { power_loss, process_killed };
  void stop(End how);
  void stop_and_restart(End how, Duration pause);
  /// No restart until released.
  bool held_down = false;
  bool disk_stalls = false;
  bool disk_full = false;

  // What the world around it does. Each is followed by step().
  void connected(replica::PeerId peer, bool outgoing);
  void packet(replica::PeerId from, BytesView bytes);
  void disconnected(replica::PeerId peer);
  Wire* wire = nullptr;  ///< the line to the other region; not owned
  std::function<void(journal::LogPosition)> switch_ready;
  void seal(RegionTerm term);
  void begin_switch();
  void abort_switch();

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
                            broker::LockToken token, broker::Settlement how, const std::string& id);
  /// Some of the queue's deferred messages come to the port, under peek-lock, as deliveries of consumer 0.
  [[nodiscard]] bool fetch_deferred(const std::shared_ptr<ClientPort>& port, const std::string& queue);
  /// In the queues, deferred and scheduled ones included.
  [[nodiscard]] std::uint64_t active_messages();

 private:
  [[nodiscard]] bool try_publish(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                                 const Message& message);
  [[nodiscard]] bool try_subscribe(const std::shared_ptr<ClientPort>& port, broker::ConsumerId consumer,
                                   const std::string& queue, bool session);
  [[nodiscard]] bool try_settle(const std::shared_ptr<ClientPort>& port, std::uint64_t client_tag,
                                broker::LockToken token, broker::Settlement how, const std::string& id);
  void try_start();
  void step();
  void act(replica::Output& output);
  void show(broker::Output& output);
  void show_uncommitted();
  void deliver(const broker::Deliver& output);
  void write();
  void sync();
  void fail(const std::string& why);
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
  void page_lost(const std::string& why);
  void tick();
  void poll_register();
  void lead(const coordination::RegionRecord& record);
  void maintain();
  void break_clients();
  /// Runs `event` later unless this life has ended.
  void later(Duration delay, std::function<void()> event);
  [[nodiscard]] Instant now() { return clock_.now(); }
  [[nodiscard]] WallTime wall() { return clock_.wall(); }

  World& world_;
  std::string region_, other_region_;
  MemoryDisk disk_;
  LyingDisk lying_;
  DriftingClock clock_;
  SeededRandom random_;
  broker::StateLimits limits_;  ///< of every life; for half of the nodes a few pages
  bool cleans_;                 ///< half of the nodes; moves what is older than a few records
  bool short_searches_;         ///< half of the nodes: the leader remembers and looks at next to nothing
  std::uint32_t window_;        ///< of each consumer; for half of the nodes less than its credit
  std::uint64_t life_ = 0;
  std::unique_ptr<journal::Journal> journal_;
  std::unique_ptr<paging::PageStore> pages_;
  std::unique_ptr<replica::Replica> replica_;
  bool stepping_ = false;
  bool writing_ = false;
  replica::Replica::PendingWrite pending_;
  bool forced_ = false;                                     ///< the promotion under way is by force
  RegionTerm led_before_{};                                 ///< canary resume_term
  std::optional<replica::Replica::Checkpoint> checkpoint_;  ///< sealed, not stored yet
  std::uint64_t loads_seen_ = 0;

  struct Asked {
    std::shared_ptr<ClientPort> port;
    std::uint64_t client_tag{};
    std::string id;
    bool removes = false;  ///< a settlement that ends the message's stay
    bool global = false;   ///< a publish to be confirmed when both regions have it
  };
  std::map<std::uint64_t, Asked> publishes_, settlements_;
  /// Who looks for deferred messages, or has asked for some.
  struct Fetching {
    std::shared_ptr<ClientPort> port;
    broker::QueueId queue{};
    bool looking = false;
  };
  std::map<std::uint64_t, Fetching> fetches_;
  void show_fetched(const broker::Fetched& fetched);
  [[nodiscard]] std::optional<ClientPort::Delivered> read_delivery(const broker::Delivery& delivery);
  struct Receiving {
    std::shared_ptr<ClientPort> port;
    std::uint64_t handed = 0;  ///< deliveries
    std::uint64_t taken = 0;   ///< of those, by its link
  };
  void taken_by_link(broker::ConsumerId consumer);
  std::map<broker::ConsumerId, Receiving> consumers_;
};

}  // namespace mainstay::sim
