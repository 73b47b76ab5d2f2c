// A connection to one of several endpoints, made again whenever it is lost: EndpointChoice with sockets.
//
// One thread. Nothing runs unless poll() is called, and poll() never takes longer than told, whatever the
// endpoints do (but for the name service, when an endpoint's host is a name). Whoever opens links asks for
// connection() after each poll(): a new generation() means that links of the old one are closed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/random.h"
#include "client/connection.h"
#include "client/endpoint_choice.h"

namespace mainstay::client {

/// A sentence for the log about trouble and its end; a long outage tells about itself at 1, 2, 4, 8, … tries.
using Tell = std::function<void(const std::string&)>;

class ConnectionKeeper {
 public:
  /// @param client  its first_endpoint is where to begin.
  ConnectionKeeper(ClientOptions client, const ReconnectOptions& reconnect, Clock& clock, Random& random,
                   Tell tell);

  /// Connects, or drives the connection, for up to `wait`; returns early when something arrived or changed.
  void poll(Duration wait);
  /// The open connection, or null. Valid until the next poll(), lose() or leave().
  [[nodiscard]] Connection* connection() { return ready_ ? connection_.get() : nullptr; }
  [[nodiscard]] bool connected() const { return ready_; }
  /// Counts the connections that opened.
  [[nodiscard]] std::uint64_t generation() const { return generation_; }

  /// A link opened or a transfer was settled: this endpoint serves. Cheap.
  void served();
  /// A link was refused or ended: advice_of() says whether this endpoint or another one is next.
  void lose(const ClientError& why);
  /// Closes in an orderly way; the next poll() connects again.
  void leave(Duration most);

  /// Set for good when credentials (or, as told, an address) are refused again and again, or nothing served
  /// for so long: condition and description of the last error, and which endpoints were tried.
  [[nodiscard]] const std::optional<ClientError>& over() const { return over_; }
  /// Losses and failed tries so far.
  [[nodiscard]] std::uint64_t reconnects() const { return reconnects_; }
  /// "host:port" of the endpoint in use or tried last.
  [[nodiscard]] std::string endpoint() const;

 private:
  void failed(const ClientError& why);
  void check_over();

  const ClientOptions client_;
  Clock& clock_;
  Tell tell_;
  EndpointChoice choice_;
  std::unique_ptr<Connection> connection_;
  bool ready_ = false;
  bool told_trouble_ = false;
  std::uint64_t generation_ = 0, reconnects_ = 0;
  std::optional<ClientError> over_;
  ClientError last_error_;
};

/// Waits without using the processor. For loops that have nothing else to wait for.
void pause(Duration wait);

}  // namespace mainstay::client
