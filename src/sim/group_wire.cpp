#include "sim/group_wire.h"

#include <algorithm>
#include <utility>

#include "group/packets.h"

namespace mainstay::sim {
namespace {

constexpr std::size_t kVersionAt = 16;  // replication/framing.h
constexpr Duration kLearnsWithin = milliseconds(30);

}  // namespace

GroupWire::GroupWire(GroupWorld& world, const std::vector<GroupMachine*>& nodes) : world_(world) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i]->send = [this, node = nodes[i]](PeerId to, Buffer packet) { send(node, to, std::move(packet)); };
    nodes[i]->close = [this, node = nodes[i]](PeerId peer) { close(node, peer); };
    for (std::size_t j = i + 1; j < nodes.size(); ++j) {
      lines_.push_back(std::make_unique<Line>());
      lines_.back()->nodes[0] = nodes[i];
      lines_.back()->nodes[1] = nodes[j];
    }
  }
  for (auto& line : lines_) try_connect(*line);
}

void GroupWire::try_connect(Line& line) {
  const bool parted = world_.queue.now() < line.parted_until;
  if (line.current != 0) {
    const Connection& now = line.connections.at(line.current);
    if (parted || !stands(line, now, 0) || !stands(line, now, 1)) drop(line);
  }
  std::erase_if(line.connections,
                [](const auto& each) { return !each.second.ends[0].open && !each.second.ends[1].open; });
  if (!parted && line.current == 0 && line.nodes[0]->up() && line.nodes[1]->up()) {
    line.current = ++world_.next_id;
    Connection& fresh = line.connections[line.current];
    for (std::size_t side = 0; side < 2; ++side)
      fresh.ends[side] = {line.nodes[side]->life(), true, Duration{}};
    const PeerId made = line.current;
    line.nodes[0]->connected(made, line.nodes[1]->name());
    if (line.current == made) line.nodes[1]->connected(made, "");
  }
  world_.queue.after(milliseconds(50), [this, &line] { try_connect(line); });
}

/// Each end that still stands learns it some time.
void GroupWire::drop(Line& line) {
  const PeerId gone = std::exchange(line.current, 0);
  if (gone == 0) return;
  for (std::size_t side = 0; side < 2; ++side) end_at(line, gone, side, kLearnsWithin);
}

void GroupWire::end_at(Line& line, PeerId connection, std::size_t side, Duration within) {
  const auto found = line.connections.find(connection);
  if (found == line.connections.end()) return;
  End& end = found->second.ends[side];
  if (!end.open) return;
  const bool stood = stands(line, found->second, side);
  end.open = false;
  if (!stood) return;
  world_.queue.after(world_.between(Duration{}, within),
                     [node = line.nodes[side], life = end.life, connection] {
                       if (node->up() && node->life() == life) node->disconnected(connection);
                     });
}

void GroupWire::send(GroupMachine* from, PeerId to, Buffer packet) {
  for (auto& line : lines_) {
    const auto found = line->connections.find(to);
    if (found == line->connections.end()) continue;
    const std::size_t side = line->nodes[0] == from ? 0 : 1;
    Connection& connection = found->second;
    if (line->nodes[side] != from || !connection.ends[side].open || !connection.ends[1 - side].open) return;
    if (load_le<std::uint16_t>(packet.data() + kVersionAt) != group::kPacketVersion)
      world_.reached("an older version of packets was spoken");
    End& here = connection.ends[side];
    Duration at = world_.queue.now() + world_.between(Duration{line->latency.ns / 2}, line->latency);
    at = std::max({at, here.last_arrival, line->cut_until[side]});
    here.last_arrival = at;
    world_.queue.after(at - world_.queue.now(),
                       [this, line = line.get(), side, to, packet = std::move(packet)]() mutable {
                         arrive(*line, 1 - side, to, std::move(packet), false);
                       });
    return;
  }
}

void GroupWire::arrive(Line& line, std::size_t side, PeerId connection, Buffer packet, bool delayed) {
  const auto found = line.connections.find(connection);
  if (found == line.connections.end() || !stands(line, found->second, side)) return;
  if (found->second.replaced) {
    if (!delayed) {
      world_.queue.after(found->second.late,
                         [this, &line, side, connection, packet = std::move(packet)]() mutable {
                           arrive(line, side, connection, std::move(packet), true);
                         });
      return;
    }
    world_.reached("a packet of an old connection came late");
  }
  line.nodes[side]->packet(connection, std::move(packet));
}

void GroupWire::close(GroupMachine* from, PeerId peer) {
  for (auto& line : lines_) {
    const auto found = line->connections.find(peer);
    if (found == line->connections.end()) continue;
    const std::size_t side = line->nodes[0] == from ? 0 : 1;
    if (line->current == peer) line->current = 0;
    found->second.ends[side].open = false;
    end_at(*line, peer, 1 - side, kLearnsWithin);
    return;
  }
}

void GroupWire::cut(std::size_t line, std::size_t way, Duration time) {
  lines_[line]->cut_until[way] = world_.queue.now() + time;
}
void GroupWire::break_connection(std::size_t line) {
  drop(*lines_[line]);
}
void GroupWire::replace_connection(std::size_t line, std::size_t by, Duration late, Duration time) {
  Line& hit = *lines_[line];
  const PeerId old = std::exchange(hit.current, 0);
  if (old == 0) return;
  Connection& connection = hit.connections.at(old);
  connection.replaced = true;
  connection.late = late;
  end_at(hit, old, by, kLearnsWithin);
  world_.queue.after(time, [this, &hit, old, by] { end_at(hit, old, 1 - by, kLearnsWithin); });
}
void GroupWire::part(std::size_t line, Duration time) {
  lines_[line]->parted_until = world_.queue.now() + time;
  drop(*lines_[line]);
}
void GroupWire::heal() {
  for (auto& line : lines_) {
    line->parted_until = {};
    line->latency = milliseconds(1);
    for (Duration& until : line->cut_until) until = {};
  }
}

}  // namespace mainstay::sim
