// Replication packets over TCP: each with its length (u32, little-endian) in front.
#pragma once

#include <deque>
#include <string>
#include <unordered_map>

#include "base/bytes.h"
#include "io/stream_hub.h"

namespace mainstay::node {

/// What a packet stream tells. On the loop's thread.
class PacketEvents {
 public:
  virtual ~PacketEvents() = default;
  virtual void on_peer_open(io::StreamId peer, const std::string& remote, bool outgoing) = 0;
  virtual void on_packet(io::StreamId peer, BytesView packet) = 0;
  /// Something came, be it a part of a packet only.
  virtual void on_peer_bytes(io::StreamId /*peer*/) {}
  virtual void on_peer_end(io::StreamId peer) = 0;
};

class PacketStreams final : public io::StreamEvents {
 public:
  /// @param packet_bytes_max  a peer that announces more is cut off.
  PacketStreams(PacketEvents& events, std::size_t packet_bytes_max)
      : events_(events), packet_bytes_max_(packet_bytes_max) {}

  /// Queues a packet; flush the hub's stream afterwards. One that is large and given away is not copied.
  void send(io::StreamId peer, BytesView packet);
  void send(io::StreamId peer, Buffer&& packet);
  void end_after_output(io::StreamId peer);

  io::StreamId on_open(const std::string& remote, bool outgoing) override;
  void on_bytes(io::StreamId stream, BytesView bytes) override;
  /// Not empty while anything is queued; not all of it at once.
  BytesView pending(io::StreamId stream) override;
  void on_written(io::StreamId stream, std::size_t bytes) override;
  bool wants_close(io::StreamId stream) override;
  void on_end(io::StreamId stream) override;

 private:
  struct Peer {
    Buffer in;  ///< a packet, or its length, that has come in part
    std::deque<Buffer> out;
    std::size_t out_done = 0;  ///< of the first one
    bool closing = false;
  };
  /// Where small packets stand together, at its end.
  static Buffer& tail(Peer& peer);
  PacketEvents& events_;
  std::size_t packet_bytes_max_;
  io::StreamId next_ = 1;
  std::unordered_map<io::StreamId, Peer> peers_;
};

}  // namespace mainstay::node
