// Everything that can go wrong in a group, and the operator who repairs what nodes cannot.
#pragma once

#include <memory>
#include <vector>

#include "coordination/group_repair.h"
#include "sim/fault_plan.h"
#include "sim/group_machine.h"
#include "sim/group_register.h"
#include "sim/group_wire.h"
#include "sim/sim_client.h"

namespace mainstay::sim {

class GroupFaults {
 public:
  GroupFaults(GroupWorld& world, GroupRegister& group_register, GroupWire& wire,
              const std::vector<GroupMachine*>& nodes,
              const std::vector<std::unique_ptr<Receiver>>& receivers, Duration pause);
  void start();
  void heal();
  [[nodiscard]] GroupMachine* leader() const;

 private:
  using Action = FaultPlan::Action;
  void add_of_processes();
  void add_of_disks();
  void add_of_the_register();
  void add_of_operators();
  void add_of_lines();
  [[nodiscard]] GroupMachine& any();
  /// Half of the time whoever leads.
  [[nodiscard]] GroupMachine& victim();
  [[nodiscard]] Duration pause() { return world_.between(milliseconds(20), seconds(4)); }
  [[nodiscard]] bool may_lose(const GroupMachine& machine) const;
  [[nodiscard]] bool counted_by_a_leader(const GroupMachine& hit) const;
  [[nodiscard]] bool may_restore_under_leader(const GroupMachine& hit) const;
  [[nodiscard]] bool all_up() const;
  [[nodiscard]] bool somebody_is_damaged() const;
  [[nodiscard]] Lsn on_all_others(const GroupMachine& machine) const;
  Action damage(GroupMachine& machine, std::optional<Damage> (*how)(MemoryDisk&, Random&, Lsn));
  void freeze_again(GroupMachine* machine, unsigned times);
  void break_again(std::size_t line, unsigned times);
  [[nodiscard]] bool put_register_back();
  void repair_register_after(Duration time);
  [[nodiscard]] Result<coordination::RepairPlan, Failure> plan_repair(
      const std::set<std::string>& without, const std::string& leader,
      const std::set<std::string>& not_looked_at = {}) const;
  [[nodiscard]] Result<coordination::RepairPlan, Failure> plan_repair_without_lost_disks() const;
  void make_a_mistake(std::uint64_t kind);
  void promote_again();

  GroupWorld& world_;
  GroupRegister& register_;
  GroupWire& wire_;
  const std::vector<GroupMachine*>& nodes_;
  const std::vector<std::unique_ptr<Receiver>>& receivers_;
  FaultPlan plan_;
};

}  // namespace mainstay::sim
