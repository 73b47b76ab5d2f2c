#include "node/packet_streams.h"

#include <algorithm>
#include <utility>

namespace mainstay::node {
namespace {

constexpr std::size_t kLengthBytes = 4;
constexpr std::size_t kTogetherBytes = 16U << 10;  // a packet that is as large is written by itself

}  // namespace

Buffer& PacketStreams::tail(Peer& peer) {
  if (peer.out.empty() || peer.out.back().size() >= kTogetherBytes) peer.out.emplace_back();
  return peer.out.back();
}

void PacketStreams::send(io::StreamId id, BytesView packet) {
  const auto peer = peers_.find(id);
  if (peer == peers_.end()) return;
  ByteWriter out(tail(peer->second));
  out.sized_bytes(packet);
}

void PacketStreams::send(io::StreamId id, Buffer&& packet) {
  if (packet.size() < kTogetherBytes) return send(id, BytesView(packet));
  const auto peer = peers_.find(id);
  if (peer == peers_.end()) return;
  ByteWriter(tail(peer->second)).u32_le(static_cast<std::uint32_t>(packet.size()));
  peer->second.out.push_back(std::move(packet));
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
  // Whole packets are told where they stand; only what comes in part is kept, in memory of its size.
  while (!peer.closing && !bytes.empty()) {
    const bool begun = !peer.in.empty();
    if (begun && peer.in.size() < kLengthBytes) {
      const std::size_t more = std::min(kLengthBytes - peer.in.size(), bytes.size());
      peer.in.insert(peer.in.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(more));
      bytes = bytes.subspan(more);
    }
    const BytesView head = begun ? BytesView(peer.in) : bytes;
    if (head.size() < kLengthBytes) {
      if (!begun) peer.in.assign(bytes.begin(), bytes.end());
      return;
    }
    const auto length = load_le<std::uint32_t>(head.data());
    if (length > packet_bytes_max_) {
      peer.closing = true;  // not our protocol, or damaged: the hub closes it, the other side reconnects
      return;
    }
    const std::size_t whole = kLengthBytes + length;
    if (!begun && bytes.size() >= whole) {
      events_.on_packet(id, bytes.subspan(kLengthBytes, length));
      bytes = bytes.subspan(whole);
      continue;
    }
    peer.in.reserve(whole);
    const std::size_t more = std::min(whole - peer.in.size(), bytes.size());
    peer.in.insert(peer.in.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(more));
    bytes = bytes.subspan(more);
    if (peer.in.size() < whole) return;
    events_.on_packet(id, BytesView(peer.in).subspan(kLengthBytes));
    peer.in.clear();
  }
}

BytesView PacketStreams::pending(io::StreamId id) {
  const Peer& peer = peers_.at(id);
  return peer.out.empty() ? BytesView() : BytesView(peer.out.front()).subspan(peer.out_done);
}

void PacketStreams::on_written(io::StreamId id, std::size_t bytes) {
  Peer& peer = peers_.at(id);
  if (bytes == 0) return;
  peer.out_done += bytes;
  if (peer.out_done < peer.out.front().size()) return;
  peer.out_done = 0;
  if (peer.out.size() == 1 && peer.out.front().capacity() <= 2 * kTogetherBytes) {
    peer.out.front().clear();  // its memory serves the next small packets
  } else {
    peer.out.pop_front();
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
