// What everything in one simulation of a group shares: the nodes of a region that hold copies of one log,
// their register and their clients.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "sim/group_bugs.h"
#include "sim/group_checker.h"
#include "sim/world.h"

namespace mainstay::sim {

struct GroupOptions {
  std::uint64_t seed = 1;
  std::uint64_t operations = 60;  ///< for clients to have acknowledged
  /// Members and their journals only, without a broker: ten times as fast, and what goes wrong there is
  /// smaller to look at.
  bool members_only = false;
  AnyBug bug{};
  bool trace = false;  ///< tell on standard error what happens
  FaultChoice faults{};
};

struct GroupWorld : World {
  explicit GroupWorld(const GroupOptions& with)
      : World(Options{
            .seed = with.seed, .operations = with.operations, .trace = with.trace, .faults = with.faults}),
        bug(with.bug),
        members_only(with.members_only),
        checker(report) {
    far = broker::Durability::region;
  }

  AnyBug bug;
  bool members_only;
  GroupChecker checker;
  /// Drawn: no node removes segments, so that a new disk can have all of the log.
  bool whole_logs = true;
  /// Drawn: nodes remove what others may lack, and a full copy brings those back.
  bool full_copies = false;
  /// What a copy holds, by LSN - 1, under the hash of its last record.
  struct Copied {
    std::vector<std::uint64_t> hashes;
    std::vector<Epoch> epochs;
  };
  std::map<std::uint64_t, Copied> copied;
  unsigned copies_min = 1;             ///< drawn
  bool operator_promotes = false;      ///< no node promotes itself
  bool register_was_put_back = false;  ///< and not repaired yet
  bool reads_fail = false;             ///< some did, somewhere: alarms may say so
  bool disks_are_damaged = false;      ///< one was, somewhere: as well
  bool disk_went_back = false;         ///< one in sync did: its leader may say so
  /// Nodes may say so: answers from before a repair may arrive later, at nodes that were paused.
  Duration put_back_told_until{};
};

}  // namespace mainstay::sim
