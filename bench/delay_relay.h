// A longer way between two nodes: TCP to one port of loopback, every byte held back for a while in each
// direction. There is no limit of rate and no loss, and no end of it sees the other's window: what a long
// link's TCP would add to its delay is not in it. It takes CPU of the machine that is measured; cpu_seconds()
// says how much.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "base/clock.h"

namespace mainstay::bench {

/// A thread of its own. Thread-safe.
class DelayRelay {
 public:
  /// @param to  what connects to `port` is connected to this port.
  explicit DelayRelay(std::uint16_t to);
  ~DelayRelay();
  DelayRelay(const DelayRelay&) = delete;
  DelayRelay& operator=(const DelayRelay&) = delete;
  /// A round trip takes this much longer, half of it each way. From now on; bytes stay in order.
  void set_round_trip(Duration more) { each_way_ns_ = more.ns / 2; }
  [[nodiscard]] double cpu_seconds() const;

  std::uint16_t port = 0;

 private:
  void run();
  const std::uint16_t to_;
  int listening_ = -1, wake_up_ = -1;
  std::atomic<std::int64_t> each_way_ns_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace mainstay::bench
