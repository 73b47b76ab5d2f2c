// Files that wait to become segments: new ones, and segments that are no longer needed. Private
// to the room.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "journal/journal.h"
#include "journal/segment.h"

namespace mainstay::journal {

/// Thread-safe; making and recycling do their I/O outside of the mutex, on the caller's thread. A spare given
/// out is durable under its name. An error `sync_failed` means that nothing may be written any more.
class SpareFiles {
 public:
  SpareFiles(Disk& disk, std::string directory) : disk_(disk), directory_(std::move(directory)) {}
  void start(std::vector<Spare> spares, std::uint64_t next_number);

  /// A new file of any length: written with zeros, or only allocated (CatchUp).
  Result<Spare, JournalError> make(std::uint64_t bytes, bool zeros);
  /// Renames a file that was a segment, whose records nobody needs or reads any more. Overwriting it costs no
  /// more than overwriting zeros, and zeros need not be written first.
  Result<Spare, JournalError> recycle(const std::string& path, std::uint64_t bytes);
  Result<void, JournalError> remove(const Spare& spare);

  void put(Spare spare);
  /// Of those put: only allocated.
  [[nodiscard]] std::size_t unwritten() const { return unwritten_.load(std::memory_order_acquire); }
  /// Takes one of them away.
  [[nodiscard]] std::optional<Spare> take_unwritten();
  /// They are as good as any from now on.
  void accept_unwritten();
  /// There must be one (asserted).
  Spare take();
  [[nodiscard]] std::size_t count() const { return count_.load(std::memory_order_acquire); }
  [[nodiscard]] std::uint64_t file_bytes() const;

 private:
  std::string next_path();
  void counted();
  Disk& disk_;
  const std::string directory_;
  std::atomic<std::uint64_t> next_number_{1};
  std::atomic<std::size_t> count_{0}, unwritten_{0};
  mutable std::mutex mutex_;
  std::vector<Spare> spares_;
};

}  // namespace mainstay::journal
