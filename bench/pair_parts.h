// The parts of `bench pair`: each adds its figures to the record.
#pragma once

#include "load.h"
#include "pair_nodes.h"

namespace mainstay::bench {

/// Defaults: what the targets are for.
struct PairSizes {
  int runs = 50;
  std::uint64_t resident = 5'000'000;
  std::string settings;  ///< of the takeovers: default or fast; empty: both
  int voters = 3;        ///< etcd members that hold the register of the takeovers; 0: a file
  int away_seconds = 60;
  std::uint64_t messages = 200'000;
  std::uint64_t singles = 3'000;
  int connections = 4;
  double peer_seconds = 2;
};

void pair_latency(const Common& common, const PairSizes& sizes, Record& record);
void pair_delay(const Common& common, const PairSizes& sizes, Record& record);
void pair_rejoin(const Common& common, const PairSizes& sizes, Record& record);
void pair_failover(const Common& common, const PairSizes& sizes, Record& record);

/// Publishers that press together, each on a connection and a thread of its own.
class Crowd {
 public:
  Crowd(const Broker& broker, int connections);
  /// `count` messages of 1 KiB in all. @return messages a second.
  double publish(std::uint64_t count);

 private:
  Buffer message_;
  std::vector<std::unique_ptr<Publisher>> publishers_;
};

}  // namespace mainstay::bench
