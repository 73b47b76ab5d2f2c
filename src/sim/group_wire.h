// The lines between a group's nodes: connections that carry packets in order, late, and not at all while cut
// one way or both. One may break, and its ends learn it at different times: then packets of the old
// connection arrive among those of the next one.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "sim/group_machine.h"

namespace mainstay::sim {

class GroupWire {
 public:
  GroupWire(GroupWorld& world, const std::vector<GroupMachine*>& nodes);
  [[nodiscard]] std::size_t lines() const { return lines_.size(); }
  /// What goes one way waits until the cut is over.
  void cut(std::size_t line, std::size_t way, Duration time);
  void break_connection(std::size_t line);
  /// One end has given the connection up and makes another. The other end learns it after `time`, and gets
  /// what was on its way meanwhile, `late` later than it would have.
  void replace_connection(std::size_t line, std::size_t by, Duration late, Duration time);
  void part(std::size_t line, Duration time);
  void slow(std::size_t line, Duration latency) { lines_[line]->latency = latency; }
  void heal();

 private:
  struct End {
    std::uint64_t life = 0;
    bool open = false;
    Duration last_arrival{};
  };
  struct Connection {
    End ends[2];
    bool replaced = false;
    Duration late{};  ///< of what is on its way on a replaced one
  };
  struct Line {
    GroupMachine* nodes[2]{};
    Duration cut_until[2]{};
    PeerId current = 0;  ///< 0 = none
    std::map<PeerId, Connection> connections;
    Duration latency = milliseconds(1);
    Duration parted_until{};
  };
  void try_connect(Line& line);
  void send(GroupMachine* from, PeerId to, Buffer packet);
  void arrive(Line& line, std::size_t side, PeerId connection, Buffer packet, bool delayed);
  void close(GroupMachine* from, PeerId peer);
  /// That end of the connection learns that it is over.
  void end_at(Line& line, PeerId connection, std::size_t side, Duration within);
  void drop(Line& line);
  [[nodiscard]] static bool stands(const Line& line, const Connection& connection, std::size_t side) {
    return connection.ends[side].open && line.nodes[side]->up() &&
           line.nodes[side]->life() == connection.ends[side].life;
  }

  GroupWorld& world_;
  std::vector<std::unique_ptr<Line>> lines_;
};

}  // namespace mainstay::sim
