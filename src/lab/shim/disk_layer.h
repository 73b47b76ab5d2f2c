// What the preloaded layer does with each call, below the names of libc (hooks.cpp). All real work is done by
// system calls made directly, so that nothing here meets its own hooks.
//
// Order of everything: what a change would destroy is written to the state directory first, then the change
// is made. A process killed between the two has noted a change that did not happen, and undoing that does
// nothing.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "lab/disk_format.h"

namespace mainstay::lab::shim {

/// One file (inode) below the root.
struct Tracked {
  std::mutex mutex;  // held over note and change, so that their order is the same
  ino_t inode{};
  int undo = -1;
  std::uint64_t last = 0;  ///< number of the last change noted
  bool pending = false;    ///< something noted is not durable
  bool never_more = false;
  bool gone = false;  ///< it has no name any more, durably
};

/// Thread-safe.
class DiskLayer {
 public:
  DiskLayer(std::string root, std::string state, DiskPage* page);

  // Files. `offset` -1: at the descriptor's own position.
  ssize_t write(int fd, const iovec* parts, int count, off_t offset);
  int truncate(int fd, off_t size);
  int allocate(int fd, int mode, off_t offset, off_t bytes);
  /// fsync and fdatasync, of files and directories.
  int sync(int fd, long call);

  // Names, relative to a directory descriptor as in openat().
  int open(int directory, const char* path, int flags, mode_t mode);
  int rename(int from_directory, const char* from, int to_directory, const char* to, unsigned flags);
  int unlink(int directory, const char* path, int flags);
  int make_directory(int directory, const char* path, mode_t mode);
  int link(int from_directory, const char* from, int to_directory, const char* to, int flags);

  /// Whether a full disk is to be told of this path.
  bool is_full(const char* path) const;

 private:
  struct NameChange {
    std::uint64_t number{};
    std::string directory, kept;
  };
  std::shared_ptr<Tracked> track(int fd, struct stat& status);
  bool note_change(Tracked& file, int fd, std::uint64_t offset, std::uint64_t bytes, std::uint64_t size);
  void note(Tracked& file, UndoKind kind, std::uint64_t number);
  void become_durable(Tracked& file, std::uint64_t upto);
  int sync_directory(int fd, long call, const std::string& path);

  /// Absolute, its directory resolved; empty when it is not below the root.
  std::string below_root(int directory, const char* path) const;
  std::uint64_t note_name(const std::string& directory, const std::string& what, const std::string& kept);
  std::string keep(const std::string& path);
  void forget(const std::string& kept);
  void wait_while(const std::atomic<std::uint64_t>& stall);
  void broken();

  const std::string root_, state_;
  DiskPage* const page_;
  dev_t device_{};
  std::mutex files_mutex_;  // guards files_
  std::map<ino_t, std::shared_ptr<Tracked>> files_;
  std::mutex names_mutex_;  // guards what follows; before a Tracked's mutex where both are held
  int names_ = -1;
  std::uint64_t last_name_ = 0;
  std::vector<NameChange> changes_;  ///< not durable, by number
};

}  // namespace mainstay::lab::shim
