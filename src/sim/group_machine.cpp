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
      machine_name_(std::move(name)) {
  if (clock_.drift_ppm() != 0) world.fault("clock drift");
}
GroupMachine::~GroupMachine() = default;

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
  options.promotes_itself = !group_world_.operator_promotes;
  if (older_release) options.packet_version = group::kPacketVersionOldest;
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
  damage.reset();
  snapshot_.reset();
  disk_full = false;
  group_world_.checker.disk(incarnation_, nullptr);
  old_disks_.push_back(std::move(disk_));
  disk_ = std::make_unique<MemoryDisk>(name() + "-" + std::to_string(life_));
  log_ = {};
  incarnation_ = {};
  start_after(pause);
}

void GroupMachine::log_was_set_aside() {
  damage.reset();
  snapshot_.reset();
  group_world_.checker.disk(incarnation_, nullptr);
  log_ = {};
  incarnation_ = {};
}

void GroupMachine::take_snapshot() {
  snapshot_ = Snapshot{image_of(*disk_), log_, epochs_, incarnation_};
  // What is written and not synced is not in it.
  snapshot_->log.hashes.resize(std::min<std::size_t>(log_.hashes.size(), log_.durable));
  snapshot_->epochs.resize(snapshot_->log.hashes.size());
}

void GroupMachine::restore_snapshot(Duration pause) {
  MS_ASSERT(snapshot_ && snapshot_->incarnation == incarnation_, "a snapshot is of this disk");
  stop(End::power_loss);
  ++life_;
  group_world_.checker.went_back(log_);
  old_disks_.push_back(std::move(disk_));
  disk_ = std::make_unique<MemoryDisk>(name() + "-" + std::to_string(life_));
  for (const auto& [path, content] : snapshot_->image) disk_->put(path, content);
  log_ = snapshot_->log;
  epochs_ = snapshot_->epochs;
  disk_full = false;
  start_after(pause);
}

void GroupMachine::started() {
  failed_starts_ = 0;
}

void GroupMachine::superblock_was_mended() {
  group_world_.reached("the superblock's second copy was used");
  if (damage && damage->of_superblock) damage.reset();
}

void GroupMachine::could_not_start(const std::string& why) {
  constexpr unsigned kFailedStartsMax = 20;
  group_world_.trace(name() + " cannot start: " + why);
  failed_start_ = why;
  disk_->kill();
  if (damage) {
    group_world_.reached("a damaged disk was refused");
    return replace_disk_when_possible(0);
  }
  if (disk_full) {
    group_world_.reached("a start waits for disk space");
  } else if (++failed_starts_ > kFailedStartsMax) {
    group_world_.report.violated(name() + " cannot start: " + why);
    return;
  }
  // A fault hit the start itself: try again.
  start_after(milliseconds(200));
}

/// The operator's part. The last disk in sync is given up by nobody: it is examined, and its bits come back.
void GroupMachine::replace_disk_when_possible(unsigned tries) {
  constexpr unsigned kTriesMax = 20;
  group_world_.queue.after(milliseconds(200), [this, tries, disk = disk_.get()] {
    if (disk != disk_.get() || !damage) return;
    if (may_be_replaced()) {
      group_world_.reached("a damaged disk was replaced");
      return lose_disk(group_world_.between(milliseconds(20), milliseconds(1'000)));
    }
    if (tries < kTriesMax) return replace_disk_when_possible(tries + 1);
    group_world_.reached("the last disk in sync was mended");
    undo(*disk_, *damage);
    damage.reset();
    if (!up()) start_after(Duration{});
  });
}

bool GroupMachine::record_is_unreadable() {
  if (damage) {
    group_world_.reached("a damaged record was noticed in service");
    if (repair_time() == Duration{}) {
      replace_disk_when_possible(0);
    } else if (!std::exchange(damage->noticed, true)) {
      group_world_.queue.after(repair_time(), [this, disk = disk_.get(), incarnation = incarnation_] {
        if (disk == disk_.get() && incarnation == incarnation_) replace_disk_when_possible(0);
      });
    }
  } else if (group_world_.reads_fail) {
    group_world_.reached("a read failed in service");
  }
  return damage || group_world_.reads_fail;
}

void GroupMachine::fail(const std::string& why) {
  group_world_.trace(name() + " fails: " + why);
  if (why.find("no space") != std::string::npos)
    group_world_.reached("fail-stop: disk full");
  else if (why.find("injected sync error") != std::string::npos)
    group_world_.reached("fail-stop: sync failed");
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
  if (world.disk_went_back && why.find("older copy of itself") != std::string::npos) {
    world.reached("a disk in sync that went back was noticed");
    return;
  }
  // Its own disk's, or, told by a leader, that of the leader.
  const bool of_reading =
      why.find("cannot look up") != std::string::npos || why.find("cannot read") != std::string::npos ||
      why.find("cannot be read") != std::string::npos || why.find("is damaged") != std::string::npos;
  if (of_reading && (record_is_unreadable() || world.disks_are_damaged)) {
    // It has stopped for good; a person looks, and starts it again.
    if (why.find("must be cut") != std::string::npos)
      world.queue.after(milliseconds(500), [this, life = life_] {
        if (up() && life_ == life) stop_and_restart(End::process_killed, milliseconds(100));
      });
    return;
  }
  // Nothing else in this world gives reason for one.
  world.report.violated("alarm at " + name() + ": " + why);
}

}  // namespace mainstay::sim
