// The person at the console: switches regions as planned, promotes by force when one is gone.
#pragma once

#include <optional>
#include <vector>

#include "sim/sim_node.h"
#include "sim/world.h"

namespace mainstay::sim {

class Operator {
 public:
  Operator(World& world, SimNode& east, SimNode& west);
  /// Hands the lead to the other region if both are fit for it; calls it off when it takes too long.
  void planned_switch();
  /// The live region is given up: the other one takes the lead with what it has.
  void forced_promotion();
  /// Somebody restores the register from a backup: an older term, whose region has seen a later one by now.
  /// (A region that has not cannot tell; an operator must not let it run.) @return false: there is none
  bool put_register_back();
  /// `mainstay region promote --force` on the node of the region that led last, as soon as it is up.
  void repair_register_after(Duration time);
  /// By mistake: the region that leads is to be promoted. It must not be.
  void promote_the_wrong_side();
  [[nodiscard]] bool forced() const { return forced_; }
  [[nodiscard]] bool busy() const { return switching_.has_value(); }
  /// Node that the register names; null when it cannot be asked.
  [[nodiscard]] SimNode* live();
  [[nodiscard]] SimNode& other(const SimNode& than) { return &than == nodes_[0] ? *nodes_[1] : *nodes_[0]; }

 private:
  struct Switch {
    SimNode* from;
    SimNode* to;
    std::uint64_t life;
    bool ready = false;
  };
  [[nodiscard]] bool try_repair();
  void watch_switch(Duration patience);
  void finish_switch();
  void call_off();
  void look_after_phase();
  std::vector<SimNode*> nodes_;
  World& world_;
  std::optional<Switch> switching_;
  bool forced_ = false;
  std::optional<coordination::RegionRecord> put_back_;  ///< what the register held when it was put back
  SimNode* given_to_ = nullptr;                         ///< of a forced promotion begun
};

}  // namespace mainstay::sim
