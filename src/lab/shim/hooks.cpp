// The names of libc that the layer answers to when it is preloaded (LD_PRELOAD). Without its two variables in
// the environment every call goes straight on. Not reached: memory maps, io_uring, what stdio writes by
// itself, programs that make system calls without libc.
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "lab/shim/disk_layer.h"

namespace {

using mainstay::lab::DiskPage;
using mainstay::lab::shim::DiskLayer;

/// Never destroyed: programs write until their last moment.
DiskLayer* layer = nullptr;

__attribute__((constructor)) void begin() {
  const char* root = ::getenv(mainstay::lab::disk_root_variable);
  const char* state = ::getenv(mainstay::lab::disk_state_variable);
  if (root == nullptr || state == nullptr) return;
  const long fd = ::syscall(SYS_openat, AT_FDCWD, (std::string(state) + "/page").c_str(), O_RDWR | O_CLOEXEC);
  void* page =
      fd < 0 ? MAP_FAILED
             : ::mmap(nullptr, sizeof(DiskPage), PROT_READ | PROT_WRITE, MAP_SHARED, static_cast<int>(fd), 0);
  if (page == MAP_FAILED) {
    static constexpr char why[] = "the disk layer of a drill cannot map its page\n";
    ::syscall(SYS_write, 2, why, sizeof why - 1);
    ::_exit(126);  // a drill whose faults do nothing would prove nothing
  }
  ::syscall(SYS_close, fd);
  ++static_cast<DiskPage*>(page)->attached;
  layer = new DiskLayer(root, state, static_cast<DiskPage*>(page));
}

int open_file(int directory, const char* path, int flags, mode_t mode) {
  if (layer == nullptr) return static_cast<int>(::syscall(SYS_openat, directory, path, flags, mode));
  return layer->open(directory, path, flags, mode);
}

ssize_t write_parts(int fd, const iovec* parts, int count, off_t offset) {
  if (layer != nullptr) return layer->write(fd, parts, count, offset);
  return offset < 0 ? ::syscall(SYS_writev, fd, parts, count)
                    : ::syscall(SYS_pwritev, fd, parts, count, offset, 0L);
}

ssize_t write_one(int fd, const void* from, size_t bytes, off_t offset) {
  const iovec part{const_cast<void*>(from), bytes};
  return write_parts(fd, &part, 1, offset);
}

int sync_file(int fd, long call) {
  return layer != nullptr ? layer->sync(fd, call) : static_cast<int>(::syscall(call, fd));
}

}  // namespace

#define MODE_OF(flags, mode)                                        \
  mode_t mode = 0;                                                  \
  if (((flags)&O_CREAT) != 0 || ((flags)&O_TMPFILE) == O_TMPFILE) { \
    va_list rest;                                                   \
    va_start(rest, flags);                                          \
    mode = static_cast<mode_t>(va_arg(rest, unsigned));             \
    va_end(rest);                                                   \
  }

extern "C" {

int open(const char* path, int flags, ...) {
  MODE_OF(flags, mode)
  return open_file(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  MODE_OF(flags, mode)
  return open_file(AT_FDCWD, path, flags, mode);
}
int openat(int directory, const char* path, int flags, ...) {
  MODE_OF(flags, mode)
  return open_file(directory, path, flags, mode);
}
int openat64(int directory, const char* path, int flags, ...) {
  MODE_OF(flags, mode)
  return open_file(directory, path, flags, mode);
}
int creat(const char* path, mode_t mode) {
  return open_file(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
int creat64(const char* path, mode_t mode) {
  return open_file(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

ssize_t write(int fd, const void* from, size_t bytes) {
  return write_one(fd, from, bytes, -1);
}
ssize_t pwrite(int fd, const void* from, size_t bytes, off_t offset) {
  return write_one(fd, from, bytes, offset);
}
ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t offset) {
  return write_one(fd, from, bytes, offset);
}
ssize_t writev(int fd, const iovec* parts, int count) {
  return write_parts(fd, parts, count, -1);
}
ssize_t pwritev(int fd, const iovec* parts, int count, off_t offset) {
  return write_parts(fd, parts, count, offset);
}
ssize_t pwritev64(int fd, const iovec* parts, int count, off64_t offset) {
  return write_parts(fd, parts, count, offset);
}

int ftruncate(int fd, off_t size) noexcept {
  return layer != nullptr ? layer->truncate(fd, size) : static_cast<int>(::syscall(SYS_ftruncate, fd, size));
}
int ftruncate64(int fd, off64_t size) noexcept {
  return ftruncate(fd, size);
}
int truncate(const char* path, off_t size) noexcept {
  const long fd = ::syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  const int result = ftruncate(static_cast<int>(fd), size);
  const int reason = errno;
  ::syscall(SYS_close, fd);
  errno = reason;
  return result;
}
int fallocate(int fd, int mode, off_t offset, off_t bytes) {
  return layer != nullptr ? layer->allocate(fd, mode, offset, bytes)
                          : static_cast<int>(::syscall(SYS_fallocate, fd, mode, offset, bytes));
}
int fallocate64(int fd, int mode, off64_t offset, off64_t bytes) {
  return fallocate(fd, mode, offset, bytes);
}
int posix_fallocate(int fd, off_t offset, off_t bytes) {
  return fallocate(fd, 0, offset, bytes) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t offset, off64_t bytes) {
  return posix_fallocate(fd, offset, bytes);
}

int fsync(int fd) {
  return sync_file(fd, SYS_fsync);
}
int fdatasync(int fd) {
  return sync_file(fd, SYS_fdatasync);
}
// sync_file_range is left alone: it makes nothing durable.

int rename(const char* from, const char* to) noexcept {
  return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat(int from_directory, const char* from, int to_directory, const char* to) noexcept {
  return renameat2(from_directory, from, to_directory, to, 0);
}
int renameat2(int from_directory, const char* from, int to_directory, const char* to,
              unsigned flags) noexcept {
  return layer != nullptr
             ? layer->rename(from_directory, from, to_directory, to, flags)
             : static_cast<int>(::syscall(SYS_renameat2, from_directory, from, to_directory, to, flags));
}
int unlinkat(int directory, const char* path, int flags) noexcept {
  return layer != nullptr ? layer->unlink(directory, path, flags)
                          : static_cast<int>(::syscall(SYS_unlinkat, directory, path, flags));
}
int unlink(const char* path) noexcept {
  return unlinkat(AT_FDCWD, path, 0);
}
int rmdir(const char* path) noexcept {
  return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}
int remove(const char* path) noexcept {
  if (unlink(path) == 0) return 0;
  return errno == EISDIR ? rmdir(path) : -1;
}
int mkdirat(int directory, const char* path, mode_t mode) noexcept {
  return layer != nullptr ? layer->make_directory(directory, path, mode)
                          : static_cast<int>(::syscall(SYS_mkdirat, directory, path, mode));
}
int mkdir(const char* path, mode_t mode) noexcept {
  return mkdirat(AT_FDCWD, path, mode);
}
int linkat(int from_directory, const char* from, int to_directory, const char* to, int flags) noexcept {
  return layer != nullptr
             ? layer->link(from_directory, from, to_directory, to, flags)
             : static_cast<int>(::syscall(SYS_linkat, from_directory, from, to_directory, to, flags));
}
int link(const char* from, const char* to) noexcept {
  return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

// A full disk says so when asked.
int statvfs(const char* path, struct statvfs* status) noexcept {
  const long fd = ::syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_CLOEXEC);
  if (fd < 0) return -1;
  const int result = fstatvfs(static_cast<int>(fd), status);
  const int reason = errno;
  ::syscall(SYS_close, fd);
  errno = reason;
  if (result == 0 && layer != nullptr && layer->is_full(path)) status->f_bavail = status->f_bfree = 0;
  return result;
}
int statvfs64(const char* path, struct statvfs64* status) noexcept {
  static_assert(sizeof(struct statvfs) == sizeof(struct statvfs64), "one layout on 64-bit machines");
  return statvfs(path, reinterpret_cast<struct statvfs*>(status));
}

}  // extern "C"
