// Nothing acknowledged is lost. After a forced promotion the unshipped tail may be: exactly what lies beyond
// the fork, by name, and none that was confirmed in both regions.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "sim/report.h"

namespace mainstay::sim {

class PublishChecker {
 public:
  explicit PublishChecker(Report& report) : report_(report) {}
  /// A client saw the acknowledgement of `id`, stored at `lsn` in the log of `term`.
  void acknowledged(const std::string& id, Lsn lsn, RegionTerm term);
  /// And it was told that the other region has it too: no promotion may lose it.
  void acknowledged_globally(const std::string& id) { global_.insert(id); }
  /// A client saw `id` leave the queue for good, or asked for it and never heard.
  void settled(const std::string& id) { ++settled_[id]; }
  /// `term` began by force at a log that ended at `last`.
  void forked(RegionTerm term, Lsn last) { forks_.emplace(term, last); }
  /// True when a record of `term` at `lsn` is beyond the fork of a later term.
  [[nodiscard]] bool beyond_a_fork(Lsn lsn, RegionTerm term) const;
  [[nodiscard]] bool any_fork() const { return !forks_.empty(); }
  /// At the end, with the queues drained.
  void finish();

 private:
  struct Ack {
    Lsn lsn;
    RegionTerm term;
  };
  Report& report_;
  std::map<std::string, std::vector<Ack>> acknowledged_;
  std::map<std::string, int> settled_;
  std::set<std::string> global_;
  std::map<RegionTerm, Lsn> forks_;
};

}  // namespace mainstay::sim
