// Segments that nobody needs any more, on their way back to the file system. Private to the room.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "base/disk.h"
#include "journal/journal.h"

namespace mainstay::journal {

struct DiscardedFile {
  std::string path;
  std::uint64_t bytes{};
  /// As it was as a segment of this life: it can still become a spare.
  bool whole = false;
};

/// A file leaves the log under another name first, durably; then its length may change, a piece at a time
/// from its end. A crash in between leaves a file that the next start finds by its name, whatever is left of
/// it. One thread, but for what says "any thread". Errors are those of the journal's other files:
/// `sync_failed` is final.
class DiscardedFiles {
 public:
  DiscardedFiles(Disk& disk, std::string directory) : disk_(disk), directory_(std::move(directory)) {}
  /// What an earlier life left.
  void start(std::vector<DiscardedFile> files);
  /// @pre no reader holds the segment.
  Result<void, JournalError> add(const std::string& path, std::uint64_t bytes);
  /// Cuts up to `step_bytes` off one file, and removes it once nothing is left. @pre not empty()
  Result<void, JournalError> release(std::uint64_t step_bytes);
  /// Hands the newest one back that is whole and so long: its blocks are written. Empty when there is none.
  std::string take_whole(std::uint64_t bytes);
  /// Any thread.
  [[nodiscard]] bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  [[nodiscard]] std::uint64_t file_bytes() const { return bytes_.load(std::memory_order_acquire); }

 private:
  Disk& disk_;
  const std::string directory_;
  std::deque<DiscardedFile> files_;
  std::unique_ptr<File> open_;  // the first of files_, once it was cut
  std::atomic<std::size_t> count_{0};
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace mainstay::journal
