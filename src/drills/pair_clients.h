// The clients of a drill on a group of nodes: each a thread on a host of the lab's network, with the
// product's own client and a history of what it asked and was answered.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "client/connection.h"
#include "drills/pair_history.h"
#include "lab/network.h"

namespace mainstay::drills {

/// What all clients share. Outlives them.
struct PairShared {
  const lab::Network& network;
  std::vector<client::Endpoint> endpoints;
  std::vector<std::string> nodes;  ///< names, as `endpoints`
  std::string user, password;
  std::uint64_t seed{};
  std::int64_t wall_offset_us{};     ///< from the monotonic clock to microseconds since 1970
  std::atomic<bool> stop{false};     ///< no new messages; publishers end when every outcome is known
  std::atomic<bool> drained{false};  ///< subscribers end
  std::atomic<bool> give_up{false};  ///< all end at once
  std::atomic<std::uint64_t> sent{0}, confirmed{0}, received{0}, settled{0}, reconnects{0}, resent{0};
};

struct PairClientPlace {
  std::string name, host, queue;
  unsigned sessions = 1;  ///< publisher: among so many its messages are divided
  double rate_per_s = 100;
  bool by_session = false;  ///< the queue has sessions
};

/// A client that runs until it is told to end, as PairShared says.
class PairClient {
 public:
  enum class Kind : std::uint8_t { publisher, subscriber };
  PairClient(PairShared& shared, Kind kind, PairClientPlace place);
  ~PairClient();
  PairClient(const PairClient&) = delete;
  PairClient& operator=(const PairClient&) = delete;
  [[nodiscard]] Kind kind() const { return kind_; }
  [[nodiscard]] bool ended() const { return ended_.load(std::memory_order_acquire); }
  /// Waits for the end.
  [[nodiscard]] PairClientHistory take_history();

 private:
  void publish();
  void subscribe();
  [[nodiscard]] std::int64_t time_us();

  PairShared& shared_;
  const Kind kind_;
  const PairClientPlace place_;
  PairClientHistory history_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace mainstay::drills
