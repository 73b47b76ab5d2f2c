// A machine of a simulated group: its disk, its clock, the process on it that starts, ends, pauses and loses
// power, and its lines to the others. What runs in the process derives from this.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/memory_disk.h"
#include "group/member.h"
#include "sim/disk_damage.h"
#include "sim/group_register.h"
#include "sim/group_world.h"

namespace mainstay::sim {

/// As node/node_promotion.cpp has it.
inline constexpr Duration kOrderLasts = seconds(15);

class GroupMachine {
 public:
  GroupMachine(GroupWorld& world, GroupRegister& group_register, std::string name);
  virtual ~GroupMachine();
  GroupMachine(const GroupMachine&) = delete;
  GroupMachine& operator=(const GroupMachine&) = delete;

  [[nodiscard]] const std::string& name() const { return machine_name_; }
  [[nodiscard]] virtual bool up() const = 0;
  [[nodiscard]] virtual std::uint64_t life() const { return life_; }
  /// @pre up()
  [[nodiscard]] virtual const group::Member& member() const = 0;
  [[nodiscard]] MemoryDisk& disk() { return *disk_; }
  [[nodiscard]] DriftingClock& clock() { return clock_; }
  [[nodiscard]] const GroupChecker::DiskLog& log() const { return log_; }
  [[nodiscard]] const Uuid& incarnation() const { return incarnation_; }

  /// Starts a process, which ends again at once when a fault hits its start, and is tried again then.
  virtual void start() = 0;
  enum class End : std::uint8_t { power_loss, process_killed };
  void stop(End how);
  void stop_and_restart(End how, Duration pause);
  void start_again(Duration pause) { start_after(pause); }
  /// Everything on it is gone; the node comes back with a new one.
  void lose_disk(Duration pause);
  /// Copies of the log were removed as no longer needed: a new disk could not have all of it.
  [[nodiscard]] virtual bool keeps_whole_log() const { return true; }
  /// A copy of the disk as it is at this instant, as a storage system takes it; and its way back, after which
  /// the disk has the incarnation that it had, and lacks what came later.
  void take_snapshot();
  [[nodiscard]] bool has_snapshot() const { return snapshot_ && snapshot_->incarnation == incarnation_; }
  void restore_snapshot(Duration pause);
  /// What this disk has suffered; until it is replaced or found to be well.
  std::optional<Damage> damage;
  /// Whether this disk could be given up: others in sync have everything. The operator asks.
  std::function<bool()> may_be_replaced;
  /// SIGSTOP: nothing happens in the process; what arrives waits.
  void freeze(Duration time);
  [[nodiscard]] const std::string& last_failed_start() const { return failed_start_; }
  bool disk_stalls = false;
  bool disk_full = false;
  /// The program of the release before: it speaks the older version of packets only.
  bool older_release = false;

  // The lines to the others; send and close are theirs.
  std::function<void(PeerId, Buffer)> send;
  std::function<void(PeerId)> close;
  virtual void connected(PeerId peer, const std::string& dialled) = 0;
  virtual void packet(PeerId from, Buffer bytes) = 0;
  virtual void disconnected(PeerId peer) = 0;
  /// @return the member agreed to try
  virtual bool hand_over(const std::string& to) = 0;
  /// As an operator's `mainstay group promote`. @return it was not refused
  virtual bool promote() = 0;

 protected:
  /// Runs in the process: later when it is frozen, never when this life has ended.
  template <class Event>
  void soon(Event event) {
    after(Duration{}, std::move(event));
  }
  template <class Event>
  void after(Duration delay, Event event) {
    group_world_.queue.after(delay, [this, life = life_, event = std::move(event)]() mutable {
      if (!up() || life_ != life) return;
      if (frozen()) return after(frozen_time_left(), std::move(event));
      event();
    });
  }
  [[nodiscard]] bool frozen() const { return group_world_.queue.now() < frozen_until_; }
  [[nodiscard]] Duration frozen_time_left() const {
    return frozen() ? frozen_until_ - group_world_.queue.now() : Duration{};
  }
  /// Everything of the process is let go. What it wrote stays as it is.
  virtual void end_process() = 0;
  /// The process ends; nobody has said what becomes of unsynced writes.
  void end_life();
  void fail(const std::string& why);
  /// The process could not start. Tried again; a disk that was damaged gets replaced.
  void could_not_start(const std::string& why);
  void started();
  /// One copy of it was damaged, and the other one was used.
  void superblock_was_mended();
  /// A record that is in the log cannot be read. @return with reason, in this world
  bool record_is_unreadable();
  /// How long a damaged disk is left to its node, once that has noticed it, before the operator acts.
  [[nodiscard]] virtual Duration repair_time() const { return {}; }
  /// The node has put everything that was on this disk out of the way.
  void log_was_set_aside();
  /// After end_process(), when the member said Restart.
  void cut_and_restart(const group::Restart& restart, const journal::JournalOptions& options);
  void start_after(Duration pause);

  void note(const journal::Record& record);
  /// The journal was opened and ends here.
  void recovered(Lsn end, const Uuid& incarnation);
  void heard_alarm(const std::string& why);
  /// The production member's options for a small world.
  [[nodiscard]] group::MemberOptions member_options(const Uuid& cluster) const;

  GroupWorld& group_world_;
  GroupRegister& register_;
  std::unique_ptr<MemoryDisk> disk_;
  DriftingClock clock_;
  SeededRandom random_;
  GroupChecker::DiskLog log_;
  std::vector<Epoch> epochs_;  ///< of the records in log_

 private:
  std::string machine_name_;
  struct Snapshot {
    DiskImage image;
    GroupChecker::DiskLog log;
    std::vector<Epoch> epochs;
    Uuid incarnation;
  };
  void replace_disk_when_possible(unsigned tries);

  std::vector<std::unique_ptr<MemoryDisk>> old_disks_;
  std::optional<Snapshot> snapshot_;
  std::string failed_start_;
  unsigned failed_starts_ = 0;
  Uuid incarnation_;
  std::uint64_t life_ = 0;
  Duration frozen_until_{};
};

}  // namespace mainstay::sim
