// The least an AMQP server can do: our engine on one loopback socket, every transfer accepted at once, in a
// thread of its own. What a turn over it takes is the floor of publish → confirm without disk and broker.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace mainstay::bench {

class EchoServer {
 public:
  EchoServer();
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;
  std::uint16_t port = 0;

 private:
  void serve();
  int listening_ = -1;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace mainstay::bench
