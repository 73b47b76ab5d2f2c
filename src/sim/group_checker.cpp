#include "sim/group_checker.h"

#include <algorithm>

#include "base/checksum.h"

namespace mainstay::sim {

void GroupChecker::disk(const Uuid& incarnation, const DiskLog* log) {
  if (log == nullptr)
    disks_.erase(incarnation);
  else
    disks_[incarnation] = log;
}

void GroupChecker::leads(Epoch epoch, const std::string& node, std::uint64_t life) {
  const auto [found, first] = leaders_.try_emplace(epoch, node, life);
  if (!first && found->second != std::pair(node, life))
    report_.violated("I1: epoch " + std::to_string(epoch.value) + " is led by " + found->second.first +
                     " in life " + std::to_string(found->second.second) + " and by " + node + " in life " +
                     std::to_string(life));
}

void GroupChecker::committed(const std::string& node, const DiskLog& log, Lsn lsn) {
  if (lsn.value > log.hashes.size()) {
    report_.violated(node + " says that LSN " + std::to_string(lsn.value) + " is committed and has it not");
    return;
  }
  for (std::uint64_t i = 0; i < lsn.value; ++i) {
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

void GroupChecker::registered(const coordination::GroupRecord& record) {
  if (record.epoch <= record_.epoch)
    report_.violated("the register's epoch went from " + std::to_string(record_.epoch.value) + " to " +
                     std::to_string(record.epoch.value));
  record_ = record;
  check_eligible("epoch " + std::to_string(record.epoch.value) + " begins");
}

void GroupChecker::check_eligible(const std::string& when) {
  for (const coordination::Member& member : record_.isr) {
    const auto found = disks_.find(member.incarnation);
    if (found == disks_.end()) continue;  // that disk is lost: nobody can lead with it
    const DiskLog& log = *found->second;
    const std::uint64_t end = acknowledged_end_.value;
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
  for (std::uint64_t i = after.value; i < log.hashes.size() && i < acknowledged_end_.value; ++i) {
    if (log.hashes[i] == history_[i]) {
      report_.violated("I5: " + node + " cuts LSN " + std::to_string(i + 1) + ", which was acknowledged");
      return;
    }
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
