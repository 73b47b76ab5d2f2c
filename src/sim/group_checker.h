// What must hold in a group whatever happens, told by what was acknowledged and what lies on disks. Knows
// nothing of the code it checks.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "coordination/group_record.h"
#include "sim/report.h"

namespace mainstay::sim {

class GroupChecker {
 public:
  explicit GroupChecker(Report& report) : report_(report) {}

  /// What a disk holds, by LSN: records' hashes; `durable` = how many of them survive anything but the loss
  /// of the disk. The checker keeps a reference.
  struct DiskLog {
    std::vector<std::uint64_t> hashes;
    std::uint64_t durable = 0;
  };
  /// A disk with its incarnation is there from now on, or (null) gone for good.
  void disk(const Uuid& incarnation, const DiskLog* log);
  /// A disk is about to be put back to an older copy of itself; this is what it held.
  void went_back(const DiskLog& log) { lost_.push_back(log); }

  /// A disk of the in-sync set went back behind what it had acknowledged, under a leader that has it: it
  /// lacks that until it was dropped, or has it again.
  void excuse(const Uuid& incarnation) { excused_ = incarnation; }
  /// I1: an epoch is led by one life of one node.
  void leads(Epoch epoch, const std::string& node, std::uint64_t life);
  /// A node says that everything up to `lsn` is committed. I4: there is one committed history.
  /// @param told  what it said before, in this life
  void committed(const std::string& node, const DiskLog& log, Lsn lsn, Lsn told = {});
  /// A client was told that its operation is safe.
  void acknowledged(std::uint64_t operation, Lsn lsn, std::uint64_t hash);
  /// Something that rests on this record, in this log, was shown to a client: as acknowledged().
  void shown(const std::string& node, const DiskLog& log, Lsn lsn);
  /// A client was told that another node has the record, too. Disks that were lost since count.
  void on_two_disks(const std::string& node, const DiskLog& log, Lsn lsn);
  /// Every disk that may lead now has this record, durably.
  void on_all_eligible(const std::string& when, const DiskLog& log, Lsn lsn);
  /// The register's record has changed. I2 is looked at after this and after each acknowledgement.
  void registered(const coordination::GroupRecord& record);
  /// I5: what was acknowledged is not cut from a disk that may lead.
  void cut(const std::string& node, const DiskLog& log, Lsn after, bool in_quarantine);
  /// I2, now: every disk that may lead holds what was acknowledged, durably.
  void check_eligible(const std::string& when);

  /// A node's log begins at `first` now: every other disk must be able to go on from what it has in common
  /// with it.
  void removed(const std::string& node, const DiskLog& log, Lsn first);

  /// After the end: what a client was told is in this log.
  void finish(const std::string& node, const DiskLog& log,
              const std::map<std::uint64_t, std::uint64_t>& operations_by_lsn);
  [[nodiscard]] std::uint64_t acknowledged_count() const { return acknowledged_.size(); }
  /// The register's last record, whatever it was put back to since.
  [[nodiscard]] const coordination::GroupRecord& record() const { return record_; }
  [[nodiscard]] Epoch registered_epoch() const { return record_.epoch; }
  [[nodiscard]] std::uint64_t digest() const;

 private:
  Report& report_;
  std::map<Uuid, const DiskLog*> disks_;
  std::vector<DiskLog> lost_;
  std::optional<Uuid> excused_;
  std::map<Epoch, std::pair<std::string, std::uint64_t>> leaders_;
  std::vector<std::uint64_t> history_;  ///< committed, by LSN − 1
  std::map<std::uint64_t, Lsn> acknowledged_;
  Lsn acknowledged_end_{};
  coordination::GroupRecord record_;  ///< epoch 0: none yet
};

}  // namespace mainstay::sim
