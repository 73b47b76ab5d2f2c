// `mainstay serve` in a process of its own, with default durability: started, watched, stopped, killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "harness.h"

namespace mainstay::bench {

class Broker {
 public:
  struct Setup {
    std::string name = "broker";  ///< its directory within the run's
    /// Further TOML: queues other than "bench", tables with other limits.
    std::string more_config;
    bool declare_bench_queue = true;
  };
  /// Starts it and waits until it is ready. Throws CouldNotRun with the end of its log.
  Broker(const Common& common, const Setup& setup);
  /// Ends it and removes its directory.
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// Starts it again on what the last life left. @return seconds until /readyz said 200.
  double start();
  void stop();  ///< orderly; returns once it is gone
  void kill();  ///< SIGKILL

  struct Sample {
    std::uint64_t syncs{}, records{};
    std::uint64_t active{};      ///< messages in queue "bench"
    double cpu_seconds{};        ///< user and system
    std::uint64_t read_bytes{};  ///< that it asked the kernel for, from files
    std::uint64_t rss_bytes{};   ///< resident now
    std::uint64_t rss_peak_bytes{};
  };
  /// What /status and /proc tell.
  [[nodiscard]] Sample sample() const;
  /// Only /proc: costs the broker nothing.
  [[nodiscard]] std::uint64_t rss_bytes() const;
  [[nodiscard]] double cpu_seconds() const;
  struct Space {
    std::uint64_t segments_bytes{}, checkpoints_bytes{}, other_bytes{};
    std::uint64_t segments{};
  };
  /// What its directory takes, as allocated on disk.
  [[nodiscard]] Space space() const;
  /// Throws CouldNotRun when it ended by itself.
  void check_alive() const;

  std::uint16_t amqp_port = 0, control_port = 0;

 private:
  [[nodiscard]] std::string log_tail() const;
  [[nodiscard]] bool ready() const;
  std::string program_, directory_;
  mutable pid_t pid_ = 0;
};

/// Messages in queue "bench" once the number no longer changes; throws when it is not `expected`.
void expect_active(const Broker& broker, std::uint64_t expected);

}  // namespace mainstay::bench
