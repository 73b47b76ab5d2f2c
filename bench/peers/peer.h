// One broker that is compared, Mainstay or another: its process, and clients for one queue in it. What load
// is put on them, and how it is measured, is the same for all: load.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "peers/stamp.h"

namespace mainstay::bench {

/// A connection that publishes. Belongs to one thread. Every call throws Trouble when the server refuses or
/// the connection ends.
class Publisher {
 public:
  virtual ~Publisher() = default;
  /// Takes a message to be sent, persistent, with confirm; it leaves with the next poll() at the latest.
  /// Messages are confirmed in the order of the calls, or counted if not. @return false when there is no
  /// credit: poll.
  virtual bool send(BytesView body) = 0;
  /// Sends what waits, waits up to `most` for a confirm. @return how many messages were confirmed.
  virtual std::uint64_t poll(Duration most) = 0;
};

/// A connection that receives and acknowledges each message. Belongs to one thread.
class Consumer {
 public:
  virtual ~Consumer() = default;
  /// Waits up to `most` for messages; appends the stamps of those that arrived.
  virtual void poll(Duration most, std::vector<std::uint64_t>& stamps) = 0;
  /// Acknowledges (completes) all that poll() gave and were not yet acknowledged. Sent at once or with the
  /// next poll().
  virtual void acknowledge() = 0;
  /// Acknowledgements known to be done: answered by the server where its protocol answers, else written.
  [[nodiscard]] virtual std::uint64_t acknowledged() const = 0;
};

enum class Eagerness : std::uint8_t {
  batches,  ///< throughput: writes may wait for more
  at_once,  ///< latency
};

/// Where a server runs.
struct Place {
  std::string directory;  ///< its own, empty, on the disk that is measured
  /// `NAME=value` for its environment: the preloaded shim and its page.
  std::vector<std::string> environment;
};

class Peer {
 public:
  virtual ~Peer() = default;
  [[nodiscard]] virtual std::string name() const = 0;     ///< "rabbitmq": in ids of figures and --only
  [[nodiscard]] virtual std::string title() const = 0;    ///< "RabbitMQ quorum"
  [[nodiscard]] virtual std::string version() const = 0;  ///< of the server
  /// What qualifies its figures: client, tuning, semantics that differ.
  [[nodiscard]] virtual std::string note() const = 0;
  /// Connections at once that are tried: the better count is used, as is the better window.
  [[nodiscard]] virtual std::vector<std::size_t> connection_counts() const { return {1, 4}; }
  /// Messages in flight, of all connections together, that are tried.
  [[nodiscard]] virtual std::vector<std::uint64_t> windows() const { return {1000, 4000}; }

  /// How many times as long as others it is warmed up.
  [[nodiscard]] virtual int warm_up_times() const { return 1; }

  /// Starts the server and makes an empty queue. Call from the thread that lives longest.
  virtual void start(const Place& place) = 0;
  /// Ends the processes that start() made, at once.
  virtual void stop() = 0;
  /// An empty queue for what follows; nothing is connected meanwhile.
  virtual void empty_queue() = 0;
  [[nodiscard]] virtual std::unique_ptr<Publisher> publisher(Eagerness eagerness) = 0;
  [[nodiscard]] virtual std::unique_ptr<Consumer> consumer() = 0;

  /// The port clients connect to.
  [[nodiscard]] virtual std::uint16_t port() const = 0;
  /// The server's processes, oldest first.
  [[nodiscard]] virtual std::vector<int> processes() const = 0;
};

[[nodiscard]] std::unique_ptr<Peer> make_mainstay(const std::string& program);
/// Two nodes that keep one log; a confirm waits for both while both are there, and they are.
[[nodiscard]] std::unique_ptr<Peer> make_mainstay_pair(const std::string& program);
/// @param nodes  on this machine, with a copy of every message each.
[[nodiscard]] std::unique_ptr<Peer> make_rabbitmq(std::size_t nodes = 1);
[[nodiscard]] std::unique_ptr<Peer> make_nats(std::size_t nodes = 1);
[[nodiscard]] std::unique_ptr<Peer> make_redis();
[[nodiscard]] std::unique_ptr<Peer> make_activemq();

}  // namespace mainstay::bench
