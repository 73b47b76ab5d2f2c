// The work that every system does, and its measurement: the same code for all.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "peers/peer.h"

namespace mainstay::bench {

inline constexpr std::size_t kMessageBytes = 1024;

/// How the clients press: all connections together have `window` messages in flight.
struct Shape {
  std::size_t connections = 1;
  std::uint64_t window = 1000;
};

struct Throughput {
  double per_second{};  ///< from the first message to the last confirm (acknowledgement)
  std::uint64_t messages{};
};
/// Publishes for `time`, saturated, and waits for the last confirm. The messages stay in the queue.
[[nodiscard]] Throughput publish_for(Peer& peer, Shape shape, Duration time);
/// Publishes exactly `count`.
void publish_count(Peer& peer, Shape shape, std::uint64_t count);
/// Publishes for `time` while as many consumers receive and acknowledge; ends with the last acknowledgement.
[[nodiscard]] Throughput publish_and_consume_for(Peer& peer, Shape shape, Duration time);
/// Receives and acknowledges `count` messages.
void consume_count(Peer& peer, std::uint64_t count);

struct Latency {
  double p50_us{}, p99_us{};
};
/// One message in flight, `count` times: publish → confirm. Stamps are `first_stamp` and the numbers behind.
[[nodiscard]] Latency one_in_flight(Peer& peer, std::uint64_t count, std::uint64_t first_stamp = 0);
/// At `per_second`, for `time`: publish → in the consumer's hands; acknowledged as they come.
[[nodiscard]] Latency end_to_end(Peer& peer, double per_second, Duration time);

}  // namespace mainstay::bench
