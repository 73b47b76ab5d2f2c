// A directory that behaves like a disk in trouble, for one process at a time: it stalls, fails a sync, is
// full, is slow; and after the process was killed, what it had not synced can be taken away again, as if the
// machine had lost its power. The layer that does it is preloaded into the process (shim/hooks.cpp).
//
// What counts as durable is what POSIX promises and no more: bytes and length of a file after fsync or
// fdatasync of it succeeded; a name (created, renamed, removed) after fsync of its directory. A directory's
// names are lost in order, the newest first; so are no names that a later durable one needs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "lab/disk_format.h"

namespace mainstay::lab {

/// What is lost of that which was not durable.
struct Loss {
  /// true: everything. false: of each file's changed blocks a random half, old and new lengths alike, and of
  /// each directory's names a random number of the newest.
  bool everything = true;
  std::uint64_t block_bytes = 4096;  ///< 512 for a disk that tears pages
  std::uint64_t seed = 1;
};

struct TakenBack {
  std::uint64_t files = 0;  ///< whose content changed back
  std::uint64_t bytes = 0;  ///< that were not durable, in whole blocks
  std::uint64_t bytes_lost = 0;
  std::uint64_t names = 0, names_lost = 0;
};

struct DiskCounts {
  std::uint64_t writes = 0, syncs = 0, stalled = 0, failed_syncs = 0, refused_writes = 0;
};

/// Used by one thread; the process it disturbs may run or not.
class FaultyDisk {
 public:
  /// @param directory  existing: the disk. @param state  absent or empty, on the same file system, outside
  /// `directory`. @param layer  path of libmainstay_disk_layer.so, which is beside the programs.
  [[nodiscard]] static Result<std::unique_ptr<FaultyDisk>, Failure> create(const std::string& directory,
                                                                           const std::string& state,
                                                                           const std::string& layer);
  /// The layer that was built with the running program.
  [[nodiscard]] static std::string layer_beside_this_program();
  ~FaultyDisk();
  FaultyDisk(const FaultyDisk&) = delete;
  FaultyDisk& operator=(const FaultyDisk&) = delete;

  /// For Command::environment of the process that is to use this disk.
  [[nodiscard]] std::vector<std::string> environment() const;

  void stall_syncs(bool on) { page_->stall_syncs = on ? 1 : 0; }
  void stall_writes(bool on) { page_->stall_writes = on ? 1 : 0; }
  /// The next `count` syncs fail with EIO. What such a file had not made durable never will be.
  void fail_syncs(std::uint64_t count) { page_->fail_syncs = count; }
  /// Nothing grows any more: ENOSPC.
  void fill(bool on) { page_->full = on ? 1 : 0; }
  void slow_syncs(Duration by) { page_->sync_delay_us = static_cast<std::uint64_t>(by.ns / 1'000); }
  /// Syncs succeed and make nothing durable: what no software survives. To show that a loss is found.
  void lie(bool on) { page_->lying = on ? 1 : 0; }
  /// Nothing asked for any more, but a disk that lies goes on.
  void repair();
  [[nodiscard]] DiskCounts counts() const;

  /// Power was lost: to be called when the process is gone, before the next one starts. Repairs, too.
  /// @return fails when the layer missed something: then nothing that follows proves anything.
  [[nodiscard]] Result<TakenBack, Failure> take_back(const Loss& loss);

 private:
  FaultyDisk(std::string directory, std::string state, std::string layer, DiskPage* page);
  const std::string directory_, state_, layer_;
  DiskPage* const page_;
};

}  // namespace mainstay::lab
