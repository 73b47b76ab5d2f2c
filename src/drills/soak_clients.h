// The clients of a soak: producers and consumers of every manner, each a thread with a connection and a
// journal of facts of its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "client/connection.h"
#include "drills/soak_history.h"

namespace mainstay::drills {

/// How long queues remember an id. Several of these pass in a long soak, so that memory for ids is given
/// back; it is longer than any broker may be away, and ids are sent again well within it.
inline constexpr std::int64_t duplicate_window_s = 180;

/// A queue of a soak: how it is declared and what load it gets.
struct SoakQueue {
  std::string name;
  bool requires_session = false, duplicate_detection = false;
  std::int64_t lock_s = 5;
  std::uint32_t deliveries_max = 6;
  std::int64_t default_ttl_s = 0;
  bool dead_letter_on_expiry = false;
  /// What producers send.
  double share = 0;        ///< of the rate
  unsigned producers = 1;  ///< sessions are divided among them
  unsigned sessions = 0;
  unsigned ttl_percent = 0;  ///< of messages that bring a short time to live
  std::uint64_t bytes_max = 1U << 20;
  /// Who receives.
  unsigned consumers = 1;
  /// Of deliveries, put aside and received by their numbers later.
  unsigned defer_percent = 0;
  bool in_waves = false;  ///< consumers rest most of the time, so that a backlog grows, and then take all
};

/// Sequence numbers of messages that consumers put aside, by queue. Any thread.
class DeferredNumbers {
 public:
  void put(const std::string& queue, std::uint64_t sequence);
  /// At most so many, the oldest first; they are the caller's to put back.
  [[nodiscard]] std::vector<std::uint64_t> take(const std::string& queue, std::size_t most);

 private:
  std::mutex mutex_;
  std::map<std::string, std::deque<std::uint64_t>> numbers_;
};

/// What all clients of one soak share. Outlives them.
struct SoakShared {
  std::string host = "127.0.0.1";
  std::uint16_t port{};
  std::string user, password, directory;
  std::uint64_t seed{};
  double rate_per_s{};
  Duration wave = seconds(60);       ///< one rest and one burst of a queue in waves
  std::atomic<bool> hurry{false};    ///< producers send as fast as they can
  std::atomic<bool> stop{false};     ///< no new messages; consumers end
  std::atomic<bool> drained{false};  ///< ends draining consumers
  std::atomic<bool> give_up{false};  ///< the broker is gone for good
  DeferredNumbers deferred_numbers;
  std::atomic<std::uint32_t> next_link{1};
  std::atomic<std::uint64_t> sent{0}, confirmed{0}, received{0}, completed{0}, deferred{0}, by_number{0};
  std::atomic<std::uint64_t> vanished{0}, silent{0}, slow{0}, lost_connections{0}, uncertain{0},
      duplicates{0};
};

/// A thread that runs one client until it is told to end.
class SoakClient {
 public:
  explicit SoakClient(std::function<void()> work);
  ~SoakClient();
  SoakClient(SoakClient&&) = default;
  void join();
  [[nodiscard]] bool ended() const { return ended_->load(std::memory_order_acquire); }

 private:
  std::shared_ptr<std::atomic<bool>> ended_;
  std::thread thread_;
};

/// Sends until `shared.stop`, then until every outcome is known.
[[nodiscard]] SoakClient start_producer(SoakShared& shared, const SoakQueue& queue, unsigned number);
/// Receives from the queue in ever changing manners until `shared.stop`.
[[nodiscard]] SoakClient start_consumer(SoakShared& shared, const SoakQueue& queue, bool dead_letter,
                                        unsigned number);
/// Receives and completes everything until `shared.drained`.
[[nodiscard]] SoakClient start_drain(SoakShared& shared, const SoakQueue& queue, bool dead_letter,
                                     unsigned number);

}  // namespace mainstay::drills
