// Watches a drill while it runs: ten times a second what entered, what arrived, and what the live broker says
// of its lag. Own threads; the drill's own steps never wait for it.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "drills/destination_observer.h"
#include "drills/feed.h"
#include "drills/report.h"

namespace mainstay::drills {

/// What a node tells on its control listener, as far as a drill cares.
struct NodeView {
  bool answered = false;
  bool ready = false;
  std::string role, region;
  std::uint64_t term{}, durable_lsn{}, committed_lsn{}, applied_lsn{};
  std::string log_hash;    ///< of everything up to durable_lsn
  std::string state_hash;  ///< at applied_lsn
  std::uint64_t queue_active{}, queue_locked{};
  bool connected = false;
  std::uint64_t lag_records{};
  double lag_s{};
};
/// Asks GET /status. A node that does not answer, or answers nonsense, gives `answered` false.
[[nodiscard]] NodeView view_node(const std::string& endpoint, const std::string& token);

/// Feeds at a steady pace on a thread of its own.
class PacedFeed {
 public:
  /// Feeds everything, unless end_after() says otherwise.
  /// @param rate_per_s  messages per second, at least 1. `feed` and `clock` outlive this.
  PacedFeed(Feed& feed, double rate_per_s, Clock& clock);
  ~PacedFeed();
  PacedFeed(const PacedFeed&) = delete;
  PacedFeed& operator=(const PacedFeed&) = delete;
  [[nodiscard]] std::uint64_t entered() const { return entered_.load(std::memory_order_acquire); }
  /// Ends the feed once at least so many messages have entered: for a feed that is longer than needed.
  void end_after(std::uint64_t messages) { end_after_.store(messages, std::memory_order_release); }
  /// How many messages there will be, as far as known.
  [[nodiscard]] std::uint64_t total() const { return end_after_.load(std::memory_order_acquire); }
  /// Everything has entered, or it failed; the feed may be looked at now.
  [[nodiscard]] bool ended() const { return ended_.load(std::memory_order_acquire); }
  /// Why it failed; empty when it did not. After ended().
  [[nodiscard]] const std::string& failure() const { return failure_; }

 private:
  void run(double rate_per_s);
  Feed& feed_;
  Clock& clock_;
  std::atomic<bool> stop_{false}, ended_{false};
  std::atomic<std::uint64_t> entered_{0};
  std::atomic<std::uint64_t> end_after_;
  std::string failure_;
  std::thread thread_;
};

class DrillMonitor {
 public:
  /// @param endpoints  control listeners of all nodes; the ready one's lag counts.
  DrillMonitor(const PacedFeed& feed, const DestinationObserver& observer, std::vector<std::string> endpoints,
               std::string token, Clock& clock, Instant start);
  ~DrillMonitor();
  DrillMonitor(const DrillMonitor&) = delete;
  DrillMonitor& operator=(const DrillMonitor&) = delete;

  [[nodiscard]] Sample last() const;
  /// The last sample up to `at` in which the lag was known.
  [[nodiscard]] std::optional<Sample> last_lag_before(double at_s) const;
  /// Ends the thread. @return all samples.
  std::vector<Sample> stop();

 private:
  void run();
  const PacedFeed& feed_;
  const DestinationObserver& observer_;
  const std::vector<std::string> endpoints_;
  const std::string token_;
  Clock& clock_;
  const Instant start_;
  std::atomic<bool> stop_{false};
  mutable std::mutex mutex_;  // guards samples_
  std::vector<Sample> samples_;
  std::thread thread_;
};

}  // namespace mainstay::drills
