// What disks do without being asked: bits rot, a write lands elsewhere. Only what the product can notice: a
// record that nothing else on the disk vouches for (no mark, no later segment) cannot be told from one that
// was never made durable, and its loss needs the other copies (docs/fault-coverage.md).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/memory_disk.h"

namespace mainstay::sim {

struct Damage {
  struct Place {
    std::string path;
    std::uint64_t offset{};
    Buffer before, after;
  };
  std::vector<Place> places;
  bool of_superblock = false;
  bool noticed = false;  ///< in service
};

/// A bit of a record that was durable is another one. @param up_to  no record behind it; nothing when there
/// is none.
[[nodiscard]] std::optional<Damage> rot_a_record(MemoryDisk& disk, Random& random, Lsn up_to);
/// A record that was durable stands somewhere else, over what was there, and not where it should.
[[nodiscard]] std::optional<Damage> misdirect_a_write(MemoryDisk& disk, Random& random, Lsn up_to);
/// A bit of one copy of the group's superblock; nothing unless both copies are whole and durable.
[[nodiscard]] std::optional<Damage> rot_a_superblock(MemoryDisk& disk, Random& random);
/// The bits are as they were, where nothing else was written since.
void undo(MemoryDisk& disk, const Damage& damage);

/// Everything that is durable, by path.
using DiskImage = std::vector<std::pair<std::string, Buffer>>;
[[nodiscard]] DiskImage image_of(const MemoryDisk& disk);

}  // namespace mainstay::sim
