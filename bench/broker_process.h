// `mainstay serve` in a process of its own, with default durability, alone or as a node of a group: started,
// watched, stopped, killed.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "harness.h"

namespace mainstay::bench {

/// On loopback, which nobody listens on at this moment.
std::uint16_t free_port();

class Broker {
 public:
  struct Setup {
    std::string name = "broker";  ///< its directory within the run's
    /// Further TOML: queues other than "bench", tables with other limits.
    std::string more_config;
    bool declare_bench_queue = true;
    /// [node], [register] and [group] of a node of a group, instead of those of a broker alone. It is not
    /// waited for: which of them serves is theirs to decide.
    std::string in_group = {};
    std::string log_level = "warn";
  };
  /// Starts it and waits until it is ready. Throws CouldNotRun with the end of its log.
  Broker(const Common& common, const Setup& setup);
  /// Ends it and removes its directory.
  ~Broker();
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  /// Starts it again on what the last life left. @return seconds until /readyz said 200.
  double start();
  /// Starts it and does not wait.
  void spawn();
  [[nodiscard]] bool ready() const;  ///< /readyz says 200
  [[nodiscard]] bool running() const { return pid_ != 0; }
  /// Setup::in_group for the next start.
  void configure(const std::string& in_group);
  /// Of a node that leads: how many of its group count, itself included. 0: it does not lead.
  [[nodiscard]] std::size_t in_sync() const;
  /// Of a backup: how long it waits for a silent leader, as grown with the round trips it measured. 0: it is
  /// none, or does not answer.
  [[nodiscard]] double suspect_after_s() const;
  /// Messages in a queue. Throws CouldNotRun when there is none of this name.
  [[nodiscard]] std::uint64_t active(const std::string& queue) const;
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
  [[nodiscard]] std::string log_tail(std::size_t bytes = 1000) const;
  /// Of its metrics: how long its loop was busy at a time, and a commit took, at most since its start.
  [[nodiscard]] std::string longest_waits() const;

  std::uint16_t amqp_port = 0, control_port = 0;

 private:
  void write_config() const;
  std::string program_, directory_;
  Setup setup_;
  mutable pid_t pid_ = 0;
};

/// Messages in queue "bench" once the number no longer changes; throws when it is not `expected`.
void expect_active(const Broker& broker, std::uint64_t expected);

}  // namespace mainstay::bench
