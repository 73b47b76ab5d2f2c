// Queues with copies on several nodes, publishing only: a pair of Mainstay nodes beside three RabbitMQ nodes
// and three NATS nodes, each on this machine. One at a time, in rounds whose order rotates; ratios are made
// of one round's figures.
#pragma once

#include <string>

namespace mainstay::bench {

struct ReplicatedOptions {
  std::string program;
  std::string directory;
  std::string json;  ///< empty: not written
  int rounds = 5;
  double seconds = 2;  ///< of load per measurement
};

/// @return exit status, as of every benchmark.
int run_replicated(const ReplicatedOptions& options, const std::string& command);

}  // namespace mainstay::bench
