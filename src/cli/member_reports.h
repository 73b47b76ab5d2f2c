// What nodes' disks remember of their group: from a data directory here, or from a file that was brought
// here.
#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "coordination/group_repair.h"

namespace mainstay::cli {

struct DirectoryReport {
  coordination::MemberReport report;
  Lsn committed;        ///< at least; stored now and then
  std::string damaged;  ///< one of the two copies of the superblock is not whole: which and why
};
/// Of a store that nodes share: what its current claim has, whichever node that is of, and the highest epoch
/// of any claim as seen: who took it and got no further had that from the register.
/// Changes nothing; safe beside a running node. Nothing: the directory has no superblock of a group, as that
/// of a node that never was in one.
[[nodiscard]] Result<std::optional<DirectoryReport>, Failure> read_member_directory(
    const std::string& directory, Clock& clock);

/// The output of `mainstay group status --json`, or its member "report" alone.
[[nodiscard]] Result<coordination::MemberReport, Failure> read_member_report(const std::string& file);

}  // namespace mainstay::cli
