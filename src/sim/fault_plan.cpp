#include "sim/fault_plan.h"

#include <algorithm>
#include <utility>

#include "base/checksum.h"

namespace mainstay::sim {
namespace {

constexpr std::uint64_t kFaults = 0xfa17;  // tells these draws from the world's own

}  // namespace

void FaultPlan::add(std::string name, unsigned weight, std::function<Action()> draw) {
  classes_.push_back({std::move(name), weight, std::move(draw)});
  weights_ += weight;
}

void FaultPlan::start() {
  plan();
}

void FaultPlan::plan() {
  SeededRandom own(mix64(mix64(world_.options.seed, kFaults), 2 * number_));
  const auto pause = static_cast<std::uint64_t>(pause_.ns);
  world_.queue.after(Duration{static_cast<std::int64_t>(own.between(pause, 2 * pause))}, [this] {
    if (!world_.faults_on) return;
    inject();
    ++number_;
    plan();
  });
}

void FaultPlan::inject() {
  if (world_.queue.now() < held_until_) return;
  SeededRandom own(mix64(mix64(world_.options.seed, kFaults), 2 * number_ + 1));
  std::uint64_t drawn = own.below(weights_);
  const auto found = std::find_if(classes_.begin(), classes_.end(), [&](const Class& each) {
    if (drawn < each.weight) return true;
    drawn -= each.weight;
    return false;
  });
  if (!world_.options.faults.allows(number_, found->name)) return;
  // What the fault draws is its own, too.
  std::swap(world_.random, own);
  if (const Action act = found->draw()) {
    ++world_.report.faults[found->name];
    world_.trace("fault " + std::to_string(number_) + ": " + found->name);
    world_.report.schedule.push_back({number_, world_.queue.now().seconds(), found->name});
    world_.digest(mix64(number_, static_cast<std::uint64_t>(world_.queue.now().ns)));
    act();
  }
  std::swap(world_.random, own);
}

std::vector<std::string> FaultPlan::names() const {
  std::vector<std::string> all;
  for (const Class& each : classes_) all.push_back(each.name);
  return all;
}

}  // namespace mainstay::sim
