// The machine's disk: base/disk.h on POSIX calls, below one root directory.
#pragma once

#include <memory>
#include <string>

#include "base/disk.h"

namespace mainstay::io {

/// Thread-safe; the thread rule of each File is the one of base/disk.h. Every call is repeated when a signal
/// interrupts it. An error names operation, absolute path and the system's reason.
///
/// Durability: sync() is fdatasync, which also makes a changed length durable; sync_directory() is fsync on
/// the directory. preallocate() allocates (fallocate where the file system can) and then really writes zeros:
/// overwriting written blocks needs no metadata, so a later fdatasync has only data to wait for.
///
/// read_fresh() asks the page cache where the kernel keeps it coherent (file systems of one machine, GFS2,
/// OCFS2, CephFS), and reads past it (O_DIRECT) everywhere else: over NFS each call is a READ that the server
/// answers.
class PosixDisk final : public Disk {
 public:
  /// @param root  an existing directory (`not_found` otherwise); made absolute, so that a later change of the
  /// working directory does not matter.
  /// @param cache  whether read_fresh() may be answered by this machine's page cache
  enum class Cache : std::uint8_t { as_the_file_system_is, never };
  [[nodiscard]] static Result<std::unique_ptr<PosixDisk>, DiskError> open(
      const std::string& root, Cache cache = Cache::as_the_file_system_is);

  Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override;
  Result<std::vector<std::string>, DiskError> list(const std::string& directory) override;
  Result<void, DiskError> rename(const std::string& from, const std::string& to) override;
  Result<void, DiskError> remove(const std::string& path) override;
  Result<void, DiskError> link(const std::string& from, const std::string& to) override;
  Result<void, DiskError> remove_directory(const std::string& path) override;
  Result<void, DiskError> make_directory(const std::string& path) override;
  Result<void, DiskError> sync_directory(const std::string& path) override;
  Result<std::uint64_t, DiskError> free_bytes() override;
  /// A lock on the open file (F_OFD_SETLK): it ends with the process, whatever the process dies of, and also
  /// keeps out a second holder inside the same process. The holder's pid is in the file and in the message.
  Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override;
  std::string describe(const std::string& path) const override;

 private:
  PosixDisk(std::string root, Cache cache) : root_(std::move(root)), cache_(cache) {}
  const std::string root_;
  const Cache cache_;
};

}  // namespace mainstay::io
