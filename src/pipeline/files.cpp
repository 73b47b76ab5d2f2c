#include "pipeline/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace mainstay::pipeline::files {

namespace {

Failure failure(const char* doing, const std::string& path, int code) {
  std::string text = std::string(doing) + " " + path + ": " + std::strerror(code);
  if (code == ENOSPC || code == EDQUOT) text += "; free space on that file system";
  if (code == EACCES || code == EPERM || code == EROFS) text += "; make it writable for this user";
  return {std::move(text)};
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Result<void, Failure> write_all(int fd, const std::string& path, BytesView bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return failure("writing", path, errno);
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void, Failure> write_new(const std::string& path, BytesView content, int flags, bool synced) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644);
  if (fd < 0) return failure("creating", path, errno);
  auto written = write_all(fd, path, content);
  if (written && synced && ::fdatasync(fd) != 0) written = failure("syncing", path, errno);
  if (::close(fd) != 0 && written) written = failure("closing", path, errno);
  return written;
}

Result<std::vector<std::string>, Failure> list_kind(const std::string& directory, bool directories) {
  DIR* open = ::opendir(directory.c_str());
  if (open == nullptr) return failure("listing", directory, errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(open)) {
    if (entry->d_name[0] == '.') continue;
    bool is_directory = entry->d_type == DT_DIR;
    bool is_file = entry->d_type == DT_REG;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat info {};
      if (::stat((directory + "/" + entry->d_name).c_str(), &info) == 0) {
        is_directory = S_ISDIR(info.st_mode);
        is_file = S_ISREG(info.st_mode);
      }
    }
    if (directories ? is_directory : is_file) names.emplace_back(entry->d_name);
    errno = 0;
  }
  const int code = errno;
  ::closedir(open);
  if (code != 0) return failure("listing", directory, code);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

Result<void, Failure> make_directories(const std::string& path) {
  if (path.empty() || ::access(path.c_str(), F_OK) == 0) return {};
  const std::string parent = parent_of(path);
  if (parent != path) {
    if (const auto made = make_directories(parent); !made) return made.error();
  }
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return failure("creating directory", path, errno);
  return sync_directory(parent);
}

Result<std::vector<std::string>, Failure> list(const std::string& directory) {
  return list_kind(directory, false);
}
Result<std::vector<std::string>, Failure> list_directories(const std::string& directory) {
  return list_kind(directory, true);
}

Result<Buffer, Failure> read(const std::string& path, std::uint64_t bytes_max) {
  const auto file = ReadFile::open(path);
  if (!file) return file.error();
  if (file->size() > bytes_max) {
    return Failure{path + " has " + std::to_string(file->size()) + " bytes, at most " +
                   std::to_string(bytes_max) + " are read; split it or raise the limit"};
  }
  return file->read(0, static_cast<std::size_t>(file->size()));
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

Result<void, Failure> replace(const std::string& path, BytesView content) {
  const std::string fresh = path + ".new";
  if (const auto written = write_new(fresh, content, O_TRUNC, true); !written) return written.error();
  if (::rename(fresh.c_str(), path.c_str()) != 0) return failure("replacing", path, errno);
  return sync_directory(parent_of(path));
}

Result<void, Failure> replace_unsynced(const std::string& path, BytesView content) {
  const std::string fresh = path + ".new";
  if (const auto written = write_new(fresh, content, O_TRUNC, false); !written) return written.error();
  if (::rename(fresh.c_str(), path.c_str()) != 0) return failure("replacing", path, errno);
  return {};
}

Result<void, Failure> sync_files(const std::vector<std::string>& paths) {
  // Creating and syncing a file costs several writes to the device, a flush of everything little more.
  constexpr std::size_t one_by_one_max = 3;
  for (const std::string& path : paths) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return failure("opening", path, errno);
    const bool all = paths.size() > one_by_one_max;
    const int code = (all ? ::syncfs(fd) : ::fdatasync(fd)) == 0 ? 0 : errno;
    ::close(fd);
    if (code != 0) return failure("syncing", path, code);
    if (all) break;
  }
  return {};
}

Result<Moved, Failure> move(const std::string& from, const std::string& to) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return Moved::yes;
  int code = errno;
  if (code == EINVAL || code == ENOSYS) {
    // A file system without RENAME_NOREPLACE: link never replaces either. A crash between the two leaves both
    // names on one file, which every caller treats like the finished move.
    if (::link(from.c_str(), to.c_str()) == 0) {
      if (::unlink(from.c_str()) == 0) return Moved::yes;
    }
    code = errno;
  }
  if (code == EEXIST) return Moved::exists;
  if (code == ENOENT && !exists(from)) return Moved::missing;
  return failure("moving", from + " to " + to, code);
}

Result<void, Failure> sync_directory(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return failure("opening directory", directory, errno);
  const int code = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  if (code != 0) return failure("syncing directory", directory, code);
  return {};
}

Result<void, Failure> remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return failure("removing", path, errno);
  return {};
}

OpenFile::OpenFile(OpenFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), size_(other.size_), path_(std::move(other.path_)) {}
OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
    size_ = other.size_;
    path_ = std::move(other.path_);
  }
  return *this;
}
OpenFile::~OpenFile() {
  if (fd_ >= 0) ::close(fd_);
}

Result<AppendFile, Failure> AppendFile::open(const std::string& path, bool must_be_new) {
  AppendFile file;
  file.path_ = path;
  const int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (must_be_new ? O_EXCL : 0);
  file.fd_ = ::open(path.c_str(), flags, 0644);
  if (file.fd_ < 0) return failure("opening", path, errno);
  struct stat info {};
  if (::fstat(file.fd_, &info) != 0) return failure("looking at", path, errno);
  file.size_ = static_cast<std::uint64_t>(info.st_size);
  if (file.size_ == 0) {
    if (const auto synced = sync_directory(parent_of(path)); !synced) return synced.error();
  }
  return file;
}

Result<void, Failure> AppendFile::append(BytesView bytes) {
  if (const auto written = write_all(fd_, path_, bytes); !written) {
    if (::ftruncate(fd_, static_cast<off_t>(size_)) != 0) ::close(std::exchange(fd_, -1));
    return written.error();
  }
  size_ += bytes.size();
  return {};
}

Result<void, Failure> AppendFile::sync() {
  if (::fdatasync(fd_) != 0) {
    // After a failed sync the kernel may have dropped the pages: nothing may be appended behind them.
    const int code = errno;
    ::close(std::exchange(fd_, -1));
    return failure("syncing", path_, code);
  }
  return {};
}

Result<void, Failure> AppendFile::truncate(std::uint64_t bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes)) != 0) return failure("cutting", path_, errno);
  size_ = bytes;
  return {};
}

Result<ReadFile, Failure> ReadFile::open(const std::string& path) {
  ReadFile file;
  file.path_ = path;
  file.fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd_ < 0) return failure("opening", path, errno);
  struct stat info {};
  if (::fstat(file.fd_, &info) != 0) return failure("looking at", path, errno);
  file.size_ = static_cast<std::uint64_t>(info.st_size);
  return file;
}

Result<Buffer, Failure> ReadFile::read(std::uint64_t offset, std::size_t bytes) const {
  Buffer into(bytes);
  std::size_t got = 0;
  while (got < bytes) {
    const ssize_t n = ::pread(fd_, into.data() + got, bytes - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return failure("reading", path_, errno);
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  into.resize(got);
  return into;
}

Result<ProcessLock, Failure> ProcessLock::take(const std::string& path, const std::string& holder) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return failure("opening", path, errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int code = errno;
    ::close(fd);
    if (code == EWOULDBLOCK) {
      return Failure{path + " is locked by " + holder + ": stop it, or give this one its own directory"};
    }
    return failure("locking", path, code);
  }
  return ProcessLock(fd);
}

ProcessLock::ProcessLock(ProcessLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
ProcessLock::~ProcessLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace mainstay::pipeline::files
