// The lines to the other region's nodes over TCP: base's Wire made real.
#pragma once

#include "base/wire.h"
#include "io/stream_hub.h"
#include "node/packet_streams.h"

namespace mainstay::node {

class PeerWire final : public Wire {
 public:
  PeerWire(PacketStreams& streams, io::StreamHub& hub) : streams_(streams), hub_(hub) {}
  void send(PeerId to, BytesView packet) override {
    streams_.send(to, packet);
    hub_.flush(to);
  }
  /// The same, and the packet is given away.
  void send(PeerId to, Buffer&& packet) {
    streams_.send(to, std::move(packet));
    hub_.flush(to);
  }
  void close(PeerId peer) override {
    streams_.end_after_output(peer);
    hub_.flush(peer);
  }

 private:
  PacketStreams& streams_;
  io::StreamHub& hub_;
};

}  // namespace mainstay::node
