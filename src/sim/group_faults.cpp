#include "sim/group_faults.h"

#include <algorithm>
#include <utility>

#include "group/superblock.h"

namespace mainstay::sim {

GroupFaults::GroupFaults(GroupWorld& world, GroupRegister& group_register, GroupWire& wire,
                         const std::vector<GroupMachine*>& nodes,
                         const std::vector<std::unique_ptr<Receiver>>& receivers, Duration pause)
    : world_(world),
      register_(group_register),
      wire_(wire),
      nodes_(nodes),
      receivers_(receivers),
      plan_(world, pause) {
  for (GroupMachine* node : nodes_) node->may_be_replaced = [this, node] { return may_lose(*node); };
  add_of_processes();
  add_of_disks();
  add_of_the_register();
  add_of_operators();
  add_of_lines();
}

void GroupFaults::heal() {
  register_.heal();
  wire_.heal();
  for (GroupMachine* node : nodes_) {
    // The upgrade is finished: the release before can do less.
    if (std::exchange(node->older_release, false) && node->up())
      node->stop_and_restart(GroupMachine::End::process_killed, milliseconds(200));
    node->disk_stalls = node->disk_full = false;
    node->disk().set_capacity(UINT64_MAX);
    node->disk().let_reads_be();
  }
}

// ---- who
// ----------------------------------------------------------------------------------------------------------------

GroupMachine* GroupFaults::leader() const {
  GroupMachine* found = nullptr;
  for (GroupMachine* node : nodes_)
    if (node->up() && node->member().role() == group::Role::leader &&
        (found == nullptr || node->member().epoch() > found->member().epoch()))
      found = node;
  return found;
}
GroupMachine& GroupFaults::any() {
  return *nodes_[world_.random.below(nodes_.size())];
}
GroupMachine& GroupFaults::victim() {
  GroupMachine& one = any();
  GroupMachine* lead = leader();
  return lead != nullptr && world_.random.chance(1, 2) ? *lead : one;
}
bool GroupFaults::all_up() const {
  return std::all_of(nodes_.begin(), nodes_.end(), [](const GroupMachine* node) { return node->up(); });
}
bool GroupFaults::somebody_is_damaged() const {
  return std::any_of(nodes_.begin(), nodes_.end(), [](const GroupMachine* node) { return !!node->damage; });
}

/// Another disk of the in-sync set is there and well, and will be: with the last one everything would be
/// gone, rightly.
bool GroupFaults::may_lose(const GroupMachine& machine) const {
  if (register_.under_way() != 0 || world_.register_was_put_back ||
      (!world_.whole_logs && !world_.full_copies))
    return false;
  if (std::any_of(nodes_.begin(), nodes_.end(),
                  [&](const GroupMachine* node) { return node != &machine && node->damage; }))
    return false;
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const GroupMachine* node) {
    return node != &machine && register_.names(node->name(), node->incarnation());
  });
}

/// What all other disks have of this one's log, for good.
Lsn GroupFaults::on_all_others(const GroupMachine& machine) const {
  const GroupChecker::DiskLog& own = machine.log();
  std::uint64_t end = std::min<std::uint64_t>(own.durable, own.hashes.size());
  for (const GroupMachine* node : nodes_) {
    const GroupChecker::DiskLog& other = node->log();
    end = std::min<std::uint64_t>(end, std::min<std::uint64_t>(other.durable, other.hashes.size()));
    while (end > 0 && own.hashes[end - 1] != other.hashes[end - 1]) --end;
  }
  return Lsn{end};
}

// ---- processes and machines
// ---------------------------------------------------------------------------------------------

void GroupFaults::add_of_processes() {
  plan_.add("power loss", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] { hit.stop_and_restart(GroupMachine::End::power_loss, pause()); };
  });
  plan_.add("power loss within a write", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] {
      hit.disk().stop_after(world_.random.below(4));
      world_.queue.after(world_.between(Duration{}, milliseconds(30)),
                         [&hit, life = hit.life(), rest = pause()] {
                           if (hit.up() && hit.life() == life)
                             hit.stop_and_restart(GroupMachine::End::power_loss, rest);
                         });
    };
  });
  plan_.add("process killed", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] { hit.stop_and_restart(GroupMachine::End::process_killed, pause()); };
  });
  plan_.add("power loss of all", 3, [this]() -> Action {
    return [this] {
      for (GroupMachine* node : nodes_)
        if (node->up()) node->stop_and_restart(GroupMachine::End::power_loss, pause());
    };
  });
  plan_.add("process paused", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] { hit.freeze(world_.between(milliseconds(100), seconds(4))); };
  });
  plan_.add("leader paused, its successor stopped", 6, [this]() -> Action {
    // A leader that sleeps through another one's leadership, and finds its successor just restarted.
    GroupMachine* lead = leader();
    if (lead == nullptr || nodes_.size() == 1) return {};
    return [this, lead] {
      lead->freeze(world_.between(milliseconds(2'000), milliseconds(4'000)));
      world_.queue.after(world_.between(milliseconds(1'500), milliseconds(3'800)), [this, lead] {
        GroupMachine* successor = leader();
        if (successor == nullptr || successor == lead) return;
        if (world_.random.chance(2, 3)) register_.away(world_.between(seconds(1), seconds(3)));
        successor->stop_and_restart(GroupMachine::End::power_loss,
                                    world_.between(milliseconds(10), milliseconds(500)));
      });
    };
  });
  plan_.add("slow node", 2, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] { freeze_again(&hit, static_cast<unsigned>(world_.random.between(10, 60))); };
  });
  plan_.add("wall clock jump", 2, [this]() -> Action {
    GroupMachine& hit = victim();
    return [this, &hit] {
      hit.clock().jump_wall(static_cast<std::int64_t>(world_.random.below(7'200'000)) - 3'600'000);
    };
  });
  plan_.add("mixed versions", 2, [this]() -> Action {
    if (nodes_.size() == 1) return {};
    GroupMachine& first = any();
    if (!first.up()) return {};
    // One node after the other goes back to the release before, which speaks the older version of packets
    // only, or the one goes forward again.
    return [this, &first] {
      const bool goes_on = world_.random.chance(1, 2);
      const bool to = !first.older_release;
      first.older_release = to;
      first.stop_and_restart(GroupMachine::End::process_killed, milliseconds(200));
      for (GroupMachine* node : nodes_) {
        if ((node == &first) == goes_on) continue;
        world_.queue.after(world_.between(milliseconds(500), seconds(3)), [this, node, goes_on, to] {
          node->older_release = world_.faults_on && goes_on == to;
          if (node->up()) node->stop_and_restart(GroupMachine::End::process_killed, milliseconds(200));
        });
      }
    };
  });
  if (world_.members_only) return;
  plan_.add("client disconnected", 3, [this]() -> Action {
    return [this] { receivers_[world_.random.below(receivers_.size())]->disconnect(); };
  });
}

/// Much of the time it has no processor.
void GroupFaults::freeze_again(GroupMachine* machine, unsigned times) {
  if (times == 0 || !world_.faults_on) return;
  if (machine->up()) machine->freeze(world_.between(milliseconds(20), milliseconds(90)));
  world_.queue.after(world_.between(milliseconds(95), milliseconds(130)),
                     [this, machine, times] { freeze_again(machine, times - 1); });
}

// ---- disks
// --------------------------------------------------------------------------------------------------------------

void GroupFaults::add_of_disks() {
  plan_.add("disk lost", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!may_lose(hit) || somebody_is_damaged()) return {};
    return [this, &hit] {
      // Sometimes replaced before anybody has missed the node, by a slow one.
      if (world_.random.chance(1, 2)) return hit.lose_disk(pause());
      hit.disk_stalls = true;
      world_.queue.after(seconds(3), [&hit] { hit.disk_stalls = false; });
      hit.lose_disk(world_.between(milliseconds(1), milliseconds(100)));
    };
  });
  plan_.add("sync error", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] { hit.disk().fail_next_sync(world_.random.below(3)); };
  });
  plan_.add("disk slow", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    return [this, &hit] {
      hit.disk_stalls = true;
      world_.queue.after(seconds(2), [&hit] { hit.disk_stalls = false; });
    };
  });
  plan_.add("disk full", 3, [this]() -> Action {
    GroupMachine& hit = victim();
    if (hit.disk_full) return {};
    return [this, &hit] {
      hit.disk().set_capacity(hit.disk().used_bytes() + world_.random.below(1 << 10));
      hit.disk_full = true;
      world_.queue.after(world_.between(seconds(1), seconds(8)), [&hit] {
        hit.disk().set_capacity(UINT64_MAX);
        hit.disk_full = false;
      });
    };
  });
  plan_.add("read error", 2, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] {
      world_.reads_fail = true;
      hit.disk().fail_next_read(world_.random.below(3));
    };
  });
  plan_.add("read damaged on its way", 2, [this]() -> Action {
    GroupMachine& hit = victim();
    if (!hit.up()) return {};
    return [this, &hit] {
      world_.reads_fail = true;
      hit.disk().damage_next_read(world_.random.below(3));
    };
  });
  plan_.add("record rotten", 3, [this] { return damage(victim(), rot_a_record); });
  plan_.add("write misdirected", 3, [this] { return damage(victim(), misdirect_a_write); });
  plan_.add("superblock copy rotten", 2, [this]() -> Action {
    GroupMachine& hit = victim();
    if (somebody_is_damaged()) return {};
    auto damaged = rot_a_superblock(hit.disk(), world_.random);
    if (!damaged) return {};
    return [this, &hit, damaged = std::move(*damaged)] {
      hit.damage = damaged;
      if (hit.up() && world_.random.chance(2, 3))
        hit.stop_and_restart(GroupMachine::End::power_loss, pause());
    };
  });
  plan_.add("snapshot taken", 3, [this]() -> Action {
    GroupMachine& hit = any();
    if (!hit.up() || !world_.whole_logs || somebody_is_damaged()) return {};
    return [&hit] { hit.take_snapshot(); };
  });
  plan_.add("snapshot restored", 4, [this]() -> Action {
    GroupMachine& hit = any();
    if (!hit.up() || !hit.has_snapshot() || nodes_.size() == 1 || !world_.whole_logs) return {};
    return [this, &hit] {
      hit.stop(GroupMachine::End::power_loss);
      // It takes a while, and the others go on without the node. Then only: a disk that is still one of the
      // in-sync set must hold what it has acknowledged, and nobody could tell that it does not.
      world_.queue.after(seconds(4), [this, &hit, life = hit.life()] {
        if (hit.up() || hit.life() != life) return;
        if (!register_.names(hit.name(), hit.incarnation()) && !counted_by_a_leader(hit) && may_lose(hit) &&
            !hit.damage) {
          world_.reached("a disk went back to its snapshot");
          world_.disk_went_back = true;  // its leader may not know yet that the set is without it
          return hit.restore_snapshot(milliseconds(50));
        }
        hit.start_again(Duration{});
      });
    };
  });
  plan_.add("snapshot restored under its leader", 4, [this]() -> Action {
    GroupMachine& hit = any();
    if (!may_restore_under_leader(hit)) return {};
    // A leader that lives on can tell. Should it end before it has, the disk may lead, and nobody could: so
    // nothing else goes wrong meanwhile, and what has gone wrong is over.
    return [this, &hit] {
      hit.take_snapshot();
      plan_.hold(seconds(10));
      world_.queue.after(seconds(6), [this, &hit] {
        if (!hit.has_snapshot() || !may_restore_under_leader(hit)) return;
        world_.reached("a disk in sync went back to its snapshot");
        world_.disk_went_back = true;
        hit.restore_snapshot(milliseconds(50));
        world_.checker.excuse(hit.incarnation());
      });
    };
  });
}

/// A leader may count a disk before the register names it: it has asked for that and has no answer (the union
/// rule). While it is paused it notices nothing, and asks again when it wakes.
bool GroupFaults::counted_by_a_leader(const GroupMachine& hit) const {
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const GroupMachine* node) {
    if (node == &hit || !node->up()) return false;
    const auto need = node->member().status().need;
    return std::find(need.begin(), need.end(), hit.name()) != need.end();
  });
}

bool GroupFaults::may_restore_under_leader(const GroupMachine& hit) const {
  const GroupMachine* lead = leader();
  if (lead == nullptr || lead == &hit || !hit.up() || !may_lose(hit) || !all_up() || somebody_is_damaged() ||
      world_.queue.now() < register_.away_until())
    return false;
  if (std::any_of(nodes_.begin(), nodes_.end(),
                  [](const GroupMachine* node) { return node->disk_full || node->disk_stalls; }))
    return false;
  return register_.names(lead->name(), lead->incarnation()) &&
         register_.record()->leader.node == lead->name() && register_.names(hit.name(), hit.incarnation());
}

GroupFaults::Action GroupFaults::damage(GroupMachine& machine,
                                        std::optional<Damage> (*how)(MemoryDisk&, Random&, Lsn)) {
  if (!may_lose(machine) || somebody_is_damaged()) return {};
  auto damaged = how(machine.disk(), world_.random, on_all_others(machine));
  if (!damaged) return {};
  return [this, &machine, damaged = std::move(*damaged)] {
    machine.damage = damaged;
    world_.disks_are_damaged = true;
    // Found at the next start, or in service, or not at all.
    if (machine.up() && world_.random.chance(world_.members_only ? 2 : 1, 3))
      machine.stop_and_restart(GroupMachine::End::power_loss, pause());
  };
}

// ---- the register
// -------------------------------------------------------------------------------------------------------

void GroupFaults::add_of_the_register() {
  plan_.add("register away", 6, [this]() -> Action {
    return [this] { register_.away(world_.between(milliseconds(100), seconds(4))); };
  });
  plan_.add("register asked, and its answer lost", 3,
            [this]() -> Action { return [this] { register_.next_outcome_unknown(); }; });
  plan_.add("register slow", 3, [this]() -> Action {
    return [this] { register_.slow(world_.between(milliseconds(500), seconds(4))); };
  });
  plan_.add("register put back", 3, [this]() -> Action {
    if (!put_register_back()) return {};
    return [this] {
      world_.register_was_put_back = true;
      repair_register_after(world_.between(milliseconds(500), milliseconds(4'000)));
    };
  });
}

/// Somebody restores the register from a backup. Only when every node that it would allow to lead has seen
/// more, and will remember it: a register that was put back to where such a node still is cannot be told
/// from one that was not.
bool GroupFaults::put_register_back() {
  if (world_.register_was_put_back || !register_.record() || !all_up() || somebody_is_damaged()) return false;
  // Its last change must be known to a node, and by now on its disk.
  const bool told = std::any_of(nodes_.begin(), nodes_.end(), [&](GroupMachine* node) {
    const auto block = group::read_superblock(node->disk(), "");
    return block && block->block && block->block->record &&
           block->block->record->epoch == register_.record()->epoch;
  });
  if (!told) return false;
  return register_.put_back(world_.random.between(1, 4), [&](const coordination::GroupRecord& older) {
    return std::all_of(nodes_.begin(), nodes_.end(), [&](GroupMachine* node) {
      if (!older.isr.contains({node->name(), node->incarnation()})) return true;
      // On its disk: it may restart.
      const auto block = group::read_superblock(node->disk(), "");
      return block && block->block && block->block->seen > older.epoch;
    });
  });
}

/// As `mainstay group repair-register` makes it, from every node's disk, or without `not_looked_at`.
Result<coordination::RepairPlan, Failure> GroupFaults::plan_repair(
    const std::set<std::string>& without, const std::string& leader,
    const std::set<std::string>& not_looked_at) const {
  coordination::RepairRequest request;
  request.without = without;
  request.leader = leader;
  request.group = "g";
  request.there = register_.stored();
  request.by = "operator";
  request.reason = "the register was put back";
  const Duration since_begin = world_.queue.now();
  request.now = WallTime{1'800'000'000'000 + since_begin.ns / 1'000'000};
  for (GroupMachine* node : nodes_) {
    request.nodes.insert(node->name());
    if (not_looked_at.contains(node->name())) continue;
    const auto block = group::read_superblock(node->disk(), "");
    if (!block || !block->block) continue;
    coordination::MemberReport report;
    report.member = {block->block->node, block->block->incarnation};
    report.cluster = block->block->cluster;
    report.promised = block->block->promised;
    report.seen = block->block->seen;
    report.record = block->block->record;
    report.from = node->name();
    request.reports.push_back(std::move(report));
  }
  return coordination::plan_repair(request);
}

/// The operator knows which disks are gone, and says so. The register's last change was on some disk when it
/// was put back, so whoever is left of its set has what was acknowledged.
Result<coordination::RepairPlan, Failure> GroupFaults::plan_repair_without_lost_disks() const {
  std::optional<coordination::GroupRecord> last;
  for (GroupMachine* node : nodes_) {
    const auto block = group::read_superblock(node->disk(), "");
    if (block && block->block && block->block->record && (!last || block->block->record->epoch > last->epoch))
      last = block->block->record;
  }
  if (!last) return Failure{"no disk remembers a record"};
  std::set<std::string> without;
  std::string leader;
  for (GroupMachine* node : nodes_) {
    const bool named = last->isr.contains({node->name(), node->incarnation()});
    if (named && (leader.empty() || last->leader.node == node->name())) leader = node->name();
    if (!named && std::any_of(last->isr.begin(), last->isr.end(),
                              [&](const auto& member) { return member.node == node->name(); }))
      without.insert(node->name());
  }
  // Every other time only what is left of the set is looked at, and the new disks go on with what they know.
  const std::set<std::string> unseen = last->epoch.value % 2 == 0 ? without : std::set<std::string>();
  if (auto plan = plan_repair(without, "", unseen)) return plan;
  if (auto plan = plan_repair(without, leader, unseen)) return plan;
  // What is wrong is known to a disk that was not looked at: the refusal asks for it.
  if (auto plan = plan_repair(without, "")) return plan;
  return plan_repair(without, leader);
}

void GroupFaults::repair_register_after(Duration time) {
  world_.queue.after(time, [this] {
    // What the last leader acted on is on its disk; what a node has promised and not stored yet is not.
    if (!all_up()) return repair_register_after(milliseconds(100));
    auto plan = plan_repair({}, "");
    if (!plan) plan = plan_repair_without_lost_disks();
    if (!plan) {
      world_.trace("repair refused: " + plan.error().what);
      return repair_register_after(milliseconds(200));
    }
    if (!register_.repair(plan->revision, plan->next)) return repair_register_after(milliseconds(200));
    world_.reached("register repaired");
    if (plan->next.epoch > plan->highest.next()) world_.reached("a repair passed over epochs");
    world_.register_was_put_back = false;
    // The longest way of an answer and the longest pause of a process.
    world_.put_back_told_until = world_.queue.now() + milliseconds(700) + seconds(4);
    if (!world_.random.chance(1, 2)) return;
    // The command had no answer, and is given again: what it was to replace is not there any more.
    world_.queue.after(world_.between(milliseconds(10), seconds(3)), [this, plan = *plan] {
      // Put back once more, it would stand at the same revision: nobody repeats an old answer to a new
      // trouble.
      if (world_.register_was_put_back) return;
      if (!register_.repair(plan.revision, plan.next)) world_.reached("a repair was repeated and refused");
    });
  });
}

// ---- operators
// ----------------------------------------------------------------------------------------------------------

/// Looks now and then whether a node waits for a person; one of them is told to lead, sometimes another than
/// would be best, and sometimes while the leader is about to come back.
void GroupFaults::promote_again() {
  world_.queue.after(world_.between(milliseconds(200), seconds(3)), [this] {
    GroupMachine& chosen = any();
    if (chosen.up() && chosen.member().waits_for_operator()) (void)chosen.promote();
    promote_again();
  });
}

void GroupFaults::start() {
  plan_.start();
  if (world_.operator_promotes) promote_again();
}

void GroupFaults::add_of_operators() {
  plan_.add("planned move", 3, [this]() -> Action {
    GroupMachine* lead = leader();
    if (lead == nullptr || nodes_.size() == 1) return {};
    GroupMachine& to = any();
    if (!lead->hand_over(to.name())) return {};
    return [] {};
  });
  plan_.add("operator error", 3,
            [this]() -> Action { return [this, kind = world_.random.below(4)] { make_a_mistake(kind); }; });
}

/// Each must be refused, and change nothing.
void GroupFaults::make_a_mistake(std::uint64_t kind) {
  GroupMachine* lead = leader();
  const auto refused = [this](bool was, const std::string& what) {
    if (was)
      world_.reached("an operator's mistake was refused");
    else
      world_.report.violated("operator: " + what + " was not refused");
  };
  switch (kind) {
    case 0:  // to the node that leads
      if (lead != nullptr) refused(!lead->hand_over(lead->name()), "a move of the lead to where it is");
      return;
    case 1:  // asked of a node that does not lead
      for (GroupMachine* node : nodes_)
        if (node->up() && node->member().role() != group::Role::leader)
          return refused(!node->hand_over(node->name()), "a move asked of a node that does not lead");
      return;
    case 2:  // to a node that lacks records
      for (GroupMachine* node : nodes_)
        if (lead != nullptr && node != lead && lead->member().role() == group::Role::leader) {
          const auto set = lead->member().status().in_sync;
          if (std::find(set.begin(), set.end(), node->name()) == set.end())
            return refused(!lead->hand_over(node->name()), "a move to a node that is not in sync");
        }
      return;
    default:  // a repair of a register that is well
      if (world_.register_was_put_back || !register_.record() || !all_up()) return;
      // Nodes may have seen it a moment later than it was changed; it is never behind them.
      refused(!plan_repair({}, ""), "a repair of a register that is well");
  }
}

// ---- lines
// --------------------------------------------------------------------------------------------------------------

void GroupFaults::add_of_lines() {
  if (wire_.lines() == 0) return;
  const auto line = [this] { return world_.random.below(wire_.lines()); };
  plan_.add("connection broken", 3,
            [this, line]() -> Action { return [this, at = line()] { wire_.break_connection(at); }; });
  plan_.add("connection replaced, the old one lingers", 3, [this, line]() -> Action {
    return [this, at = line()] {
      // Slow at first: then more is on its way.
      wire_.slow(at, world_.between(milliseconds(30), milliseconds(200)));
      world_.queue.after(
          world_.between(milliseconds(50), milliseconds(300)),
          [this, at, by = world_.random.below(2), late = world_.between(milliseconds(20), seconds(2)),
           time = world_.between(milliseconds(100), seconds(3))] {
            wire_.replace_connection(at, by, late, time);
            wire_.slow(at, milliseconds(1));
          });
    };
  });
  plan_.add("one-way cut", 6, [this, line]() -> Action {
    return [this, at = line()] {
      wire_.cut(at, world_.random.below(2), world_.between(milliseconds(100), seconds(4)));
    };
  });
  plan_.add("nodes parted", 3, [this, line]() -> Action {
    return [this, at = line()] { wire_.part(at, world_.between(milliseconds(200), seconds(5))); };
  });
  plan_.add("slow line", 3, [this, line]() -> Action {
    return [this, at = line()] {
      wire_.slow(at, world_.between(milliseconds(5), milliseconds(300)));
      world_.queue.after(seconds(3), [this, at] { wire_.slow(at, milliseconds(1)); });
    };
  });
  plan_.add("flapping line", 2, [this, line]() -> Action {
    return [this, at = line()] { break_again(at, static_cast<unsigned>(world_.random.between(5, 20))); };
  });
}

void GroupFaults::break_again(std::size_t line, unsigned times) {
  if (times == 0 || !world_.faults_on) return;
  if (world_.random.chance(1, 2))
    wire_.break_connection(line);
  else
    wire_.part(line, world_.between(milliseconds(50), milliseconds(300)));
  world_.queue.after(world_.between(milliseconds(100), milliseconds(600)),
                     [this, line, times] { break_again(line, times - 1); });
}

}  // namespace mainstay::sim
