// Private to the io room: where TCP sockets come from, with errors that say what to do.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "io/loop.h"

namespace mainstay::io {

/// Opens, binds and listens. @return the port bound.
[[nodiscard]] Result<std::uint16_t, Failure> open_listener(boost::asio::ip::tcp::acceptor& acceptor,
                                                           const std::string& host, std::uint16_t port);

/// Accepts and connects. On the loop's thread; after its end nothing is called any more.
class SocketSource {
 public:
  /// @param opened  takes each socket, without Nagle's delay, and who is at its other end.
  using Opened =
      std::function<void(boost::asio::ip::tcp::socket socket, const std::string& remote, bool outgoing)>;
  SocketSource(Loop& loop, Opened opened);
  ~SocketSource();
  SocketSource(const SocketSource&) = delete;
  SocketSource& operator=(const SocketSource&) = delete;

  /// As StreamHub's.
  [[nodiscard]] Result<std::uint16_t, Failure> listen(const std::string& host, std::uint16_t port);
  void connect(const std::string& host, std::uint16_t port,
               std::function<void(const std::string& why)> failed);
  void stop_listening();
  /// Nothing is called any more from now on.
  void stop();

 private:
  struct State;
  std::shared_ptr<State> state_;  // shared with handlers still queued in the loop
};

}  // namespace mainstay::io
