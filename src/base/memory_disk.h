// A disk in memory that behaves as badly as a real one may: what was not synced can be lost, kept or torn in
// a crash, directory changes too; it fills up, fails and rots when told. Same calls and same random numbers
// give the same disk. For tests and the simulator.
//
// The model
//   A file has what is *written* (every read sees it) and what is *durable* (as of the last sync). Between
//   the two lies the list of writes since then. A crash takes the durable state and, for each of those
//   writes, keeps it, drops it, or keeps an arbitrary subset of its 512-byte sectors; a sector is never torn
//   inside. The directory tree works alike: a create, rename or remove that no sync_directory() of its
//   directory followed may or may not have happened, each on its own, a rename always whole. What lies in a
//   directory whose own entry is lost, is lost. After a failed sync the writes it was to make durable are
//   still read, but no later sync makes them durable: Linux marks the pages clean. Only writing them again
//   helps.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/random.h"

namespace mainstay {

/// Thread-safe (one lock around everything). Outlives its files and locks.
class MemoryDisk final : public Disk {
 public:
  static constexpr std::uint64_t kSectorBytes = 512;

  struct Counters {
    std::uint64_t reads{};
    std::uint64_t writes{};
    std::uint64_t bytes_written{};
    std::uint64_t syncs{};
    std::uint64_t directory_syncs{};
    std::uint64_t creates{};
    std::uint64_t renames{};
    std::uint64_t removes{};
    std::uint64_t crashes{};
    /// What crashes did to writes that were not synced; the simulator's "was this fault reached" counters.
    std::uint64_t writes_lost{};
    std::uint64_t writes_torn{};
    std::uint64_t directory_changes_lost{};
    std::uint64_t faults_injected{};
    /// Everything that changes the disk, syncs included: the clock of stop_after().
    std::uint64_t mutations{};
  };

  /// @param name  for messages: describe("a") is "<name>/a".
  explicit MemoryDisk(std::string name = "memory");
  ~MemoryDisk() override;

  Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override;
  Result<std::vector<std::string>, DiskError> list(const std::string& directory) override;
  Result<void, DiskError> rename(const std::string& from, const std::string& to) override;
  Result<void, DiskError> remove(const std::string& path) override;
  Result<void, DiskError> link(const std::string& from, const std::string& to) override;
  Result<void, DiskError> remove_directory(const std::string& path) override;
  Result<void, DiskError> make_directory(const std::string& path) override;
  Result<void, DiskError> sync_directory(const std::string& path) override;
  Result<std::uint64_t, DiskError> free_bytes() override;
  Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override;
  std::string describe(const std::string& path) const override;

  // --- Ends of the process that uses the disk. Each releases the locks and makes every open File fail for
  // good (reads too), and lifts stop_after() and pending faults.

  /// The machine dies: what was not synced is kept, lost or torn as `random` decides.
  void crash(Random& random);
  /// The machine dies and nothing that was not synced survives.
  void crash_losing_unsynced();
  /// Only the process dies: everything written stays readable, and is as little durable as before.
  void kill();

  // --- Faults.

  /// Bytes the files together may take; writes and preallocation beyond give no_space after writing what
  /// still fits. Unlimited at first. May be set below what is used.
  void set_capacity(std::uint64_t bytes);
  /// The sync after the next `skip` ones fails, whichever file.
  void fail_next_sync(std::uint64_t skip = 0);
  /// The write or preallocation after the next `skip` ones writes a part (half of it) and fails.
  void fail_next_write(std::uint64_t skip = 0, DiskErrorCode code = DiskErrorCode::io);
  /// While set, read_if_cached() answers that the disk would have to be waited for.
  void set_cold(bool cold);
  /// The read after the next `skip` ones fails.
  void fail_next_read(std::uint64_t skip = 0);
  /// The read after the next `skip` ones gives one byte with a bit of it turned over; the disk itself is
  /// well.
  void damage_next_read(std::uint64_t skip = 0);
  /// Reads that were to fail or to be damaged and have not been, will not be.
  void let_reads_be();
  /// Allows `mutations` more changes of the disk; every later one fails without effect until the process ends
  /// (crash or kill). With a script and every number from 0 on: every crash point of the script.
  void stop_after(std::uint64_t mutations);
  /// Rot: flips the bits of `mask` in a byte, in what is read and in what is durable. The file must exist and
  /// reach there (asserted).
  void flip(const std::string& path, std::uint64_t offset, std::uint8_t mask = 1);

  /// A write of somebody else that landed here: these bytes stand there now, read and durable. As flip().
  void overwrite(const std::string& path, std::uint64_t offset, BytesView bytes);

  // --- For tests: looking at the disk and arranging it, not counted, without faults.

  [[nodiscard]] bool exists(const std::string& path) const;
  /// What a read would see. The file must exist (asserted).
  [[nodiscard]] Buffer contents(const std::string& path) const;
  /// What survives crash_losing_unsynced(), nothing when the file itself does not.
  [[nodiscard]] std::optional<Buffer> durable_contents(const std::string& path) const;
  /// Makes or replaces a file, durably, its directory too.
  void put(const std::string& path, BytesView content);
  /// Removes a file durably.
  void erase(const std::string& path);
  /// Paths of all files, sorted.
  [[nodiscard]] std::vector<std::string> paths() const;
  [[nodiscard]] std::uint64_t used_bytes() const;
  [[nodiscard]] Counters counters() const;

 private:
  friend class MemoryFile;
  friend class MemoryLock;

  /// One change of a file since its last sync.
  struct Change {
    enum class Kind : std::uint8_t { write, zeros, truncate };
    Kind kind{};
    std::uint64_t offset{};  ///< truncate: the new length
    std::uint64_t length{};
    Buffer bytes;  ///< write only
  };
  struct Inode {
    std::uint64_t number{};  ///< order of creation: the order in which a crash treats files
    Buffer written;
    Buffer durable;
    std::vector<Change> changes;
  };
  /// A file, or a directory when null.
  using Entry = std::shared_ptr<Inode>;
  using Tree = std::map<std::string, Entry>;
  struct TreeChange {
    enum class Kind : std::uint8_t { link, rename, unlink };
    Kind kind{};
    std::string path;
    std::string from;  ///< rename only
    Entry entry;
  };

  static std::string parent_of(const std::string& path);
  static void apply(const TreeChange& change, Tree& tree);
  static void apply_range(const Change& change, std::uint64_t begin, std::uint64_t end, Buffer& to);
  static void apply(const Change& change, Buffer& to);
  void change_tree(TreeChange change);
  [[nodiscard]] std::optional<DiskError> begin_mutation(const char* operation, const std::string& path);
  [[nodiscard]] bool fault_due(std::optional<std::uint64_t>& countdown);
  [[nodiscard]] DiskError error(DiskErrorCode code, const char* operation, const std::string& path,
                                const std::string& reason) const;
  [[nodiscard]] std::uint64_t used() const;
  void crash_file(Inode& inode, Random* random);
  void crash_tree(Random* random);
  void end_process();
  Result<void, DiskError> change_file(Inode& inode, const std::string& path, Change change,
                                      const char* operation);
  Result<void, DiskError> sync_file(Inode& inode, const std::string& path);

  mutable std::mutex mutex_;
  std::string name_;
  Tree tree_;          // as the process sees it
  Tree durable_tree_;  // as a crash leaves it at least
  std::vector<TreeChange> tree_changes_;
  std::set<std::string> locks_;
  std::uint64_t boot_ = 1;  // files and locks of an earlier one are dead
  std::uint64_t inodes_ = 0;
  std::uint64_t capacity_ = UINT64_MAX;
  std::optional<std::uint64_t> fail_sync_;
  std::optional<std::uint64_t> fail_write_;
  std::optional<std::uint64_t> fail_read_;
  std::optional<std::uint64_t> damage_read_;
  bool cold_ = false;
  DiskErrorCode fail_write_code_ = DiskErrorCode::io;
  std::optional<std::uint64_t> mutations_left_;
  Counters counters_;
};

}  // namespace mainstay
