#include "sim/group_checker.h"

#include <algorithm>

#include "base/checksum.h"

namespace mainstay::sim {

void GroupChecker::disk(const Uuid& incarnation, const DiskLog* log) {
  if (log != nullptr) {
    disks_[incarnation] = log;
    return;
  }
  const auto gone = disks_.find(incarnation);
  if (gone == disks_.end()) return;
  lost_.push_back(*gone->second);
  disks_.erase(gone);
}

void GroupChecker::leads(Epoch epoch, const std::string& node, std::uint64_t life) {
  const auto [found, first] = leaders_.try_emplace(epoch, node, life);
  if (!first && found->second != std::pair(node, life))
    report_.violated("I1: epoch " + std::to_string(epoch.value) + " is led by " + found->second.first +
                     " in life " + std::to_string(found->second.second) + " and by " + node + " in life " +
                     std::to_string(life));
}

void GroupChecker::committed(const std::string& node, const DiskLog& log, Lsn lsn, Lsn told) {
  if (lsn.value > log.hashes.size()) {
    report_.violated(node + " says that LSN " + std::to_string(lsn.value) + " is committed and has it not");
    return;
  }
  for (std::uint64_t i = told.value; i < lsn.value; ++i) {
    if (i == history_.size()) {
      history_.push_back(log.hashes[i]);
    } else if (history_[i] != log.hashes[i]) {
      report_.violated("I4: two histories are committed: " + node + " has another record at LSN " +
                       std::to_string(i + 1));
      return;
    }
  }
}

void GroupChecker::acknowledged(std::uint64_t operation, Lsn lsn, std::uint64_t hash) {
  if (lsn.value > history_.size() || history_[lsn.value - 1] != hash) {
    report_.violated("operation " + std::to_string(operation) +
                     " was acknowledged and is not in the committed history");
    return;
  }
  acknowledged_[operation] = lsn;
  acknowledged_end_ = std::max(acknowledged_end_, lsn);
  check_eligible("operation " + std::to_string(operation) + " is acknowledged");
}

void GroupChecker::shown(const std::string& node, const DiskLog& log, Lsn lsn) {
  if (lsn.value > history_.size() || lsn.value > log.durable ||
      history_[lsn.value - 1] != log.hashes[lsn.value - 1]) {
    report_.violated("R1: " + node + " showed what rests on LSN " + std::to_string(lsn.value) +
                     ", which is not in the committed history");
    return;
  }
  if (lsn <= acknowledged_end_) return;
  acknowledged_end_ = lsn;
  check_eligible("what rests on LSN " + std::to_string(lsn.value) + " is shown");
}

void GroupChecker::on_two_disks(const std::string& node, const DiskLog& log, Lsn lsn) {
  const auto has = [&](const DiskLog& other) {
    return lsn.value >= 1 && lsn.value <= other.durable && lsn.value <= log.hashes.size() &&
           other.hashes[lsn.value - 1] == log.hashes[lsn.value - 1];
  };
  const auto copies =
      std::count_if(disks_.begin(), disks_.end(), [&](const auto& entry) { return has(*entry.second); }) +
      std::count_if(lost_.begin(), lost_.end(), has);
  if (copies < 2)
    report_.violated("R11: " + node + " said that another node has LSN " + std::to_string(lsn.value) +
                     ", and " + std::to_string(copies) + " disk(s) have it");
}

void GroupChecker::on_all_eligible(const std::string& when, const DiskLog& log, Lsn lsn) {
  for (const coordination::Member& member : record_.isr) {
    const auto found = disks_.find(member.incarnation);
    if (found == disks_.end()) continue;  // that disk is lost: nobody can lead with it
    if (member.incarnation == excused_) continue;
    const DiskLog& other = *found->second;
    if (lsn.value > log.hashes.size() || lsn.value > other.durable ||
        other.hashes[lsn.value - 1] != log.hashes[lsn.value - 1]) {
      report_.violated("R1: when " + when + ", " + member.node + " may lead without LSN " +
                       std::to_string(lsn.value));
      return;
    }
  }
}

void GroupChecker::registered(const coordination::GroupRecord& record) {
  if (record.epoch <= record_.epoch)
    report_.violated("the register's epoch went from " + std::to_string(record_.epoch.value) + " to " +
                     std::to_string(record.epoch.value));
  record_ = record;
  if (excused_ && std::none_of(record_.isr.begin(), record_.isr.end(),
                               [&](const auto& member) { return member.incarnation == *excused_; }))
    excused_.reset();
  check_eligible("epoch " + std::to_string(record.epoch.value) + " begins");
}

void GroupChecker::check_eligible(const std::string& when) {
  for (const coordination::Member& member : record_.isr) {
    const auto found = disks_.find(member.incarnation);
    if (found == disks_.end()) continue;  // that disk is lost: nobody can lead with it
    const DiskLog& log = *found->second;
    const std::uint64_t end = acknowledged_end_.value;
    if (member.incarnation == excused_) {
      if (log.durable < end) continue;
      excused_.reset();
    }
    if (log.durable < end) {
      report_.violated("I2: when " + when + ", " + member.node + " may lead with LSN " +
                       std::to_string(log.durable) + " durable, and LSN " + std::to_string(end) +
                       " was acknowledged");
    } else if (end > 0 && log.hashes[end - 1] != history_[end - 1]) {
      report_.violated("I2: when " + when + ", " + member.node +
                       " may lead with another record at the acknowledged LSN " + std::to_string(end));
    }
  }
}

void GroupChecker::cut(const std::string& node, const DiskLog& log, Lsn after, bool in_quarantine) {
  if (!in_quarantine && log.hashes.size() > after.value)
    report_.violated(node + " cut records that are not in quarantine");
  check_eligible(node + " cuts its log");
  const bool may_lead = std::any_of(record_.isr.begin(), record_.isr.end(), [&](const auto& member) {
    const auto found = disks_.find(member.incarnation);
    return found != disks_.end() && found->second == &log;
  });
  // A node outside the set that was paused may still go by what a leader said that others have replaced
  // since. Whatever it has, nobody asks it; and what was acknowledged is on all that may lead.
  if (!may_lead) return;
  for (std::uint64_t i = after.value; i < log.hashes.size() && i < acknowledged_end_.value; ++i) {
    if (log.hashes[i] == history_[i]) {
      report_.violated("I5: " + node + " cuts LSN " + std::to_string(i + 1) + ", which was acknowledged");
      return;
    }
  }
}

void GroupChecker::removed(const std::string& node, const DiskLog& log, Lsn first) {
  for (const auto& [incarnation, other] : disks_) {
    if (other == &log) continue;
    // Hashes are of a chain: where they are equal, everything before is.
    std::uint64_t low = 0, high = std::min<std::uint64_t>(other->durable, log.hashes.size());
    while (low < high) {
      const std::uint64_t middle = low + (high - low + 1) / 2;
      if (other->hashes[middle - 1] == log.hashes[middle - 1])
        low = middle;
      else
        high = middle - 1;
    }
    if (first.value > low + 1)
      report_.violated("removal: " + node + "'s log begins at LSN " + std::to_string(first.value) +
                       " now, and another disk has only LSN " + std::to_string(low) + " in common with it");
  }
}

void GroupChecker::finish(const std::string& node, const DiskLog& log,
                          const std::map<std::uint64_t, std::uint64_t>& operations_by_lsn) {
  for (const auto& [operation, lsn] : acknowledged_) {
    const auto found = operations_by_lsn.find(lsn.value);
    if (found == operations_by_lsn.end() || found->second != operation ||
        log.hashes[lsn.value - 1] != history_[lsn.value - 1])
      report_.violated("operation " + std::to_string(operation) + " was acknowledged at LSN " +
                       std::to_string(lsn.value) + " and is not there on " + node);
  }
}

std::uint64_t GroupChecker::digest() const {
  std::uint64_t all = 0;
  for (const std::uint64_t hash : history_) all = mix64(all, hash);
  return all;
}

}  // namespace mainstay::sim
