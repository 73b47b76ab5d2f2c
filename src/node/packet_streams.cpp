#include "node/packet_streams.h"

namespace mainstay::node {

void PacketStreams::send(io::StreamId id, BytesView packet) {
  const auto peer = peers_.find(id);
  if (peer == peers_.end()) return;
  ByteWriter out(peer->second.out);
  out.sized_bytes(packet);
}

void PacketStreams::end_after_output(io::StreamId id) {
  const auto peer = peers_.find(id);
  if (peer != peers_.end()) peer->second.closing = true;
}

io::StreamId PacketStreams::on_open(const std::string& remote, bool outgoing) {
  const io::StreamId id = next_++;
  peers_[id];
  events_.on_peer_open(id, remote, outgoing);
  return id;
}

void PacketStreams::on_bytes(io::StreamId id, BytesView bytes) {
  events_.on_peer_bytes(id);
  Peer& peer = peers_.at(id);
  peer.in.insert(peer.in.end(), bytes.begin(), bytes.end());
  std::size_t at = 0;
  while (!peer.closing && peer.in.size() - at >= 4) {
    const auto length = load_le<std::uint32_t>(peer.in.data() + at);
    if (length > packet_bytes_max_) {
      peer.closing = true;  // not our protocol, or damaged: the hub closes it, the other side reconnects
      break;
    }
    if (peer.in.size() - at - 4 < length) break;
    events_.on_packet(id, BytesView(peer.in).subspan(at + 4, length));
    at += 4 + length;
  }
  peer.in.erase(peer.in.begin(), peer.in.begin() + static_cast<std::ptrdiff_t>(at));
}

BytesView PacketStreams::pending(io::StreamId id) {
  const Peer& peer = peers_.at(id);
  return BytesView(peer.out).subspan(peer.out_done);
}

void PacketStreams::on_written(io::StreamId id, std::size_t bytes) {
  Peer& peer = peers_.at(id);
  peer.out_done += bytes;
  if (peer.out_done == peer.out.size()) {
    peer.out.clear();
    peer.out_done = 0;
  } else if (peer.out_done > peer.out.size() / 2) {  // what moves is less than what went: each byte once
    peer.out.erase(peer.out.begin(), peer.out.begin() + static_cast<std::ptrdiff_t>(peer.out_done));
    peer.out_done = 0;
  }
}

bool PacketStreams::wants_close(io::StreamId id) {
  return peers_.at(id).closing;
}

void PacketStreams::on_end(io::StreamId id) {
  peers_.erase(id);
  events_.on_peer_end(id);
}

}  // namespace mainstay::node
