// A group of two nodes under three voters, each on a host of its own in a network of the lab, each node's
// data on a disk of the lab, or that of both in one directory (shared-store mode): for drills to break.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/result.h"
#include "drills/pair_history.h"
#include "lab/faulty_disk.h"
#include "lab/network.h"
#include "lab/processes.h"
#include "lab/voters.h"

namespace mainstay::drills {

/// What a node of the group tells of itself. `answered` false: it does not, or nonsense.
struct PairNodeView {
  bool answered = false, ready = false;
  std::string role, leader, problem, fenced;
  std::uint64_t epoch{}, durable_lsn{}, applied_lsn{};
  std::string log_hash, state_hash;
  std::vector<std::string> in_sync;
  std::uint64_t in_queues = 0;
};

struct PairGroupOptions {
  std::string program, directory;
  unsigned copies_min = 1;
  enum class Store : std::uint8_t { own, lock_required, lock_preferred } store = Store::own;
  bool faulty_disks = false;  ///< the layer costs something: only where its faults are wanted
  std::uint64_t seed{};
};

inline constexpr const char* pair_seat = "operator";  ///< where the drill sits: never cut off
inline constexpr std::array<const char*, 2> pair_nodes{"node-1", "node-2"};
inline constexpr std::array<const char*, 3> pair_voters{"voter-1", "voter-2", "voter-3"};
inline constexpr std::array<const char*, 3> pair_clients{"client-1", "client-2", "client-3"};
inline constexpr const char* pair_session_queue = "payments";  ///< with sessions
inline constexpr const char* pair_plain_queue = "advices";     ///< without
inline constexpr std::uint16_t pair_amqp_port = 5672;

/// Not thread-safe, and made on the thread that lives longest.
class PairGroup {
 public:
  /// Network, voters, configurations; no node runs yet.
  [[nodiscard]] static Result<std::unique_ptr<PairGroup>, Failure> create(const PairGroupOptions& options,
                                                                          Clock& clock);
  ~PairGroup();

  [[nodiscard]] lab::Network& network() { return *network_; }
  [[nodiscard]] lab::Voters& voters() { return *voters_; }
  [[nodiscard]] lab::FaultyDisk& disk(const std::string& node) { return *at(node).disk; }
  [[nodiscard]] lab::Process& process(const std::string& node) { return *at(node).process; }
  [[nodiscard]] std::string config(const std::string& node) const { return at(node).directory + ".toml"; }
  [[nodiscard]] bool one_store() const { return options_.store != PairGroupOptions::Store::own; }
  [[nodiscard]] std::string data(const std::string& node) const {
    return one_store() ? options_.directory + "/store" : at(node).directory;
  }
  [[nodiscard]] static std::string other(const std::string& node) {
    return node == pair_nodes[0] ? pair_nodes[1] : pair_nodes[0];
  }

  Result<void, Failure> start(const std::string& node);
  Result<void, Failure> kill(const std::string& node);
  /// What they had not synced is gone before anybody else looks at it: on one store, too.
  Result<void, Failure> lose_power(const std::vector<std::string>& nodes, Random& random,
                                   lab::TakenBack& lost);
  void pause(const std::string& node);
  void resume(const std::string& node);
  /// Asks all to end, kills who does not. @return who had to be killed
  std::vector<std::string> stop();
  /// Of a node that ended though nobody killed it.
  [[nodiscard]] std::optional<std::string> ended_by_itself();

  [[nodiscard]] PairNodeView view(const std::string& node) const;
  /// The node that serves, if one does.
  [[nodiscard]] std::optional<std::string> leader() const;
  /// Runs `mainstay ARGUMENTS…` to its end at the drill's own place.
  Result<lab::Finished, Failure> command(std::vector<std::string> arguments);
  [[nodiscard]] std::string log(const std::string& node) const;
  [[nodiscard]] const std::vector<Absence>& absences() const { return absences_; }
  [[nodiscard]] std::vector<Service> services() const;
  [[nodiscard]] std::int64_t wall_offset_us() const { return wall_offset_us_; }
  [[nodiscard]] std::int64_t now_us() const { return clock_.now().ns / 1000 + wall_offset_us_; }

 private:
  struct Node {
    std::string directory;
    std::unique_ptr<lab::Process> process;
    std::unique_ptr<lab::FaultyDisk> disk;
    bool killed = true;
  };
  PairGroup(PairGroupOptions options, Clock& clock);
  [[nodiscard]] Node& at(const std::string& node) { return nodes_.at(node); }
  [[nodiscard]] const Node& at(const std::string& node) const { return nodes_.at(node); }
  [[nodiscard]] std::string config_text(const std::string& node) const;
  [[nodiscard]] std::string control(const std::string& node) const;

  const PairGroupOptions options_;
  Clock& clock_;
  std::int64_t wall_offset_us_ = 0;
  std::string cluster_;
  int commands_ = 0;
  std::unique_ptr<lab::Network> network_;
  std::optional<lab::Network::Visit> visit_;  // after the network, which it must not outlive
  std::unique_ptr<lab::Voters> voters_;
  std::map<std::string, Node> nodes_;
  std::vector<Absence> absences_;
};

}  // namespace mainstay::drills
