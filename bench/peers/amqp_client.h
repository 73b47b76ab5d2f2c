// A client of AMQP 1.0 made for load: frames of many messages per write, outcomes read in place. What the
// native clients of the other systems do here, so that the client takes no more of the shared cores than
// theirs do. One session and one link, ANONYMOUS, loopback. It keeps what the standard asks of a client: link
// credit, the session's windows, and it believes a message done only when its own delivery got an outcome.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "peers/peer.h"

namespace mainstay::bench {

/// Every call, of the two below as well, throws Trouble when the server ends connection, session or link, or
/// does what it may not.
[[nodiscard]] std::unique_ptr<Publisher> amqp_publisher(std::uint16_t port, const std::string& queue);
/// Peek-lock; completes with one disposition for all that came together, and counts those of which the server
/// said that they are settled.
[[nodiscard]] std::unique_ptr<Consumer> amqp_consumer(std::uint16_t port, const std::string& queue);

}  // namespace mainstay::bench
