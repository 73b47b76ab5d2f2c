// What a node has promised and must remember whatever happens to the process: two checksummed copies beside
// the journal. Both are written at each store, one after the other, so that damage of either never takes a
// promise back, and a crash at any moment leaves one that is whole. Format: docs/formats/superblock.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/disk.h"
#include "base/ids.h"
#include "base/result.h"
#include "coordination/group_record.h"
#include "group/epoch_table.h"

namespace mainstay::group {

struct Superblock {
  std::uint64_t generation{};  ///< counts writes; the copy with the higher one counts
  Uuid cluster;
  std::string node;  ///< ≤ 255 bytes
  Uuid incarnation;  ///< of the disk: the journal's
  /// R2: nothing is acknowledged, and nobody followed, in an epoch below. Durable before it is acted on.
  Epoch promised{};
  /// Highest epoch that the register or a leader has shown: a register that shows less was put back.
  Epoch seen{};
  /// Known to be committed up to here, written now and then: what is below must never be cut.
  Lsn committed{};
  /// Of the log. Store a block with the shortened table after the log was cut and before it grows again, and
  /// before a checkpoint lets recovery pass over the beginning of an epoch.
  EpochTable epochs;
  /// The register's last record, as far as this node believed it, stored now and then: nothing is decided
  /// from it, but an operator who must repair the register finds here what it said. At most 2,048 bytes of
  /// text, else it is left out.
  std::optional<coordination::GroupRecord> record;
  friend bool operator==(const Superblock&, const Superblock&) = default;
};

/// The newer whole copy of `directory`/superblock.0 and .1. Nothing when neither file exists: a new disk. One
/// damaged copy is passed over (`damaged` then says so); two, or one and no other, are an error, never a new
/// disk.
struct LoadedSuperblock {
  std::optional<Superblock> block;
  std::string damaged;
};
/// Changes nothing. What it returns need not be durable: only load_superblock()'s may be acted on.
[[nodiscard]] Result<LoadedSuperblock, Failure> read_superblock(Disk& disk, const std::string& directory);
/// Reads and stores again, under the next generation, which is then in the block: a process killed inside
/// store_superblock() may leave a copy that can be read and is not durable. Repairs a damaged copy.
[[nodiscard]] Result<LoadedSuperblock, Failure> load_superblock(Disk& disk, const std::string& directory);

/// Writes and syncs the copy that the lowest bit of `block.generation` names, then the other one.
/// `block.generation` is one more than the one loaded or stored last (1 on a new disk). Durable when it
/// returns; after an error what is durable is unknown: load again, or end.
[[nodiscard]] Result<void, Failure> store_superblock(Disk& disk, const std::string& directory,
                                                     const Superblock& block);

}  // namespace mainstay::group
