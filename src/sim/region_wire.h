// The line between the regions: connections that carry packets in order, late, and not at all while cut; a
// connection may break, and the two ends learn it at different times.
#pragma once

#include "base/wire.h"
#include "sim/sim_node.h"
#include "sim/world.h"

namespace mainstay::sim {

class RegionWire {
 public:
  RegionWire(World& world, SimNode& east, SimNode& west);
  /// What goes this way waits until the cut is over. @param way  0: from east, 1: from west
  void cut(std::size_t way, Duration time);
  void break_connection();
  /// No connection at all for a while.
  void part(Duration time);
  void slow(Duration latency) { latency_ = latency; }
  void heal();

 private:
  /// One node's side of the line.
  class Side final : public Wire {
   public:
    Side(RegionWire& line, std::size_t way) : line_(line), way_(way) {}
    void send(PeerId to, BytesView packet) override { line_.send(way_, to, to_buffer(packet)); }
    void close(PeerId peer) override { line_.close(way_, peer); }

   private:
    RegionWire& line_;
    std::size_t way_;
  };
  struct End {
    SimNode* node;
    std::uint64_t life = 0;  ///< of the node when it connected
    bool open = false;
    Duration last_arrival{};  ///< of packets at the other end
    Duration cut_until{};
  };
  void try_connect();
  void send(std::size_t way, replica::PeerId connection, Buffer packet);
  void close(std::size_t way, replica::PeerId peer);
  void end_at(std::size_t side);
  [[nodiscard]] bool stands(std::size_t side) const {
    return ends_[side].open && ends_[side].node->up() && ends_[side].node->life() == ends_[side].life;
  }

  World& world_;
  Side sides_[2] = {{*this, 0}, {*this, 1}};
  End ends_[2];
  replica::PeerId connection_ = 0;
  Duration latency_ = milliseconds(5);
  Duration parted_until_{};
};

}  // namespace mainstay::sim
