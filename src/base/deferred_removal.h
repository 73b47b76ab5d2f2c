// A disk whose removed files leave their place at once and the device later, when somebody has time for it.
//
// Giving a file's blocks back can keep the device busy: where freed blocks are discarded as they are freed,
// one small file has kept every sync beside it waiting for half a second. So remove() only renames, into a
// directory of its own, and release() removes one of those files for good.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/disk.h"

namespace mainstay {

/// As thread-safe as the disk it wraps. A remove() and what a crash may make of it are as on that disk:
/// durable after sync_directory() of the parent; of the kept files none ever comes back under its own name.
class DeferredRemoval final : public Disk {
 public:
  static constexpr const char* kDirectory = "removed";

  /// Takes over what an earlier life left in kDirectory.
  [[nodiscard]] static Result<std::unique_ptr<DeferredRemoval>, DiskError> open(std::unique_ptr<Disk> disk);

  Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override {
    return disk_->open(path, mode);
  }
  Result<std::vector<std::string>, DiskError> list(const std::string& directory) override {
    return disk_->list(directory);
  }
  Result<void, DiskError> rename(const std::string& from, const std::string& to) override {
    return disk_->rename(from, to);
  }
  /// Where the file cannot be kept it is removed at once.
  Result<void, DiskError> remove(const std::string& path) override;
  Result<void, DiskError> link(const std::string& from, const std::string& to) override {
    return disk_->link(from, to);
  }
  Result<void, DiskError> remove_directory(const std::string& path) override {
    return disk_->remove_directory(path);
  }
  Result<void, DiskError> make_directory(const std::string& path) override {
    return disk_->make_directory(path);
  }
  Result<void, DiskError> sync_directory(const std::string& path) override {
    return disk_->sync_directory(path);
  }
  Result<std::uint64_t, DiskError> free_bytes() override { return disk_->free_bytes(); }
  Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override {
    return disk_->lock(path);
  }
  std::string describe(const std::string& path) const override { return disk_->describe(path); }

  /// Removes the file that was kept longest. One that cannot be removed is not tried again in this life.
  /// @return false when there was none.
  [[nodiscard]] Result<bool, DiskError> release();
  /// Of the kept files, the length of each counted as at least one block. Any thread.
  [[nodiscard]] std::uint64_t kept_bytes() const { return bytes_.load(std::memory_order_acquire); }

 private:
  explicit DeferredRemoval(std::unique_ptr<Disk> disk) : disk_(std::move(disk)) {}
  struct Kept {
    std::string path;
    std::uint64_t bytes{};
  };
  [[nodiscard]] Result<std::uint64_t, DiskError> length_of(const std::string& path);

  std::unique_ptr<Disk> disk_;
  std::mutex mutex_;
  std::deque<Kept> kept_;          // guarded by mutex_
  std::uint64_t next_number_ = 1;  // guarded by mutex_
  std::atomic<std::uint64_t> bytes_{0};
};

}  // namespace mainstay
