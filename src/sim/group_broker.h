// The second stage's node: the production replica with the broker in it, a member of its group, on a virtual
// disk and clock, driven as the real node drives it (node/node_group.cpp): the same order of calls, the same
// restarts, checkpoints and removals.
#pragma once

#include <memory>
#include <string>

#include "group/log_repair.h"
#include "replica/recover.h"
#include "sim/broker_host.h"
#include "sim/group_copy.h"
#include "sim/group_machine.h"

namespace mainstay::sim {

class GroupBroker final : public GroupMachine, public BrokerHost {
 public:
  /// @param others  names of the group's other nodes
  GroupBroker(GroupWorld& world, GroupRegister& group_register, std::string name,
              std::vector<std::string> others);
  ~GroupBroker() override;

  [[nodiscard]] bool up() const override { return replica_ != nullptr; }
  [[nodiscard]] std::uint64_t life() const override { return GroupMachine::life(); }
  [[nodiscard]] const group::Member& member() const override { return *replica_->member(); }
  [[nodiscard]] bool serving() const override;
  [[nodiscard]] Duration frozen_for() const override { return frozen_time_left(); }

  void start() override;
  void connected(PeerId peer, const std::string& dialled) override;
  void packet(PeerId from, Buffer bytes) override;
  void disconnected(PeerId peer) override;
  bool hand_over(const std::string& to) override;
  bool promote() override;
  /// Everything in the log is committed, durable and applied, as far as this node knows.
  [[nodiscard]] bool quiet() const;

 private:
  void end_process() override;
  void try_start();
  void step() override;
  void handle_outputs();
  void act(replica::Output& output);
  void act_in_group(replica::Output& output);
  void tell_checkers();
  void apply_received();
  void start_write();
  void wrote();
  void restart_in_group(const group::Restart& restart);
  void restart_when_quiet();
  void tick();
  void review_fence();
  void leave_clients();
  void maintain();
  void maintain_checkpoint();
  void check_epochs(Lsn checkpoint);
  [[nodiscard]] Result<void, Failure> install_copy();
  void disk_was_copied(const journal::LogPosition& end);
  [[nodiscard]] GroupCopy::Host copy_host();
  void could_not_start(const std::string& why);
  /// An input of the member, unless it is over.
  template <class Input>
  void feed(Input input) {
    soon([this, input = std::move(input)] {
      if (restart_) return;
      if (guarded(input)) step();
    });
  }
  /// The log cannot be read from here on: read again, and if that is so the production's log_repair decides.
  void unreadable(Lsn first, std::size_t bytes, int failed = 1);
  void repair_log();
  [[nodiscard]] bool set_log_aside(const group::Superblock& block);
  [[nodiscard]] Duration repair_time() const override { return seconds(12); }
  void page_lost(const std::string& why) override;
  bool record_lost(Lsn lsn) override {
    unreadable(lsn, 0);
    return record_is_unreadable();
  }
  void later(Duration delay, std::function<void()> event) override;
  [[nodiscard]] Instant now() override { return clock_.now(); }
  [[nodiscard]] WallTime wall() override { return clock_.wall(); }
  [[nodiscard]] bool refuses_publishes() override;
  [[nodiscard]] bool confirms_far() const override { return copies_min_ > 1; }
  void shown(Lsn after) override;
  void shown_far(Lsn after) override;
  [[nodiscard]] bool may_deliver() override;

  std::vector<std::string> others_;
  broker::StateLimits limits_;  ///< of every life; for half of the nodes a few pages
  bool cleans_;                 ///< half of the nodes; moves what is older than a few records
  unsigned copies_min_ = 1;

  bool stepping_ = false, writing_ = false, stalled_ = false, fenced_ = false;
  Instant write_begun_;
  replica::Replica::PendingWrite pending_;
  std::optional<journal::Batch> received_;  ///< acknowledged, to be applied
  std::optional<group::Restart> restart_;   ///< the member is over; when the writer has ended, this is done
  std::optional<replica::Replica::Checkpoint> checkpoint_;  ///< sealed, not stored yet
  Lsn keep_from_;                                           ///< as it was when the checkpoint was made
  Lsn told_committed_;
  Epoch told_epoch_;
  Lsn first_led_;            ///< the first record of this life's leadership; 0 = none ordered
  Duration last_contact_{};  ///< true time of a word of a peer or of the register, as the process took it
  std::uint64_t loads_seen_ = 0;
  Epoch written_epoch_;
  std::unique_ptr<GroupCopy> copy_;
  bool install_copy_ = false;  ///< before the next start
  group::LogRepair repair_;
  bool doubted_ = false;        ///< a part of the log is being read again
  bool set_aside_due_ = false;  ///< before the next start
};

}  // namespace mainstay::sim
