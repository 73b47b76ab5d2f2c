// What the disk layer (shim/, preloaded into a process) and its control (faulty_disk.h) share: the page
// through which faults are asked for, and the files in the state directory that remember what is not durable.
//
//   page          DiskPage, mapped by both
//   undo-INODE    what that file held before each change since its last sync: UndoHeader and bytes, repeated
//   names         one line per change of a directory since its last sync, fields separated by tabs:
//                 NUMBER create PATH | rename FROM TO KEPT | unlink PATH KEPT | mkdir PATH | rmdir PATH
//                 NUMBER synced DIRECTORY: of this directory, everything up to that number is durable
//   kept-NUMBER   a link to a file that lost its last name in a way that is not durable yet
//
// Both sides are always built together; nothing of this outlives a drill.
#pragma once

#include <atomic>
#include <cstdint>

namespace mainstay::lab {

inline constexpr const char* disk_root_variable = "MAINSTAY_LAB_DISK_ROOT";
inline constexpr const char* disk_state_variable = "MAINSTAY_LAB_DISK_STATE";

struct DiskPage {
  // Asked for.
  std::atomic<std::uint64_t> stall_syncs, stall_writes;  ///< while not 0
  std::atomic<std::uint64_t> fail_syncs;                 ///< so many more syncs fail with EIO
  std::atomic<std::uint64_t> full;                       ///< while not 0, nothing grows: ENOSPC
  std::atomic<std::uint64_t> sync_delay_us;              ///< that a sync takes longer
  std::atomic<std::uint64_t> lying;  ///< while not 0, syncs succeed and make nothing durable
  // Told.
  std::atomic<std::uint64_t> attached;       ///< processes that had the layer
  std::atomic<std::uint64_t> writes, syncs;  ///< begun
  std::atomic<std::uint64_t> stalled;        ///< threads that wait now
  std::atomic<std::uint64_t> failed_syncs, refused_writes;
  std::atomic<std::uint64_t> broken;  ///< not 0: the layer itself could not do its work (errno)
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "the page is shared by two processes");

enum class UndoKind : std::uint32_t {
  change = 1,      ///< `bytes` old bytes from `offset` follow
  zeros = 2,       ///< they were all zero: nothing follows
  synced = 3,      ///< everything up to `number` is durable
  never_more = 4,  ///< a sync failed: what was not durable then, and all after it, will never be
};

struct UndoHeader {
  std::uint32_t magic{};
  UndoKind kind{};
  std::uint64_t number{};       ///< from 1, rising
  std::uint64_t offset{};       ///< first byte changed
  std::uint64_t bytes{};        ///< of the old content; less than what was changed where the file ended
  std::uint64_t size_before{};  ///< of the file
};
static_assert(sizeof(UndoHeader) == 40, "no padding");
inline constexpr std::uint32_t undo_magic = 0x6f646e75;

}  // namespace mainstay::lab
