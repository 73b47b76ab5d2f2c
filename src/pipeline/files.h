// The file system as the pipeline needs it: durable writes, renames that never replace, append-only files.
// Everything that is called durable has been synced, directory entry included, when it returns.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace mainstay::pipeline::files {

/// Creates the directory and its parents, durably; succeeds if it is there.
Result<void, Failure> make_directories(const std::string& path);
/// Names of the regular files in a directory, sorted by bytes. Names beginning with '.' are left out.
Result<std::vector<std::string>, Failure> list(const std::string& directory);
/// Names of the directories in a directory, sorted.
Result<std::vector<std::string>, Failure> list_directories(const std::string& directory);
/// @param bytes_max  a longer file is an error, so that a stray giant does not eat memory.
Result<Buffer, Failure> read(const std::string& path, std::uint64_t bytes_max);
bool exists(const std::string& path);
/// Creates or replaces `path` atomically and durably.
Result<void, Failure> replace(const std::string& path, BytesView content);
/// As replace(), not synced: for what may be lost and must not be torn.
Result<void, Failure> replace_unsynced(const std::string& path, BytesView content);
/// Makes the content of these files durable, all of one file system: a few one by one, many by flushing the
/// file system once.
Result<void, Failure> sync_files(const std::vector<std::string>& paths);

enum class Moved : std::uint8_t { yes, exists, missing };
/// Renames without ever replacing. `exists`: `to` is there already; `missing`: `from` is not. Not durable
/// until both directories are synced.
Result<Moved, Failure> move(const std::string& from, const std::string& to);
Result<void, Failure> sync_directory(const std::string& directory);
Result<void, Failure> remove(const std::string& path);  ///< succeeds if it is not there

/// What the kinds of open files have in common. Closed with the value.
class OpenFile {
 public:
  OpenFile() = default;
  OpenFile(OpenFile&& other) noexcept;
  OpenFile& operator=(OpenFile&& other) noexcept;
  ~OpenFile();
  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  [[nodiscard]] std::uint64_t size() const { return size_; }  ///< when it was opened, and what was appended

 protected:
  int fd_ = -1;
  std::uint64_t size_ = 0;
  std::string path_;
};

/// A file that only grows. One writer.
class AppendFile : public OpenFile {
 public:
  /// @param must_be_new  the file must not exist (and its directory is synced).
  static Result<AppendFile, Failure> open(const std::string& path, bool must_be_new);
  [[nodiscard]] const std::string& path() const { return path_; }
  /// After a failure the file is cut back to what it was; if that fails as well, it is closed.
  Result<void, Failure> append(BytesView bytes);
  Result<void, Failure> sync();
  Result<void, Failure> truncate(std::uint64_t bytes);
};

/// Reads from a file at positions.
class ReadFile : public OpenFile {
 public:
  static Result<ReadFile, Failure> open(const std::string& path);
  /// Fewer bytes than asked only at the end of the file.
  Result<Buffer, Failure> read(std::uint64_t offset, std::size_t bytes) const;
};

/// Held until destroyed or the process dies.
class ProcessLock {
 public:
  /// @param holder  what to tell a second process it collides with, e.g. "another builder of this spool".
  static Result<ProcessLock, Failure> take(const std::string& path, const std::string& holder);
  ProcessLock(ProcessLock&& other) noexcept;
  ProcessLock& operator=(ProcessLock&&) = delete;
  ~ProcessLock();

 private:
  explicit ProcessLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace mainstay::pipeline::files
