// The load: clients of one broker over loopback, on client/connection.h. Each belongs to one thread.
// What is refused, lost or late ends the benchmark (CouldNotRun): a figure counts only when every message was
// accepted.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "broker_process.h"
#include "client/connection.h"
#include "io/system_clock.h"

namespace mainstay::bench {

/// A message as an ordinary producer sends it: id, optional session, a body of this size.
Buffer load_message(std::size_t body_bytes, const std::string& session_id = {});

/// @param spin  ClientOptions::spin
std::unique_ptr<client::Connection> connect(std::uint16_t port, Duration spin = {});
/// Opens a sender and waits for its first credit.
client::Sender open_sender(client::Connection& connection, const std::string& address);

/// The producer runs at most `most` messages ahead of the consumer: the queue is never deeper.
struct NotAhead {
  const std::atomic<std::uint64_t>* completed;
  std::uint64_t most;
  const std::atomic<bool>* broken;  ///< the consumer gave up
};

class Publisher {
 public:
  explicit Publisher(const Broker& broker, const std::string& address = "bench");
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  /// Sends `count` messages with at most `window` unconfirmed and waits for every confirm.
  /// @param latencies_us  from handing over to confirm, appended; null: not wanted.
  /// @return seconds it took.
  double publish(std::uint64_t count, std::uint32_t window, BytesView message,
                 std::vector<float>* latencies_us = nullptr, Progress* progress = nullptr,
                 const NotAhead* not_ahead = nullptr);
  /// Sends at a steady rate until `stop`, each when its time has come whether others are confirmed or not;
  /// latency counts from the time it was due. @return how many.
  std::uint64_t publish_paced(double per_second, std::uint64_t count_max, const std::atomic<bool>& stop,
                              const std::function<BytesView()>& message, std::vector<float>& latencies_us);

 private:
  std::size_t collect(Duration wait, const std::function<void(std::uint64_t tag)>& confirmed);
  io::SystemClock clock_;
  std::unique_ptr<client::Connection> connection_;
  std::optional<client::Sender> sender_;
  std::vector<client::SendOutcome> outcomes_;
};

class Consumer {
 public:
  explicit Consumer(const Broker& broker, const std::string& address = "bench", std::uint32_t credit = 1000);
  ~Consumer();
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;

  /// Receives and completes until `count` completions are confirmed. @return seconds it took.
  /// @param seen  called for each message received; null: none. @param completed  counts along.
  double consume(std::uint64_t count, Progress* progress = nullptr,
                 const std::function<void(const client::Received&)>& seen = nullptr,
                 std::atomic<std::uint64_t>* completed = nullptr);

 private:
  std::uint32_t credit_;
  std::unique_ptr<client::Connection> connection_;
  std::optional<client::Receiver> receiver_;
};

/// One message in flight against whoever listens on `port`, the client watching its socket.
class Single {
 public:
  explicit Single(std::uint16_t port);
  ~Single();
  Single(const Single&) = delete;
  Single& operator=(const Single&) = delete;
  /// Sends one to "bench" and waits for its confirm.
  void turn(BytesView message, std::vector<float>& latencies_us);
  /// Looks at the socket once, as turn() does while it waits.
  void watch();

 private:
  std::unique_ptr<client::Connection> connection_;
  client::Sender sender_;
  std::vector<client::SendOutcome> outcomes_;
};
/// Of the last `count` of them; there are so many.
double median_of_last(const std::vector<float>& values, std::uint64_t count);

}  // namespace mainstay::bench
