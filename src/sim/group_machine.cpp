#include "sim/group_machine.h"

#include <utility>

#include "base/assert.h"
#include "journal/cut.h"

namespace mainstay::sim {

GroupMachine::GroupMachine(GroupWorld& world, GroupRegister& group_register, std::string name)
    : group_world_(world),
      register_(group_register),
      disk_(std::make_unique<MemoryDisk>(name)),
      clock_(world.queue, static_cast<std::int64_t>(world.random.below(401)) - 200),
      random_(world.random.next()),
      machine_name_(std::move(name)) {}
GroupMachine::~GroupMachine() = default;

void GroupMachine::after(Duration delay, std::function<void()> event) {
  group_world_.queue.after(delay, [this, event = std::move(event), life = life_] {
    if (!up() || life_ != life) return;
    if (frozen()) {
      after(frozen_time_left(), event);
      return;
    }
    event();
  });
}

void GroupMachine::freeze(Duration time) {
  // Not longer when it is frozen already: what waits for the end would come behind what arrives later.
  if (!frozen()) frozen_until_ = group_world_.queue.now() + time;
}

void GroupMachine::note(const journal::Record& record) {
  MS_ASSERT(record.header.lsn.value == log_.hashes.size() + 1, "records are noted in order");
  log_.hashes.push_back(record.header.checksum);
  epochs_.resize(log_.hashes.size());
  epochs_.back() = record.header.epoch;
}

void GroupMachine::recovered(Lsn end, const Uuid& incarnation) {
  if (end.value < log_.durable) group_world_.report.violated(name() + " has lost what it had synced");
  log_.durable = end.value;
  log_.hashes.resize(end.value);
  incarnation_ = incarnation;
  group_world_.checker.disk(incarnation_, &log_);
}

group::MemberOptions GroupMachine::member_options(const Uuid& cluster) const {
  group::MemberOptions options;
  options.cluster = cluster;
  options.self = {name(), incarnation_};
  options.may_create = true;
  options.ship_bytes_max = 2'048;
  options.ship_ahead_bytes_max = 8'192;
  return options;
}

void GroupMachine::end_life() {
  ++life_;
  end_process();
  frozen_until_ = {};
}

void GroupMachine::stop(End how) {
  if (!up()) return;
  end_life();
  if (how == End::power_loss)
    disk_->crash(group_world_.random);
  else
    disk_->kill();
}

void GroupMachine::start_after(Duration pause) {
  group_world_.queue.after(pause, [this, life = life_] {
    if (!up() && life_ == life) {
      ++life_;
      start();
    }
  });
}

void GroupMachine::stop_and_restart(End how, Duration pause) {
  stop(how);
  start_after(pause);
}

void GroupMachine::lose_disk(Duration pause) {
  stop(End::power_loss);
  ++life_;
  group_world_.checker.disk(incarnation_, nullptr);
  old_disks_.push_back(std::move(disk_));
  disk_ = std::make_unique<MemoryDisk>(name() + "-" + std::to_string(life_));
  log_ = {};
  incarnation_ = {};
  start_after(pause);
}

void GroupMachine::fail(const std::string& why) {
  group_world_.trace(name() + " fails: " + why);
  stop_and_restart(End::process_killed, milliseconds(300));
}

void GroupMachine::cut_and_restart(const group::Restart& restart, const journal::JournalOptions& options) {
  const group::Restart what = restart;
  end_life();
  disk_->kill();
  if (what.cut) {
    group_world_.reached("log cut at rejoin");
    const auto cut = journal::cut_after(*disk_, "", options, random_, *what.cut);
    if (!cut) {
      group_world_.trace(name() + " cannot cut: " + cut.error().what);
      if (cut.error().code == journal::JournalErrorCode::below_checkpoint)
        group_world_.report.violated(name() + " cannot take back what it must: " + cut.error().what);
    } else {
      group_world_.checker.cut(name(), log_, what.cut->lsn, !cut->quarantine_file.empty());
      log_.durable = std::min(log_.durable, what.cut->lsn.value);
    }
    disk_->kill();
  }
  start_after(milliseconds(20));
}

void GroupMachine::heard_alarm(const std::string& why) {
  GroupWorld& world = group_world_;
  world.trace(name() + " ALARM " + why);
  const bool told = world.register_was_put_back || world.queue.now() < world.put_back_told_until;
  if (told && why.find("put back") != std::string::npos) {
    world.reached("a register that was put back was noticed");
    return;
  }
  // Nothing else in this world gives reason for one.
  world.report.violated("alarm at " + name() + ": " + why);
}

}  // namespace mainstay::sim
