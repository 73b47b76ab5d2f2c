#include "sim/region_wire.h"

#include "replication/packets.h"

namespace mainstay::sim {
namespace {

constexpr std::size_t kVersionAt = 16;  // replication/framing.h

}  // namespace

RegionWire::RegionWire(World& world, SimNode& east, SimNode& west) : world_(world), ends_{{&east}, {&west}} {
  for (std::size_t side = 0; side < 2; ++side) ends_[side].node->wire = &sides_[side];
  try_connect();
}

void RegionWire::close(std::size_t way, replica::PeerId peer) {
  if (peer != connection_) return;
  ends_[way].open = false;
  // What was sent before the close still arrives, then the end of the stream.
  world_.queue.after(latency_ + milliseconds(100), [this, way, peer] {
    if (peer == connection_) end_at(1 - way);
  });
}

void RegionWire::try_connect() {
  world_.queue.after(world_.between(milliseconds(50), milliseconds(300)), [this] { try_connect(); });
  for (std::size_t side = 0; side < 2; ++side) {
    // An end whose other end is gone finds out in the end.
    if (ends_[side].open && !stands(side)) ends_[side].open = false;
  }
  if (stands(0) != stands(1)) {
    if (world_.random.chance(1, 3)) end_at(stands(0) ? 0 : 1);
    return;
  }
  if (stands(0) || !ends_[0].node->up() || !ends_[1].node->up() || world_.queue.now() < parted_until_) return;
  connection_ = ++world_.next_id;
  for (End& end : ends_) {
    end.open = true;
    end.life = end.node->life();
    end.last_arrival = world_.queue.now();
  }
  const replica::PeerId made = connection_;
  ends_[0].node->connected(made, false);
  if (stands(1) && connection_ == made) ends_[1].node->connected(made, true);
}

void RegionWire::send(std::size_t way, replica::PeerId connection, Buffer packet) {
  if (connection != connection_ || !ends_[way].open) return;
  if (ends_[way].node->next_release != ends_[1 - way].node->next_release)
    store_le(packet.data() + kVersionAt, static_cast<std::uint16_t>(replication::kPacketVersion + 1));
  End& from = ends_[way];
  Duration arrival =
      std::max(world_.queue.now(), from.cut_until) + latency_ + world_.between(Duration{}, milliseconds(5));
  if (arrival <= from.last_arrival) arrival = from.last_arrival + microseconds(1);
  from.last_arrival = arrival;
  world_.queue.after(arrival - world_.queue.now(), [this, way, connection, packet = std::move(packet)] {
    if (connection == connection_ && stands(1 - way)) ends_[1 - way].node->packet(connection, packet);
  });
}

void RegionWire::end_at(std::size_t side) {
  if (!stands(side)) return;
  ends_[side].open = false;
  ends_[side].node->disconnected(connection_);
}

void RegionWire::cut(std::size_t way, Duration time) {
  ends_[way].cut_until = world_.queue.now() + time;
}

void RegionWire::break_connection() {
  const replica::PeerId broken = connection_;
  for (std::size_t side = 0; side < 2; ++side) {
    world_.queue.after(world_.between(Duration{}, milliseconds(300)), [this, side, broken] {
      if (broken == connection_) end_at(side);
    });
  }
}

void RegionWire::part(Duration time) {
  parted_until_ = world_.queue.now() + time;
  break_connection();
}

void RegionWire::heal() {
  parted_until_ = {};
  latency_ = milliseconds(5);
  for (End& end : ends_) end.cut_until = {};
}

}  // namespace mainstay::sim
