// One node of a simulated group: the production member and journal on a virtual disk and clock, driven as the
// real node drives them. Its records are clients' operations, eight bytes each.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "base/memory_disk.h"
#include "group/member.h"
#include "sim/group_register.h"
#include "sim/group_world.h"

namespace mainstay::sim {

class GroupNode {
 public:
  GroupNode(GroupWorld& world, GroupRegister& group_register, std::string name);
  ~GroupNode();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool up() const { return member_ != nullptr; }
  [[nodiscard]] std::uint64_t life() const { return life_; }
  [[nodiscard]] group::Member& member() { return *member_; }
  [[nodiscard]] MemoryDisk& disk() { return *disk_; }
  [[nodiscard]] DriftingClock& clock() { return clock_; }
  [[nodiscard]] const GroupChecker::DiskLog& log() const { return log_; }
  [[nodiscard]] const Uuid& incarnation() const { return incarnation_; }
  [[nodiscard]] const std::map<std::uint64_t, std::uint64_t>& operations() const { return operations_; }

  void start();
  enum class End : std::uint8_t { power_loss, process_killed };
  void stop(End how);
  void stop_and_restart(End how, Duration pause);
  /// Everything on it is gone; the node comes back with a new one.
  void lose_disk(Duration pause);
  /// SIGSTOP: nothing happens in the process; what arrives waits.
  void freeze(Duration time);
  bool disk_stalls = false;

  // The lines to the others; send and close are theirs.
  std::function<void(PeerId, Buffer)> send;
  std::function<void(PeerId)> close;
  void connected(PeerId peer);
  void packet(PeerId from, Buffer bytes);
  void disconnected(PeerId peer);

  /// A client's operation. @param answer  told when it is committed, never otherwise. @return taken
  [[nodiscard]] bool submit(std::uint64_t operation, std::function<void()> answer);
  void hand_over(const std::string& to);

 private:
  /// Runs in the process: later when it is frozen, never when this life has ended.
  void soon(std::function<void()> event);
  void after(Duration delay, std::function<void()> event);
  void step();
  void act(group::Output& output);
  void write();
  void wrote(const journal::Batch& batch, bool raw);
  void note(const journal::Record& record);
  void fail(const std::string& why);
  void tick();
  void restart(const group::Restart& restart);
  void end_life();
  [[nodiscard]] Instant now() { return clock_.now(); }
  [[nodiscard]] WallTime wall() { return clock_.wall(); }

  GroupWorld& world_;
  GroupRegister& register_;
  std::string name_;
  std::unique_ptr<MemoryDisk> disk_;
  std::vector<std::unique_ptr<MemoryDisk>> old_disks_;
  DriftingClock clock_;
  SeededRandom random_;
  Uuid incarnation_;
  std::uint64_t life_ = 0;
  std::unique_ptr<journal::Journal> journal_;
  std::unique_ptr<group::Member> member_;
  std::optional<journal::LogBuilder> builder_;
  Epoch leads_;
  bool stepping_ = false, writing_ = false;
  journal::Batch batch_;
  Duration frozen_until_{};
  GroupChecker::DiskLog log_;
  std::map<std::uint64_t, std::uint64_t> operations_;  ///< by LSN
  std::map<Lsn, std::pair<std::uint64_t, std::function<void()>>> waiting_;
};

}  // namespace mainstay::sim
