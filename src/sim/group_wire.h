// The lines between a group's nodes: connections that carry packets in order, late, and not at all while cut
// one way or both; one may break, and its ends learn it at different times.
#pragma once

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
  void part(std::size_t line, Duration time);
  void slow(std::size_t line, Duration latency) { lines_[line]->latency = latency; }
  void heal();

 private:
  struct End {
    GroupMachine* node = nullptr;
    std::uint64_t life = 0;
    bool open = false;
    Duration last_arrival{};
    Duration cut_until{};
  };
  struct Line {
    End ends[2];
    PeerId connection = 0;
    Duration latency = milliseconds(1);
    Duration parted_until{};
  };
  void try_connect(Line& line);
  void send(GroupMachine* from, PeerId to, Buffer packet);
  void close(GroupMachine* from, PeerId peer);
  void end_at(Line& line, std::size_t side);
  void drop(Line& line);
  [[nodiscard]] static bool stands(const End& end) {
    return end.open && end.node->up() && end.node->life() == end.life;
  }

  GroupWorld& world_;
  std::vector<std::unique_ptr<Line>> lines_;
};

}  // namespace mainstay::sim
