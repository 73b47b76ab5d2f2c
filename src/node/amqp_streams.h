// AMQP connections over TCP: the hub's events to the frontend.
#pragma once

#include <unordered_map>

#include "io/stream_hub.h"
#include "node/node.h"

namespace mainstay::node {

class AmqpStreams final : public io::StreamEvents {
 public:
  explicit AmqpStreams(Node& node) : node_(node) {}

  io::StreamId on_open(const std::string& remote, bool outgoing) override;
  void on_bytes(io::StreamId stream, BytesView bytes) override;
  BytesView pending(io::StreamId stream) override;
  void on_written(io::StreamId stream, std::size_t bytes) override;
  bool wants_close(io::StreamId stream) override;
  void on_end(io::StreamId stream) override;

 private:
  Node& node_;
};

}  // namespace mainstay::node
