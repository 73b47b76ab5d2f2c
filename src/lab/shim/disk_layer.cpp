#include "lab/shim/disk_layer.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

namespace mainstay::lab::shim {
namespace {

std::uint64_t number(off_t value) {
  return static_cast<std::uint64_t>(value);
}

int raw_open(const std::string& path, int flags) {
  return static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path.c_str(), flags | O_CLOEXEC, 0600));
}
void raw_close(int fd) {
  ::syscall(SYS_close, fd);
}
bool raw_write_all(int fd, const iovec* parts, int count) {
  std::size_t all = 0;
  for (int i = 0; i < count; ++i) all += parts[i].iov_len;
  return ::syscall(SYS_writev, fd, parts, count) == static_cast<ssize_t>(all);
}
bool raw_write_all(int fd, const std::string& text) {
  return ::syscall(SYS_write, fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// Where a descriptor points to, as the kernel names it.
std::string path_of(int fd) {
  char path[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t bytes = ::readlink(link.c_str(), path, sizeof path);
  return bytes > 0 ? std::string(path, static_cast<std::size_t>(bytes)) : std::string();
}

std::string directory_of(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

std::string undo_name(const std::string& state, ino_t inode) {
  return state + "/undo-" + std::to_string(inode);
}

/// Restores errno at the end of its scope: what the layer does is not what the program asked.
class KeepErrno {
 public:
  KeepErrno() : kept_(errno) {}
  ~KeepErrno() { errno = kept_; }

 private:
  int kept_;
};

}  // namespace

DiskLayer::DiskLayer(std::string root, std::string state, DiskPage* page)
    : root_(std::move(root)), state_(std::move(state)), page_(page) {
  struct stat status {};
  if (::stat(root_.c_str(), &status) != 0) broken();
  device_ = status.st_dev;
  // A process before this one, killed without its loss being taken back, left what is still not durable.
  std::ifstream before(state_ + "/names");
  for (std::string line; std::getline(before, line);) {
    std::istringstream fields(line);
    std::string number_text, kind, path, to, kept;
    std::getline(fields, number_text, '\t');
    std::getline(fields, kind, '\t');
    std::getline(fields, path, '\t');
    std::getline(fields, to, '\t');
    std::getline(fields, kept, '\t');
    const std::uint64_t n = std::strtoull(number_text.c_str(), nullptr, 10);
    if (kind == "synced") {
      std::erase_if(changes_,
                    [&](const NameChange& change) { return change.number <= n && change.directory == path; });
      continue;
    }
    last_name_ = std::max(last_name_, n);
    if (kind == "unlink") kept = to;
    changes_.push_back({n, directory_of(kind == "rename" ? to : path), kept});
  }
  names_ = raw_open(state_ + "/names", O_WRONLY | O_CREAT | O_APPEND);
  if (names_ < 0) broken();
}

void DiskLayer::broken() {
  page_->broken = static_cast<std::uint64_t>(errno == 0 ? EIO : errno);
}

void DiskLayer::wait_while(const std::atomic<std::uint64_t>& stall) {
  if (stall == 0) return;
  ++page_->stalled;
  const timespec pause{0, 1'000'000};
  while (stall != 0) ::nanosleep(&pause, nullptr);
  --page_->stalled;
}

// Files

std::shared_ptr<Tracked> DiskLayer::track(int fd, struct stat& status) {
  const KeepErrno keep_errno;
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode) || status.st_dev != device_) return nullptr;
  const std::lock_guard lock(files_mutex_);
  if (const auto known = files_.find(status.st_ino); known != files_.end()) return known->second;
  const std::string path = path_of(fd);
  if (!path.starts_with(root_ + "/")) return nullptr;
  auto file = std::make_shared<Tracked>();
  file->inode = status.st_ino;
  file->undo = raw_open(undo_name(state_, status.st_ino), O_RDWR | O_CREAT | O_APPEND);
  if (file->undo < 0) {
    broken();
    return nullptr;
  }
  UndoHeader header;
  for (off_t at = 0; ::syscall(SYS_pread64, file->undo, &header, sizeof header, at) == sizeof header;) {
    file->last = std::max(file->last, header.number);
    file->pending = true;
    file->never_more = file->never_more || header.kind == UndoKind::never_more;
    at += static_cast<off_t>(sizeof header + (header.kind == UndoKind::change ? header.bytes : 0));
  }
  files_.emplace(status.st_ino, file);
  return file;
}

void DiskLayer::note(Tracked& file, UndoKind kind, std::uint64_t upto) {
  UndoHeader header{.magic = undo_magic, .kind = kind, .number = upto};
  const iovec part{&header, sizeof header};
  if (!raw_write_all(file.undo, &part, 1)) broken();
}

bool DiskLayer::note_change(Tracked& file, int fd, std::uint64_t offset, std::uint64_t bytes,
                            std::uint64_t size) {
  if (file.gone) return true;
  const KeepErrno keep_errno;
  constexpr std::uint64_t piece = 1 << 20;
  const std::uint64_t end = std::min(offset + bytes, size);
  int readable = -1;
  if (offset < end && (::fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR) {
    readable = raw_open("/proc/self/fd/" + std::to_string(fd), O_RDONLY);
    if (readable < 0) {
      broken();
      return false;
    }
  }
  std::vector<char> old(offset < end ? std::min(piece, end - offset) : 0);
  bool noted = true;
  for (std::uint64_t at = offset; noted;) {
    const std::uint64_t count = at < end ? std::min(piece, end - at) : 0;
    UndoHeader header{.magic = undo_magic,
                      .kind = UndoKind::zeros,
                      .number = ++file.last,
                      .offset = at,
                      .bytes = count,
                      .size_before = size};
    if (count > 0) {
      noted = ::syscall(SYS_pread64, readable < 0 ? fd : readable, old.data(), count, at) ==
              static_cast<ssize_t>(count);
      if (old[0] != 0 || ::memcmp(old.data(), old.data() + 1, count - 1) != 0) header.kind = UndoKind::change;
    }
    const iovec parts[2] = {{&header, sizeof header}, {old.data(), count}};
    noted = noted && raw_write_all(file.undo, parts, header.kind == UndoKind::change ? 2 : 1);
    at += count;
    if (at >= end) break;
  }
  file.pending = true;
  if (readable >= 0) raw_close(readable);
  if (!noted) broken();
  return noted;
}

void DiskLayer::become_durable(Tracked& file, std::uint64_t upto) {
  if (file.gone || file.never_more || !file.pending) return;
  const KeepErrno keep_errno;
  if (upto == file.last) {
    if (::syscall(SYS_ftruncate, file.undo, 0) != 0) broken();
    file.pending = false;
  } else {
    note(file, UndoKind::synced, upto);
  }
}

ssize_t DiskLayer::write(int fd, const iovec* parts, int count, off_t offset) {
  const auto raw = [&](const iovec* some, int how_many) -> ssize_t {
    return offset < 0 ? ::syscall(SYS_writev, fd, some, how_many)
                      : ::syscall(SYS_pwritev, fd, some, how_many, offset, 0L);
  };
  struct stat status {};
  const std::shared_ptr<Tracked> file = track(fd, status);
  if (!file) return raw(parts, count);
  ++page_->writes;
  wait_while(page_->stall_writes);
  const std::lock_guard lock(file->mutex);
  ::fstat(fd, &status);
  const int flags = ::fcntl(fd, F_GETFL);
  const off_t position = (flags & O_APPEND) != 0 ? status.st_size
                         : offset >= 0           ? offset
                                                 : ::lseek(fd, 0, SEEK_CUR);
  std::uint64_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += parts[i].iov_len;
  std::vector<iovec> fitting(parts, parts + count);
  if (page_->full != 0 && number(position) + bytes > number(status.st_size)) {
    ++page_->refused_writes;
    if (position >= status.st_size) {
      errno = ENOSPC;
      return -1;
    }
    // As a file system does: what has its blocks already is written, and the count tells.
    bytes = number(status.st_size - position);
    std::uint64_t left = bytes;
    for (iovec& part : fitting) {
      part.iov_len = std::min<std::uint64_t>(part.iov_len, left);
      left -= part.iov_len;
    }
  }
  if (!note_change(*file, fd, number(position), bytes, number(status.st_size))) {
    errno = EIO;
    return -1;
  }
  const ssize_t put = raw(fitting.data(), count);
  if ((flags & (O_SYNC | O_DSYNC)) != 0) become_durable(*file, file->last);
  return put;
}

int DiskLayer::truncate(int fd, off_t size) {
  struct stat status {};
  const std::shared_ptr<Tracked> file = track(fd, status);
  if (!file) return static_cast<int>(::syscall(SYS_ftruncate, fd, size));
  wait_while(page_->stall_writes);
  const std::lock_guard lock(file->mutex);
  ::fstat(fd, &status);
  const std::uint64_t from = number(std::min(size, status.st_size));
  if (!note_change(*file, fd, from, number(status.st_size) - from, number(status.st_size))) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_ftruncate, fd, size));
}

int DiskLayer::allocate(int fd, int mode, off_t offset, off_t bytes) {
  struct stat status {};
  const std::shared_ptr<Tracked> file = track(fd, status);
  if (!file) return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes));
  wait_while(page_->stall_writes);
  if (page_->full != 0) {
    ++page_->refused_writes;
    errno = ENOSPC;
    return -1;
  }
  const std::lock_guard lock(file->mutex);
  ::fstat(fd, &status);
  // Without a mode it only grows the file; the others change what is in it.
  const std::uint64_t from = mode == 0 ? number(status.st_size) : number(offset);
  if (!note_change(*file, fd, from, mode == 0 ? 0 : number(bytes), number(status.st_size))) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes));
}

int DiskLayer::sync(int fd, long call) {
  struct stat status {};
  const std::shared_ptr<Tracked> file = track(fd, status);
  std::string directory;
  if (!file) {
    if (S_ISDIR(status.st_mode)) directory = path_of(fd);
    if (directory != root_ && !directory.starts_with(root_ + "/"))
      return static_cast<int>(::syscall(call, fd));
  }
  ++page_->syncs;
  std::uint64_t upto = 0;
  if (file) {
    const std::lock_guard lock(file->mutex);
    upto = file->last;
  }
  wait_while(page_->stall_syncs);
  if (const std::uint64_t delay = page_->sync_delay_us; delay > 0) {
    timespec left{static_cast<time_t>(delay / 1'000'000), static_cast<long>(delay % 1'000'000) * 1'000};
    while (::nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
  }
  for (std::uint64_t due = page_->fail_syncs; due > 0;) {
    if (!page_->fail_syncs.compare_exchange_weak(due, due - 1)) continue;
    ++page_->failed_syncs;
    if (file) {
      // The kernel reports a failed write-back once and calls the pages clean: a later sync proves nothing.
      const std::lock_guard lock(file->mutex);
      file->never_more = true;
      note(*file, UndoKind::never_more, file->last);
    }
    errno = EIO;
    return -1;
  }
  if (page_->lying != 0) return 0;
  if (!file) return sync_directory(fd, call, directory);
  const int result = static_cast<int>(::syscall(call, fd));
  if (result == 0) {
    const std::lock_guard lock(file->mutex);
    become_durable(*file, upto);
  }
  return result;
}

// Names

std::string DiskLayer::below_root(int directory, const char* path) const {
  const KeepErrno keep_errno;
  if (path == nullptr) return {};
  std::string full = path;
  char here[PATH_MAX];
  if (!full.starts_with('/') && directory == AT_FDCWD && ::getcwd(here, sizeof here) == nullptr) return {};
  if (!full.starts_with('/')) full = (directory == AT_FDCWD ? here : path_of(directory)) + "/" + full;
  while (full.size() > 1 && full.ends_with('/')) full.pop_back();
  const std::string parent = directory_of(full);
  char resolved[PATH_MAX];
  if (::realpath(parent.empty() ? "/" : parent.c_str(), resolved) == nullptr) return {};
  full = std::string(resolved) + full.substr(full.rfind('/'));
  return full.starts_with(root_ + "/") ? full : std::string();
}

/// With names_mutex_ held.
std::uint64_t DiskLayer::note_name(const std::string& directory, const std::string& what,
                                   const std::string& kept) {
  if (!raw_write_all(names_, std::to_string(++last_name_) + "\t" + what + "\n")) broken();
  changes_.push_back({last_name_, directory, kept});
  return last_name_;
}

/// With names_mutex_ held. @return the kept link; empty when there is no such file.
std::string DiskLayer::keep(const std::string& path) {
  const std::string kept = state_ + "/kept-" + std::to_string(last_name_ + 1);
  if (::syscall(SYS_linkat, AT_FDCWD, path.c_str(), AT_FDCWD, kept.c_str(), 0) == 0) return kept;
  return {};
}

/// With names_mutex_ held: nothing will ask for this file under its old name again.
void DiskLayer::forget(const std::string& kept) {
  if (kept.empty()) return;
  struct stat status {};
  if (::stat(kept.c_str(), &status) == 0 && status.st_nlink == 1) {
    const std::lock_guard lock(files_mutex_);
    if (const auto found = files_.find(status.st_ino); found != files_.end()) {
      const std::lock_guard file_lock(found->second->mutex);
      found->second->gone = true;
      raw_close(found->second->undo);
      files_.erase(found);
    }
    // Before the inode is free for another file.
    ::syscall(SYS_unlinkat, AT_FDCWD, undo_name(state_, status.st_ino).c_str(), 0);
  }
  ::syscall(SYS_unlinkat, AT_FDCWD, kept.c_str(), 0);
}

int DiskLayer::sync_directory(int fd, long call, const std::string& path) {
  std::uint64_t upto = 0;
  {
    const std::lock_guard lock(names_mutex_);
    upto = last_name_;
  }
  const int result = static_cast<int>(::syscall(call, fd));
  if (result != 0) return result;
  const KeepErrno keep_errno;
  const std::lock_guard lock(names_mutex_);
  if (!raw_write_all(names_, std::to_string(upto) + "\tsynced\t" + path + "\n")) broken();
  std::erase_if(changes_, [&](const NameChange& change) {
    if (change.number > upto || change.directory != path) return false;
    forget(change.kept);
    return true;
  });
  if (changes_.empty() && ::syscall(SYS_ftruncate, names_, 0) != 0) broken();
  return result;
}

int DiskLayer::open(int directory, const char* path, int flags, mode_t mode) {
  const auto raw = [&] { return static_cast<int>(::syscall(SYS_openat, directory, path, flags, mode)); };
  if ((flags & (O_CREAT | O_TRUNC)) == 0 || (flags & O_TMPFILE) == O_TMPFILE) return raw();
  const std::string full = below_root(directory, path);
  if (full.empty()) return raw();
  struct stat status {};
  if (::lstat(full.c_str(), &status) != 0) {
    if ((flags & O_CREAT) == 0) return raw();
    const std::lock_guard lock(names_mutex_);
    note_name(directory_of(full), "create\t" + full, "");
    return raw();
  }
  if ((flags & O_TRUNC) != 0 && S_ISREG(status.st_mode) && status.st_size > 0 && (flags & O_EXCL) == 0) {
    // First opened as it is, so that what it held can be noted.
    const int fd = static_cast<int>(::syscall(SYS_openat, directory, path, flags & ~O_TRUNC, mode));
    if (fd >= 0 && truncate(fd, 0) != 0) {
      const KeepErrno keep_errno;
      raw_close(fd);
      return -1;
    }
    return fd;
  }
  return raw();
}

int DiskLayer::rename(int from_directory, const char* from, int to_directory, const char* to,
                      unsigned flags) {
  const auto raw = [&] {
    return static_cast<int>(::syscall(SYS_renameat2, from_directory, from, to_directory, to, flags));
  };
  const std::string full_from = below_root(from_directory, from), full_to = below_root(to_directory, to);
  struct stat status {};
  if (full_from.empty() || full_to.empty() || ::lstat(full_from.c_str(), &status) != 0) return raw();
  const std::lock_guard lock(names_mutex_);
  const std::string kept = keep(full_to);
  note_name(directory_of(full_to), "rename\t" + full_from + "\t" + full_to + "\t" + kept, kept);
  return raw();
}

int DiskLayer::unlink(int directory, const char* path, int flags) {
  const auto raw = [&] { return static_cast<int>(::syscall(SYS_unlinkat, directory, path, flags)); };
  const std::string full = below_root(directory, path);
  if (full.empty()) return raw();
  const std::lock_guard lock(names_mutex_);
  if ((flags & AT_REMOVEDIR) != 0) {
    note_name(directory_of(full), "rmdir\t" + full, "");
  } else if (const std::string kept = keep(full); !kept.empty()) {
    note_name(directory_of(full), "unlink\t" + full + "\t" + kept, kept);
  }
  return raw();
}

int DiskLayer::make_directory(int directory, const char* path, mode_t mode) {
  const auto raw = [&] { return static_cast<int>(::syscall(SYS_mkdirat, directory, path, mode)); };
  const std::string full = below_root(directory, path);
  struct stat status {};
  if (full.empty() || ::lstat(full.c_str(), &status) == 0) return raw();
  const std::lock_guard lock(names_mutex_);
  note_name(directory_of(full), "mkdir\t" + full, "");
  return raw();
}

int DiskLayer::link(int from_directory, const char* from, int to_directory, const char* to, int flags) {
  const auto raw = [&] {
    return static_cast<int>(::syscall(SYS_linkat, from_directory, from, to_directory, to, flags));
  };
  const std::string full = below_root(to_directory, to);
  struct stat status {};
  if (full.empty() || ::lstat(full.c_str(), &status) == 0) return raw();
  const std::lock_guard lock(names_mutex_);
  note_name(directory_of(full), "create\t" + full, "");
  return raw();
}

bool DiskLayer::is_full(const char* path) const {
  if (page_->full == 0) return false;
  const KeepErrno keep_errno;
  char resolved[PATH_MAX];
  if (::realpath(path, resolved) == nullptr) return false;
  const std::string full = resolved;
  return full == root_ || full.starts_with(root_ + "/");
}

}  // namespace mainstay::lab::shim
