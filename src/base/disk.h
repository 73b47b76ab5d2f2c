// The disk, behind an interface: one directory tree, files with positioned reads and writes, and durability
// that is asked for, never assumed. `io/posix_disk.h` is the real one; `base/memory_disk.h` forgets what was
// not synced, tears writes, fills up and fails.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace mainstay {

enum class DiskErrorCode : std::uint8_t {
  not_found,
  exists,
  no_space,  ///< the file system or a quota is full: reads and overwrites still work
  locked,    ///< another process holds the lock
  permission,
  io,  ///< anything else. After a failed sync the file's state is unknown: stop, never retry.
};

/// `what` names operation, path and the system's reason.
struct DiskError {
  DiskErrorCode code{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const DiskError& error, const boost::source_location& where);

/// An open file. Reads may run on several threads; writes, sync and truncate belong to one thread at a time.
/// Closing does not sync.
class File {
 public:
  virtual ~File() = default;
  /// Reads up to `into.size()` bytes; fewer only at the end of the file. @return bytes read.
  [[nodiscard]] virtual Result<std::size_t, DiskError> read(std::uint64_t offset,
                                                            std::span<std::byte> into) = 0;
  /// As read(), unless the disk would have to be waited for: nullopt then, and when nobody can tell. What is
  /// in `into` does not count in that case. A disk that never waits need not say so.
  [[nodiscard]] virtual Result<std::optional<std::size_t>, DiskError> read_if_cached(
      std::uint64_t offset, std::span<std::byte> into) {
    const auto got = read(offset, into);
    if (!got) return got.error();
    return std::optional(*got);
  }
  /// As read(), of much that nobody will read again soon: what memory the system would keep it in is better
  /// used for others. A disk need not know the difference.
  [[nodiscard]] virtual Result<std::size_t, DiskError> read_once(std::uint64_t offset,
                                                                 std::span<std::byte> into) {
    return read(offset, into);
  }
  /// As read(), and never older than what another machine that shares the storage had written and synced
  /// before the call: nothing that this machine keeps of the file is believed unless the file system keeps
  /// that coherent. At most 4096 bytes, of one page that begins at a multiple of 4096. One thread at a time.
  /// A disk of one machine need not know the difference.
  [[nodiscard]] virtual Result<std::size_t, DiskError> read_fresh(std::uint64_t offset,
                                                                  std::span<std::byte> into) {
    return read(offset, into);
  }
  /// Writes all of `from` or fails; after a failure any prefix may have been written.
  [[nodiscard]] virtual Result<void, DiskError> write(std::uint64_t offset, BytesView from) = 0;
  /// As write(), of much that will not be read soon. A disk need not know the difference.
  [[nodiscard]] virtual Result<void, DiskError> write_unread(std::uint64_t offset, BytesView from) {
    return write(offset, from);
  }
  /// Makes everything written before durable (fdatasync). A failure is final for this file.
  [[nodiscard]] virtual Result<void, DiskError> sync() = 0;
  /// Hint, promises nothing: begin to bring these bytes to the device now, so that a later sync() has less to
  /// wait for. An error shows at that sync().
  virtual void start_writing(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) {}
  /// Hint, promises nothing: these bytes were synced and will not be read soon, so what memory the system
  /// keeps them in is better used for others.
  virtual void not_read_soon(std::uint64_t /*offset*/, std::uint64_t /*bytes*/) {}
  [[nodiscard]] virtual Result<std::uint64_t, DiskError> size() = 0;
  [[nodiscard]] virtual Result<void, DiskError> truncate(std::uint64_t bytes) = 0;
  /// Makes the file `bytes` long, its new part allocated and written with zeros, so that later writes inside
  /// need neither space nor metadata. Not durable until sync().
  [[nodiscard]] virtual Result<void, DiskError> preallocate(std::uint64_t bytes) = 0;
  /// As preallocate(), for what will be filled soon and by much at a time: allocated, read as zeros, not
  /// written where that can be had without. Each sync after the first write of a part may have metadata to
  /// write.
  [[nodiscard]] virtual Result<void, DiskError> preallocate_unread(std::uint64_t bytes) {
    return preallocate(bytes);
  }
};

enum class OpenMode : std::uint8_t {
  read,        ///< must exist
  read_write,  ///< must exist
  create,      ///< must not exist; readable and writable
};

/// Held until destroyed, released by the system when the process dies.
class DiskLock {
 public:
  virtual ~DiskLock() = default;
};

/// A directory tree. Paths are relative to its root, '/'-separated, without "..". Creating, renaming and
/// removing are durable only after sync_directory() of the parent.
class Disk {
 public:
  virtual ~Disk() = default;
  [[nodiscard]] virtual Result<std::unique_ptr<File>, DiskError> open(const std::string& path,
                                                                      OpenMode mode) = 0;
  /// Names (not paths) of the files and directories in `directory` ("" = root), sorted.
  [[nodiscard]] virtual Result<std::vector<std::string>, DiskError> list(const std::string& directory) = 0;
  /// Replaces `to` if it exists, atomically.
  [[nodiscard]] virtual Result<void, DiskError> rename(const std::string& from, const std::string& to) = 0;
  [[nodiscard]] virtual Result<void, DiskError> remove(const std::string& path) = 0;
  /// Gives the file `from` a second name; `exists` when there is a file of that name. Both are the same file
  /// from then on: what is written through one is read through the other.
  [[nodiscard]] virtual Result<void, DiskError> link(const std::string& from, const std::string& to);
  /// Removes an empty directory.
  [[nodiscard]] virtual Result<void, DiskError> remove_directory(const std::string& path);
  /// Creates the directory and its parents; succeeds if it is there.
  [[nodiscard]] virtual Result<void, DiskError> make_directory(const std::string& path) = 0;
  [[nodiscard]] virtual Result<void, DiskError> sync_directory(const std::string& path) = 0;
  /// Bytes an ordinary process may still allocate.
  [[nodiscard]] virtual Result<std::uint64_t, DiskError> free_bytes() = 0;
  /// Exclusive among all processes; `locked` when another holds it. Creates the file if need be.
  [[nodiscard]] virtual Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) = 0;
  /// How a person would name `path` (the real one: an absolute path). For messages.
  [[nodiscard]] virtual std::string describe(const std::string& path) const = 0;
};

/// Reads a whole file. @param bytes_max  a longer file is an `io` error, so that a stray giant does not eat
/// memory.
[[nodiscard]] Result<Buffer, DiskError> read_file(Disk& disk, const std::string& path,
                                                  std::uint64_t bytes_max);

/// Replaces `path` atomically and durably: writes `path`.new, syncs, renames, syncs the directory.
[[nodiscard]] Result<void, DiskError> replace_file(Disk& disk, const std::string& path, BytesView content);

}  // namespace mainstay
