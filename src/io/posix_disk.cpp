#include "io/posix_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "base/assert.h"

namespace mainstay::io {
namespace {

DiskError system_error(const char* operation, const std::string& path, int reason) {
  DiskErrorCode code = DiskErrorCode::io;
  switch (reason) {
    case ENOENT:
      code = DiskErrorCode::not_found;
      break;
    case EEXIST:
      code = DiskErrorCode::exists;
      break;
    case ENOSPC:
    case EDQUOT:
      code = DiskErrorCode::no_space;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = DiskErrorCode::permission;
      break;
    default:
      break;
  }
  return {code,
          std::string("cannot ") + operation + " " + path + ": " + std::generic_category().message(reason)};
}

/// Repeats a call that a signal interrupted.
template <class Call>
auto retry(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }

 private:
  int fd_;
};

Descriptor open_descriptor(const std::string& path, int flags) {
  return Descriptor(retry([&] { return ::open(path.c_str(), flags | O_CLOEXEC, 0640); }));
}

/// Whether a read through the page cache is as new as the last write of any machine that may use the file
/// system. Numbers: statfs(2).
bool keeps_cache_coherent(std::uint64_t type) {
  static constexpr std::array<std::uint64_t, 12> kTypes = {
      0xef53,     0x58465342, 0x9123683e,
      0x01021994, 0x794c7630, 0xf2f52010,  // ext, XFS, btrfs, tmpfs, overlay, F2FS
      0x2fc12fc1, 0x52654973, 0x01161970,
      0x7461636f, 0x00c36400, 0x858458f6,  // ZFS, reiser, GFS2, OCFS2, Ceph, ramfs
  };
  return std::find(kTypes.begin(), kTypes.end(), type & 0xffffffff) != kTypes.end();
}

class PosixFile final : public File {
 public:
  PosixFile(Descriptor fd, std::string path, PosixDisk::Cache cache)
      : fd_(std::move(fd)), path_(std::move(path)) {
    if (cache == PosixDisk::Cache::never) coherent_ = false;
  }

  Result<std::size_t, DiskError> read(std::uint64_t offset, std::span<std::byte> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const ssize_t got = retry([&] {
        return ::pread(fd_.get(), into.data() + done, into.size() - done, static_cast<off_t>(offset + done));
      });
      if (got < 0) return system_error("read", path_, errno);
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return done;
  }

  Result<std::optional<std::size_t>, DiskError> read_if_cached(std::uint64_t offset,
                                                               std::span<std::byte> into) override {
    std::size_t done = 0;
    while (done < into.size()) {
      const iovec rest{into.data() + done, into.size() - done};
      const ssize_t got = retry(
          [&] { return ::preadv2(fd_.get(), &rest, 1, static_cast<off_t>(offset + done), RWF_NOWAIT); });
      if (got < 0) {
        // A file system that cannot tell counts as one that waits.
        if (errno == EAGAIN || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
          return std::optional<std::size_t>();
        }
        return system_error("read", path_, errno);
      }
      if (got == 0) break;
      done += static_cast<std::size_t>(got);
    }
    return std::optional(done);
  }

  /// What is in the page cache comes from there, the rest past it.
  Result<std::size_t, DiskError> read_once(std::uint64_t offset, std::span<std::byte> into) override {
    const auto cached = read(offset, into.first(cached_bytes(offset, into.size())));
    if (!cached) return cached.error();
    const std::span<std::byte> rest = into.subspan(*cached);
    const std::uint64_t from = offset + *cached;
    const Descriptor direct =
        rest.size() < kUnreadBytesMin ? Descriptor(-1) : open_again(O_RDONLY | O_DIRECT);
    std::size_t done = 0;
    while (direct.valid() && done < rest.size()) {
      const std::uint64_t begin = (from + done) / kPageBytes * kPageBytes;
      const std::uint64_t end = (from + rest.size() + kPageBytes - 1) / kPageBytes * kPageBytes;
      const std::uint64_t bytes = std::min<std::uint64_t>(end - begin, kBounceBytes);
      const ssize_t got =
          retry([&] { return ::pread(direct.get(), bounce(), bytes, static_cast<off_t>(begin)); });
      const std::uint64_t skipped = from + done - begin;
      if (got < 0 || static_cast<std::uint64_t>(got) <= skipped) break;  // the usual way finds out why
      const std::size_t count = std::min(static_cast<std::size_t>(got) - skipped, rest.size() - done);
      std::memcpy(rest.data() + done, bounce() + skipped, count);
      done += count;
    }
    const auto last = read(from + done, rest.subspan(done));
    if (!last) return last.error();
    return *cached + done + *last;
  }

 private:
  /// So much of the range's begin is in the page cache. To ask by reading without waiting (RWF_NOWAIT) would
  /// have the kernel fetch what is not, all of it.
  [[nodiscard]] std::size_t cached_bytes(std::uint64_t offset, std::size_t bytes) const {
    const std::uint64_t begin = offset / kPageBytes * kPageBytes;
    const std::size_t length = offset + bytes - begin;
    void* const mapped = ::mmap(nullptr, length, PROT_READ, MAP_SHARED, fd_.get(), static_cast<off_t>(begin));
    if (mapped == MAP_FAILED) return 0;
    std::vector<unsigned char> pages((length + kPageBytes - 1) / kPageBytes);
    const bool told = ::mincore(mapped, length, pages.data()) == 0;
    ::munmap(mapped, length);
    if (!told) return 0;
    const auto absent =
        std::find_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) == 0; });
    const std::uint64_t end = begin + static_cast<std::uint64_t>(absent - pages.begin()) * kPageBytes;
    return static_cast<std::size_t>(std::min<std::uint64_t>(end > offset ? end - offset : 0, bytes));
  }

 public:
  Result<std::size_t, DiskError> read_fresh(std::uint64_t offset, std::span<std::byte> into) override {
    MS_ASSERT(into.size() <= kPageBytes && offset % kPageBytes == 0, "one page is read at a time");
    if (!coherent_) {
      struct statfs where {};
      if (retry([&] { return ::fstatfs(fd_.get(), &where); }) != 0)
        return system_error("ask for", path_, errno);
      coherent_ = keeps_cache_coherent(static_cast<std::uint64_t>(where.f_type));
    }
    if (*coherent_) return read(offset, into);
    if (!direct_.valid()) direct_ = open_again(O_RDONLY | O_DIRECT);
    if (!direct_.valid()) return system_error("open past the cache", path_, errno);
    alignas(kPageBytes) std::array<std::byte, kPageBytes> page;
    const ssize_t got =
        retry([&] { return ::pread(direct_.get(), page.data(), page.size(), static_cast<off_t>(offset)); });
    if (got < 0) return system_error("read past the cache", path_, errno);
    const std::size_t count = std::min(into.size(), static_cast<std::size_t>(got));
    std::copy_n(page.begin(), count, into.begin());
    return count;
  }

  Result<void, DiskError> write(std::uint64_t offset, BytesView from) override {
    std::size_t done = 0;
    while (done < from.size()) {
      const ssize_t put = retry([&] {
        return ::pwrite(fd_.get(), from.data() + done, from.size() - done, static_cast<off_t>(offset + done));
      });
      if (put < 0) return system_error("write", path_, errno);
      if (put == 0) return system_error("write", path_, ENOSPC);
      done += static_cast<std::size_t>(put);
    }
    return {};
  }

  /// Whole pages go past the page cache. The pages at both ends, which other writes share, go through it as
  /// always; so no page is written both ways at once.
  Result<void, DiskError> write_unread(std::uint64_t offset, BytesView from) override {
    const std::uint64_t begin = (offset + kPageBytes - 1) / kPageBytes * kPageBytes;
    const std::uint64_t end = (offset + from.size()) / kPageBytes * kPageBytes;
    if (end < begin + kUnreadBytesMin || !writes_past_cache()) return write(offset, from);
    if (auto head = write(offset, from.first(begin - offset)); !head) return head;
    for (std::uint64_t at = begin; at < end;) {
      const BytesView piece = from.subspan(at - offset, std::min<std::uint64_t>(end - at, kBounceBytes));
      std::memcpy(bounce(), piece.data(), piece.size());
      if (auto done = write_bounce(at, piece.size()); !done) return done;
      at += piece.size();
    }
    return write(end, from.subspan(end - offset));
  }

  Result<void, DiskError> sync() override {
    // Not repeated on EINTR or anything else: after a failure nobody knows what is durable.
    if (::fdatasync(fd_.get()) != 0) return system_error("sync", path_, errno);
    return {};
  }

  void start_writing(std::uint64_t offset, std::uint64_t bytes) override {
    // Without the flags that wait: these would also take an error that belongs to fdatasync.
    static_cast<void>(::sync_file_range(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes),
                                        SYNC_FILE_RANGE_WRITE));
  }

  void not_read_soon(std::uint64_t offset, std::uint64_t bytes) override {
    // Pages that are still dirty stay.
    static_cast<void>(::posix_fadvise(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes),
                                      POSIX_FADV_DONTNEED));
  }

  Result<std::uint64_t, DiskError> size() override {
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) return system_error("read the length of", path_, errno);
    return static_cast<std::uint64_t>(status.st_size);
  }

  Result<void, DiskError> truncate(std::uint64_t bytes) override {
    if (retry([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(bytes)); }) != 0) {
      return system_error("truncate", path_, errno);
    }
    return {};
  }

  Result<void, DiskError> preallocate(std::uint64_t bytes) override { return lengthen(bytes, false); }
  Result<void, DiskError> preallocate_unread(std::uint64_t bytes) override { return lengthen(bytes, true); }

 private:
  /// The same file, whatever it is called by now.
  [[nodiscard]] Descriptor open_again(int flags) const {
    return open_descriptor("/proc/self/fd/" + std::to_string(fd_.get()), flags);
  }

  /// Makes ready what that needs. False where the file system cannot (tmpfs), or refused it once.
  bool writes_past_cache() {
    if (!unread_.valid() && !cached_writes_only_) {
      unread_ = open_again(O_WRONLY | O_DIRECT);
      cached_writes_only_ = !unread_.valid();
    }
    return !cached_writes_only_;
  }

  /// Writes whole pages from bounce().
  Result<void, DiskError> write_bounce(std::uint64_t offset, std::size_t bytes) {
    const ssize_t put =
        retry([&] { return ::pwrite(unread_.get(), bounce(), bytes, static_cast<off_t>(offset)); });
    if (put == static_cast<ssize_t>(bytes)) return {};
    if (put < 0 && errno != EINVAL) return system_error("write", path_, errno);
    // Sectors that are larger than our pages, or a disk that is nearly full: the usual way finds out which.
    cached_writes_only_ = put < 0;
    return write(offset, BytesView(bounce(), bytes));
  }

  Result<void, DiskError> lengthen(std::uint64_t bytes, bool unread) {
    const auto have = size();
    if (!have) return have.error();
    if (bytes <= *have) return {};
    if (auto filled = fill(*have, bytes, unread); !filled) {
      // What was allocated in vain goes back: others may be short of it.
      static_cast<void>(truncate(*have));
      return filled;
    }
    return {};
  }

  Result<void, DiskError> fill(std::uint64_t begin, std::uint64_t end, bool unread) {
    // First the whole space in one piece, so that a full disk is known at once.
    if (retry([&] {
          return ::fallocate(fd_.get(), 0, static_cast<off_t>(begin), static_cast<off_t>(end - begin));
        }) == 0) {
      if (unread) return {};
    } else if (errno != EOPNOTSUPP && errno != ENOSYS) {
      return system_error("allocate", path_, errno);
    }
    static constexpr std::size_t kBlock = 1 << 20;
    const Buffer zeros(std::min<std::uint64_t>(kBlock, end - begin));
    for (std::uint64_t at = begin; at < end;) {
      const std::uint64_t count = std::min<std::uint64_t>(kBlock - at % kBlock, end - at);
      if (auto done = write(at, BytesView(zeros).first(count)); !done) return done;
      at += count;
    }
    return {};
  }

  static constexpr std::size_t kPageBytes = 4096;

  Descriptor fd_;
  std::string path_;
  std::optional<bool> coherent_;  ///< what this machine caches of it; unknown until asked
  Descriptor direct_{-1};         ///< for what is read past the cache

  static constexpr std::size_t kUnreadBytesMin = 64U << 10;  // less is not worth a wait for the device
  static constexpr std::size_t kBounceBytes = 1U << 20;
  /// Where what goes past the cache stands in whole pages: one for each thread that ever needs it.
  static std::byte* bounce() {
    struct alignas(kPageBytes) Page {
      std::array<std::byte, kPageBytes> bytes;
    };
    thread_local const std::unique_ptr<Page[]> memory(new Page[kBounceBytes / kPageBytes]);
    return memory[0].bytes.data();
  }
  Descriptor unread_{-1};  ///< for what is written past the cache
  bool cached_writes_only_ = false;
};

class PosixLock final : public DiskLock {
 public:
  explicit PosixLock(Descriptor fd) : fd_(std::move(fd)) {}

 private:
  Descriptor fd_;  // closing it gives the lock up
};

Result<void, DiskError> sync_directory_at(const std::string& path) {
  const Descriptor fd = open_descriptor(path, O_RDONLY | O_DIRECTORY);
  if (!fd.valid()) return system_error("open directory", path, errno);
  if (::fsync(fd.get()) != 0) return system_error("sync directory", path, errno);
  return {};
}

}  // namespace

Result<std::unique_ptr<PosixDisk>, DiskError> PosixDisk::open(const std::string& root, Cache cache) {
  const std::unique_ptr<char, void (*)(void*)> absolute(::realpath(root.c_str(), nullptr), &::free);
  if (!absolute) return system_error("use directory", root, errno);
  const Descriptor fd = open_descriptor(absolute.get(), O_RDONLY | O_DIRECTORY);
  if (!fd.valid()) return system_error("use directory", root, errno);
  return std::unique_ptr<PosixDisk>(new PosixDisk(absolute.get(), cache));
}

Result<std::unique_ptr<File>, DiskError> PosixDisk::open(const std::string& path, OpenMode mode) {
  const std::string full = describe(path);
  int flags = O_RDONLY;
  if (mode == OpenMode::read_write) flags = O_RDWR;
  if (mode == OpenMode::create) flags = O_RDWR | O_CREAT | O_EXCL;
  Descriptor fd = open_descriptor(full, flags);
  if (!fd.valid()) return system_error(mode == OpenMode::create ? "create" : "open", full, errno);
  return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(fd), full, cache_));
}

Result<std::vector<std::string>, DiskError> PosixDisk::list(const std::string& directory) {
  const std::string full = describe(directory);
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::opendir(full.c_str()), &::closedir);
  if (!stream) return system_error("list", full, errno);
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(stream.get());
    if (entry == nullptr) {
      if (errno != 0) return system_error("list", full, errno);
      break;
    }
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<void, DiskError> PosixDisk::rename(const std::string& from, const std::string& to) {
  if (::rename(describe(from).c_str(), describe(to).c_str()) != 0) {
    return system_error(("rename to " + describe(to) + " the file").c_str(), describe(from), errno);
  }
  return {};
}

Result<void, DiskError> PosixDisk::remove(const std::string& path) {
  const std::string full = describe(path);
  if (::unlink(full.c_str()) != 0) return system_error("remove", full, errno);
  return {};
}

Result<void, DiskError> PosixDisk::link(const std::string& from, const std::string& to) {
  if (::link(describe(from).c_str(), describe(to).c_str()) != 0) {
    return system_error(("give the name " + describe(to) + " to").c_str(), describe(from), errno);
  }
  return {};
}

Result<void, DiskError> PosixDisk::remove_directory(const std::string& path) {
  const std::string full = describe(path);
  if (::rmdir(full.c_str()) != 0) return system_error("remove directory", full, errno);
  return {};
}

Result<void, DiskError> PosixDisk::make_directory(const std::string& path) {
  if (path.empty()) return {};
  for (std::size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
    const std::string full = describe(path.substr(0, slash));
    if (::mkdir(full.c_str(), 0750) != 0 && errno != EEXIST) {
      return system_error("make directory", full, errno);
    }
    if (slash == std::string::npos) break;
  }
  const std::string full = describe(path);
  struct stat status {};
  if (::stat(full.c_str(), &status) != 0) return system_error("make directory", full, errno);
  if (!S_ISDIR(status.st_mode)) return system_error("make directory", full, EEXIST);
  return {};
}

Result<void, DiskError> PosixDisk::sync_directory(const std::string& path) {
  return sync_directory_at(describe(path));
}

Result<std::uint64_t, DiskError> PosixDisk::free_bytes() {
  struct statvfs status {};
  if (retry([&] { return ::statvfs(root_.c_str(), &status); }) != 0) {
    return system_error("ask for free space at", root_, errno);
  }
  return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

Result<std::unique_ptr<DiskLock>, DiskError> PosixDisk::lock(const std::string& path) {
  const std::string full = describe(path);
  Descriptor fd = open_descriptor(full, O_RDWR | O_CREAT);
  if (!fd.valid()) return system_error("lock", full, errno);
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (retry([&] { return ::fcntl(fd.get(), F_OFD_SETLK, &whole); }) != 0) {
    if (errno != EAGAIN && errno != EACCES) return system_error("lock", full, errno);
    std::array<char, 32> text{};
    const ssize_t got = ::pread(fd.get(), text.data(), text.size() - 1, 0);
    std::string holder(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
    holder.erase(std::remove_if(holder.begin(), holder.end(), [](char c) { return c < '0' || c > '9'; }),
                 holder.end());
    return DiskError{DiskErrorCode::locked,
                     "cannot lock " + full + ": process " + (holder.empty() ? "unknown" : holder) +
                         " is using this directory. End it first, or give this one another directory"};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  // The lock holds without its text too: a full disk must not keep a node from starting.
  if (::ftruncate(fd.get(), 0) == 0) {
    [[maybe_unused]] const ssize_t put = retry([&] { return ::pwrite(fd.get(), pid.data(), pid.size(), 0); });
  }
  return std::unique_ptr<DiskLock>(std::make_unique<PosixLock>(std::move(fd)));
}

std::string PosixDisk::describe(const std::string& path) const {
  MS_ASSERT(path.empty() || path.front() != '/', "paths are relative to the root");
  MS_ASSERT(path != ".." && !path.starts_with("../") && !path.ends_with("/..") &&
                path.find("/../") == std::string::npos,
            "paths stay below the root");
  return path.empty() ? root_ : root_ + "/" + path;
}

}  // namespace mainstay::io
