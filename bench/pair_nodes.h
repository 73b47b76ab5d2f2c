// Two nodes of one group on loopback, each a `mainstay serve` of its own.
#pragma once

#include <memory>
#include <string>

#include "broker_process.h"
#include "delay_relay.h"

namespace mainstay::bench {

class PairNodes {
 public:
  struct Setup {
    std::string name = "pair";  ///< its directory within the run's
    bool relayed = false;       ///< the nodes speak through a DelayRelay
    std::string more_group;     ///< further lines of [group]
    std::string more_config;    ///< further tables
    std::string in_register;    ///< the [register] table; empty: a file in the directory
  };
  /// Starts both and waits until they are in sync.
  PairNodes(const Common& common, const Setup& setup);
  /// Ends both; their directory goes.
  ~PairNodes();
  PairNodes(const PairNodes&) = delete;
  PairNodes& operator=(const PairNodes&) = delete;

  /// Waits until one of them leads; throws CouldNotRun after a minute.
  Broker& leader();
  Broker& other(const Broker& node) { return &node == nodes_[0].get() ? *nodes_[1] : *nodes_[0]; }
  /// Waits until both count. @return seconds it took.
  double wait_in_sync(double most_seconds = 300);
  /// What each of them says of itself, for a failure's message.
  [[nodiscard]] std::string told(std::size_t log_bytes = 1000) const;
  /// Stops both and starts them again with other lines in [group].
  void restart_with(const std::string& more_group);
  [[nodiscard]] DelayRelay& relay() { return *relay_; }

 private:
  [[nodiscard]] std::string tables(int node) const;
  Setup setup_;
  std::string directory_;
  std::uint16_t ports_[2]{};
  std::unique_ptr<DelayRelay> relay_;
  std::unique_ptr<Broker> nodes_[2];
};

}  // namespace mainstay::bench
