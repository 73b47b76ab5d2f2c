#include "sim/group_wire.h"

#include <algorithm>
#include <utility>

namespace mainstay::sim {

GroupWire::GroupWire(GroupWorld& world, const std::vector<GroupMachine*>& nodes) : world_(world) {
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    nodes[i]->send = [this, node = nodes[i]](PeerId to, Buffer packet) { send(node, to, std::move(packet)); };
    nodes[i]->close = [this, node = nodes[i]](PeerId peer) { close(node, peer); };
    for (std::size_t j = i + 1; j < nodes.size(); ++j) {
      lines_.push_back(std::make_unique<Line>());
      lines_.back()->ends[0].node = nodes[i];
      lines_.back()->ends[1].node = nodes[j];
    }
  }
  for (auto& line : lines_) try_connect(*line);
}

void GroupWire::try_connect(Line& line) {
  const bool parted = world_.queue.now() < line.parted_until;
  const bool broken =
      (line.ends[0].open || line.ends[1].open) && (!stands(line.ends[0]) || !stands(line.ends[1]));
  if (broken || (parted && line.ends[0].open)) drop(line);
  if (!parted && !line.ends[0].open && !line.ends[1].open && line.ends[0].node->up() &&
      line.ends[1].node->up()) {
    line.connection = ++world_.next_id;
    for (End& end : line.ends) {
      end.open = true;
      end.life = end.node->life();
      end.last_arrival = {};
    }
    line.ends[0].node->connected(line.connection, line.ends[1].node->name());
    if (stands(line.ends[1])) line.ends[1].node->connected(line.connection, "");
  }
  world_.queue.after(milliseconds(50), [this, &line] { try_connect(line); });
}

/// Each end that still stands learns it some time.
void GroupWire::drop(Line& line) {
  for (std::size_t side = 0; side < 2; ++side) end_at(line, side);
}

void GroupWire::end_at(Line& line, std::size_t side) {
  End& end = line.ends[side];
  if (!end.open) return;
  const bool stood = stands(end);
  end.open = false;
  if (!stood) return;
  world_.queue.after(world_.between(Duration{}, milliseconds(30)),
                     [&end, life = end.life, connection = line.connection] {
                       if (end.node->up() && end.node->life() == life) end.node->disconnected(connection);
                     });
}

void GroupWire::send(GroupMachine* from, PeerId to, Buffer packet) {
  for (auto& line : lines_) {
    if (line->connection != to) continue;
    const std::size_t side = line->ends[0].node == from ? 0 : 1;
    End& here = line->ends[side];
    End& there = line->ends[1 - side];
    if (here.node != from || !here.open || !there.open) return;
    Duration at = world_.queue.now() + world_.between(Duration{line->latency.ns / 2}, line->latency);
    at = std::max({at, here.last_arrival, here.cut_until});
    here.last_arrival = at;
    world_.queue.after(at - world_.queue.now(), [&there, life = there.life, to, line = line.get(),
                                                 packet = std::move(packet)]() mutable {
      if (line->connection == to && there.open && there.node->up() && there.node->life() == life)
        there.node->packet(to, std::move(packet));
    });
    return;
  }
}

void GroupWire::close(GroupMachine* from, PeerId peer) {
  for (auto& line : lines_) {
    if (line->connection != peer) continue;
    const std::size_t side = line->ends[0].node == from ? 0 : 1;
    line->ends[side].open = false;
    end_at(*line, 1 - side);
  }
}

void GroupWire::cut(std::size_t line, std::size_t way, Duration time) {
  lines_[line]->ends[way].cut_until = world_.queue.now() + time;
}
void GroupWire::break_connection(std::size_t line) {
  drop(*lines_[line]);
}
void GroupWire::part(std::size_t line, Duration time) {
  lines_[line]->parted_until = world_.queue.now() + time;
  drop(*lines_[line]);
}
void GroupWire::heal() {
  for (auto& line : lines_) {
    line->parted_until = {};
    line->latency = milliseconds(1);
    for (End& end : line->ends) end.cut_until = {};
  }
}

}  // namespace mainstay::sim
