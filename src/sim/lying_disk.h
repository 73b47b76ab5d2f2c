// A disk that can be told to claim durability it does not give: the canary for everything that rests on sync.
#pragma once

#include <memory>
#include <utility>

#include "base/disk.h"

namespace mainstay::sim {

class LyingDisk final : public Disk {
 public:
  explicit LyingDisk(Disk& of) : of_(of) {}
  /// While true, File::sync() does nothing and says it succeeded.
  bool lies = false;

  Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override {
    auto file = of_.open(path, mode);
    if (!file) return file.error();
    return std::unique_ptr<File>(new LyingFile(*this, std::move(*file)));
  }
  Result<std::vector<std::string>, DiskError> list(const std::string& directory) override {
    return of_.list(directory);
  }
  Result<void, DiskError> rename(const std::string& from, const std::string& to) override {
    return of_.rename(from, to);
  }
  Result<void, DiskError> remove(const std::string& path) override { return of_.remove(path); }
  Result<void, DiskError> make_directory(const std::string& path) override {
    return of_.make_directory(path);
  }
  Result<void, DiskError> sync_directory(const std::string& path) override {
    return of_.sync_directory(path);
  }
  Result<std::uint64_t, DiskError> free_bytes() override { return of_.free_bytes(); }
  Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override {
    return of_.lock(path);
  }
  std::string describe(const std::string& path) const override { return of_.describe(path); }

 private:
  class LyingFile final : public File {
   public:
    LyingFile(const LyingDisk& disk, std::unique_ptr<File> of) : disk_(disk), of_(std::move(of)) {}
    Result<std::size_t, DiskError> read(std::uint64_t offset, std::span<std::byte> into) override {
      return of_->read(offset, into);
    }
    Result<void, DiskError> write(std::uint64_t offset, BytesView from) override {
      return of_->write(offset, from);
    }
    Result<void, DiskError> sync() override {
      if (disk_.lies) return {};
      return of_->sync();
    }
    Result<std::uint64_t, DiskError> size() override { return of_->size(); }
    Result<void, DiskError> truncate(std::uint64_t bytes) override { return of_->truncate(bytes); }
    Result<void, DiskError> preallocate(std::uint64_t bytes) override { return of_->preallocate(bytes); }

   private:
    const LyingDisk& disk_;
    std::unique_ptr<File> of_;
  };
  Disk& of_;
};

}  // namespace mainstay::sim
