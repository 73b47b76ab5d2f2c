#include "sim/operator.h"

#include <algorithm>

namespace mainstay::sim {

using coordination::CasOutcome;
using coordination::Phase;
using coordination::RegionRecord;

Operator::Operator(World& world, SimNode& east, SimNode& west) : nodes_{&east, &west}, world_(world) {
  for (SimNode* node : nodes_) {
    node->switch_ready = [this, node](journal::LogPosition) {
      if (!switching_ || switching_->from != node) return;
      switching_->ready = true;
      world_.queue.after({}, [this] { finish_switch(); });
    };
  }
  RegionRecord first;
  first.term = RegionTerm{1};
  first.region = east.region();
  (void)world_.region_register.compare_and_swap(0, first);
  look_after_phase();
}

SimNode* Operator::live() {
  const auto record = world_.region_register.read();
  if (!record) return nullptr;
  return record->region == nodes_[0]->region() ? nodes_[0] : nodes_[1];
}

/// A phase left over from something that was interrupted is cleared up, as the operator's tool would when
/// asked again.
void Operator::look_after_phase() {
  world_.queue.after(seconds(1), [this] { look_after_phase(); });
  const auto record = world_.region_register.read();
  if (!record || record->phase == Phase::active || switching_ || put_back_) return;
  SimNode* node = live();
  if (record->phase == Phase::recovering && !(node->up() && node->replica().role() == replica::Role::live))
    return;
  if (record->phase == Phase::switching && node->up() && node->replica().role() == replica::Role::live &&
      node->replica().switching()) {
    node->abort_switch();
  }
  RegionRecord next = *record;
  next.phase = Phase::active;
  next.reason = "cleared up";
  (void)world_.region_register.compare_and_swap(record->revision, next);
}

void Operator::planned_switch() {
  const auto record = world_.region_register.read();
  if (switching_ || put_back_ || !record || record->phase != Phase::active) return;
  SimNode& from = *live();
  SimNode& to = other(from);
  if (!from.serving() || !to.up() || to.replica().role() != replica::Role::standby || to.held_down) return;
  RegionRecord next = *record;
  next.phase = Phase::switching;
  next.reason = "planned switch";
  const auto swapped = world_.region_register.compare_and_swap(record->revision, next);
  if (!swapped || swapped->outcome != CasOutcome::won)
    return;  // an unknown one that landed is cleared up later
  world_.fault("planned switch");
  switching_ = Switch{&from, &to, from.life(), false};
  from.begin_switch();
  if (world_.options.canary == Canary::switch_without_seal) {
    switching_->ready = true;
    world_.queue.after({}, [this] { finish_switch(); });
    return;
  }
  watch_switch(seconds(4));
}

void Operator::watch_switch(Duration patience) {
  world_.queue.after(patience, [this, life = switching_->life, from = switching_->from] {
    if (switching_ && switching_->life == life && switching_->from == from) call_off();
  });
}

void Operator::finish_switch() {
  if (!switching_ || !switching_->ready) return;
  const auto record = world_.region_register.read();
  if (!record) {
    world_.queue.after(milliseconds(200), [this] { finish_switch(); });
    return;
  }
  if (record->region == switching_->to->region()) {  // an unknown outcome that was a yes
    ++world_.report.reached["planned switch done"];
    if (switching_->from->life() == switching_->life) switching_->from->seal(record->term);
    switching_.reset();
    return;
  }
  if (record->phase != Phase::switching || switching_->from->life() != switching_->life ||
      !switching_->from->up() || !switching_->from->replica().switching()) {
    switching_.reset();  // the live node died meanwhile or a switch was called off
    return;
  }
  RegionRecord next = *record;
  next.region = switching_->to->region();
  next.term = record->term.next();
  next.phase = Phase::active;
  const auto swapped = world_.region_register.compare_and_swap(record->revision, next);
  (void)swapped;  // whatever it says: the register is asked again
  world_.queue.after(milliseconds(20), [this] { finish_switch(); });
}

void Operator::call_off() {
  const auto record = world_.region_register.read();
  if (!record) {
    watch_switch(milliseconds(300));
    return;
  }
  // Active again, and still here: an unknown one of these that was a yes.
  if (record->region != switching_->from->region() || record->phase != Phase::active) {
    if (record->region != switching_->from->region() || record->phase != Phase::switching) {
      finish_switch();
      return;
    }
    RegionRecord next = *record;
    next.phase = Phase::active;
    next.reason = "planned switch called off";
    const auto swapped = world_.region_register.compare_and_swap(record->revision, next);
    if (!swapped || swapped->outcome != CasOutcome::won) {
      watch_switch(milliseconds(300));
      return;
    }
  }
  ++world_.report.reached["planned switch called off"];
  SimNode& from = *switching_->from;
  if (from.up() && from.life() == switching_->life && from.replica().role() == replica::Role::live &&
      from.replica().switching()) {
    from.abort_switch();
  }
  switching_.reset();
}

bool Operator::put_register_back() {
  const auto record = world_.region_register.read();
  // What may still be stored, for a register of before, is none of its business.
  if (!record || put_back_ || switching_ || forced_ || world_.region_register.has_late()) return false;
  if (record->phase != Phase::active) return false;
  std::vector<RegionRecord> older = world_.region_register.history();
  std::erase_if(older, [&](const RegionRecord& each) {
    if (each.term >= record->term) return true;
    SimNode& named = each.region == nodes_[0]->region() ? *nodes_[0] : *nodes_[1];
    return !named.up() || named.replica().term() <= each.term;
  });
  if (older.empty()) return false;
  // Rather the other region: nothing but the term tells that one from a switch.
  std::vector<RegionRecord> others = older;
  std::erase_if(others, [&](const RegionRecord& each) { return each.region == record->region; });
  if (!others.empty()) older = others;
  const RegionRecord& back = older[world_.random.below(older.size())];
  world_.trace("register: put back to term " + std::to_string(back.term.value) + " of " + back.region);
  put_back_ = *record;
  world_.region_register.restore(back);
  return true;
}

void Operator::repair_register_after(Duration time) {
  world_.queue.after(time, [this] {
    if (!try_repair()) return repair_register_after(milliseconds(200));
    put_back_.reset();
  });
}

bool Operator::try_repair() {
  const auto there = world_.region_register.read();
  if (!there) return false;
  SimNode& led_last = put_back_->region == nodes_[0]->region() ? *nodes_[0] : *nodes_[1];
  if (there->term >= put_back_->term && there->region == led_last.region()) {
    // An unknown outcome that was a yes.
    forced_ = forced_ || there->phase == Phase::recovering;
    return true;
  }
  if (!led_last.up()) return false;
  // As the node's command decides.
  const bool leads = led_last.replica().role() == replica::Role::live;
  if (!leads && led_last.replica().unfit_to_lead()) return false;
  RegionRecord next = leads ? *put_back_ : *there;
  next.region = led_last.region();
  next.term = leads ? led_last.replica().term() : std::max(there->term, led_last.replica().term()).next();
  next.phase = leads ? Phase::active : Phase::recovering;
  next.by = "operator";
  next.reason = "the register was put back";
  const auto swapped = world_.region_register.compare_and_swap(there->revision, next);
  if (!swapped || swapped->outcome != CasOutcome::won) return false;
  world_.reached(leads ? "register written again by a region that leads on"
                       : "register written again by a forced promotion");
  if (!leads) {
    forced_ = true;
    world_.fault("forced promotion");
  }
  return true;
}

void Operator::promote_the_wrong_side() {
  if (put_back_) return;
  SimNode* leads = live();
  if (leads == nullptr || !leads->up() || leads->replica().role() != replica::Role::live) return;
  // As the node's command decides.
  if (leads->replica().unfit_to_lead())
    world_.reached("an operator's mistake was refused");
  else
    world_.report.violated("operator: region " + leads->region() + " leads and may be promoted");
}

void Operator::forced_promotion() {
  const auto record = world_.region_register.read();
  if (forced_ || switching_ || put_back_ || !record) return;
  if (given_to_ != nullptr && record->region == given_to_->region()) {  // an unknown outcome that was a yes
    forced_ = true;
    world_.fault("forced promotion");
    return;
  }
  if (record->phase != Phase::active) return;
  SimNode& to = other(*live());
  // As the node's command decides: sealed, for want of a live region to follow, is no reason against it.
  if (!to.up() || to.replica().unfit_to_lead()) return;
  RegionRecord next = *record;
  next.region = to.region();
  next.term = std::max(record->term, to.replica().term()).next();
  next.phase = Phase::recovering;
  next.by = "operator";
  next.reason = "region given up";
  given_to_ = &to;
  const auto swapped = world_.region_register.compare_and_swap(record->revision, next);
  if (!swapped || swapped->outcome != CasOutcome::won) return;  // asked again soon
  forced_ = true;
  world_.fault("forced promotion");
}

}  // namespace mainstay::sim
