// When which fault happens: drawn from the seed, each fault from its own part of it, so that one that is left
// out moves no other.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "sim/world.h"

namespace mainstay::sim {

class FaultPlan {
 public:
  using Action = std::function<void()>;
  /// @param pause  between two faults, to twice that
  FaultPlan(World& world, Duration pause) : world_(world), pause_(pause) {}
  FaultPlan(const FaultPlan&) = delete;
  FaultPlan& operator=(const FaultPlan&) = delete;

  /// @param draw  decides, from World::random, what exactly; an empty action: it cannot be now
  void add(std::string name, unsigned weight, std::function<Action()> draw);
  /// Until World::faults_on ends.
  void start();
  /// No fault begins before.
  void hold(Duration time) { held_until_ = world_.queue.now() + time; }
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  struct Class {
    std::string name;
    unsigned weight{};
    std::function<Action()> draw;
  };
  void plan();
  void inject();

  World& world_;
  Duration pause_, held_until_{};
  std::vector<Class> classes_;
  std::uint64_t weights_ = 0;
  std::uint64_t number_ = 0;  ///< of the next fault
};

}  // namespace mainstay::sim
