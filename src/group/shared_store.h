// One data directory that several nodes may write to, one at a time: shared-store mode (decision 0019). Each
// leadership takes the store under an epoch of its own and gets a directory of its own in it, a *claim*; what
// an earlier writer still does, awake again after any time, it does to files that nobody reads.
//
//   store                   whose store it is: cluster, incarnation
//   lock                    held by whoever leads, and by tools (Disk::lock)
//   epoch-<20 digits>/      a claim: the whole data directory of a node
//     fence                 4096 bytes that the claim's owner wrote once, and a later claim writes over
//     complete              the claim has everything: the highest one that is complete is the store's content
//
// Formats: docs/formats/shared-store.md. No clock, thread or register of its own; files come in as Disk.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/ids.h"
#include "base/random.h"
#include "base/result.h"
#include "coordination/group_record.h"

namespace mainstay::group {

/// The name that journals of a shared store have in the place of a node's: nobody's own.
inline constexpr const char* kStoreNode = "shared-store";
/// Path of what says whose store it is, below the store's root.
inline constexpr const char* kStoreIdentity = "store";
/// Path of the lock, below the store's root.
inline constexpr const char* kStoreLock = "lock";

struct StoreIdentity {
  Uuid cluster;
  Uuid incarnation;     ///< of the journal in it, and of every node that leads on it
  bool in_use = false;  ///< a claim was complete once: a store without one has lost its log
  friend bool operator==(const StoreIdentity&, const StoreIdentity&) = default;
};

/// Who has taken the store. `epoch` is the register's word: nobody else ever has the same.
struct StoreClaim {
  Epoch epoch;
  std::string node;  ///< ≤ 255 bytes
  Uuid id;           ///< drawn for each attempt
  friend bool operator==(const StoreClaim&, const StoreClaim&) = default;
};
/// "epoch-00000000000000000007"
[[nodiscard]] std::string claim_directory(Epoch epoch);
[[nodiscard]] std::optional<Epoch> parse_claim_directory(std::string_view name);

/// What is in a store. Hints, unless nobody else can write to it.
struct StoreSight {
  std::optional<StoreIdentity> identity;  ///< nothing: not a shared store (yet)
  Epoch highest;                          ///< of all claims, complete or not; 0 = none
  Epoch current;                          ///< the highest complete one; 0 = none
  /// Of the current claim's superblock: the register has shown at least this epoch.
  Epoch seen;
  /// How many there are. Whoever leads removes the others: more than one or two are takers that got no
  /// further.
  std::size_t claims = 0;
};
/// Reads only. An error when the directory is that of a node of another kind, or cannot be read.
[[nodiscard]] Result<StoreSight, Failure> look_at_store(Disk& disk);
/// Directory of the claim that has the store's content; nothing when `disk` is no shared store; an error when
/// it is one without content. For tools.
[[nodiscard]] Result<std::optional<std::string>, Failure> current_claim(Disk& disk);

/// Makes an empty directory a store. What is there already stays: then that is returned.
/// @pre the lock is held
[[nodiscard]] Result<StoreIdentity, Failure> make_store(Disk& disk, const Uuid& cluster, Random& random);

struct TakenStore {
  std::string directory;         ///< the claim's, complete
  Epoch from;                    ///< the claim that its content comes from; 0 = it began empty
  std::uint64_t linked{};        ///< files
  std::uint64_t copied_bytes{};  ///< of the log's last segment
};
/// Takes the store for `claim`, whose epoch its caller has just won in the register: makes the claim's
/// directory, fences every lower claim, and only then reads the highest complete one. Durable when it
/// returns. Gives up when there is a higher claim.
///
/// Whatever a writer of a lower claim had made durable and found its fence whole afterwards is in it.
[[nodiscard]] Result<TakenStore, Failure> take_store(Disk& disk, const StoreIdentity& store,
                                                     const StoreClaim& claim);

/// Removes the claims below `epoch`, which is complete; what is shared with it stays. What cannot be removed
/// is left for the next time.
void remove_claims_below(Disk& disk, Epoch epoch);

/// Whether the store is still its owner's. Thread-safe.
class StoreFence {
 public:
  /// @param disk  rooted at the claim's directory, outlives the fence
  [[nodiscard]] static Result<std::unique_ptr<StoreFence>, Failure> open(Disk& disk, const StoreClaim& claim);

  /// Reads it anew. What was made durable before this was called, when it returns without an error, is in
  /// every later claim. An error, and every call after it: the store is another's now, or nobody can tell;
  /// nothing may be answered any more.
  [[nodiscard]] Result<void, DiskError> check();
  /// Why it was lost; empty while it was not.
  [[nodiscard]] std::string lost() const;
  [[nodiscard]] std::uint64_t checks() const { return checks_.load(std::memory_order_relaxed); }

 private:
  StoreFence(std::unique_ptr<File> file, Buffer page, std::string shown);
  mutable std::mutex mutex_;
  std::unique_ptr<File> file_;
  const Buffer page_;  ///< what must stand there
  const std::string shown_;
  std::string lost_;  // guarded by mutex_
  std::atomic<std::uint64_t> checks_{0};
};

/// The claim's directory for its owner: every sync() is followed by a look at the fence, and fails when that
/// does; so does everything that changes a directory, before it changes it.
class FencedDisk final : public Disk {
 public:
  FencedDisk(std::unique_ptr<Disk> disk, std::shared_ptr<StoreFence> fence)
      : disk_(std::move(disk)), fence_(std::move(fence)) {}

  Result<std::unique_ptr<File>, DiskError> open(const std::string& path, OpenMode mode) override;
  Result<std::vector<std::string>, DiskError> list(const std::string& directory) override {
    return disk_->list(directory);
  }
  Result<void, DiskError> rename(const std::string& from, const std::string& to) override;
  Result<void, DiskError> remove(const std::string& path) override;
  Result<void, DiskError> link(const std::string& from, const std::string& to) override;
  Result<void, DiskError> remove_directory(const std::string& path) override;
  Result<void, DiskError> make_directory(const std::string& path) override;
  Result<void, DiskError> sync_directory(const std::string& path) override;
  Result<std::uint64_t, DiskError> free_bytes() override { return disk_->free_bytes(); }
  Result<std::unique_ptr<DiskLock>, DiskError> lock(const std::string& path) override {
    return disk_->lock(path);
  }
  std::string describe(const std::string& path) const override { return disk_->describe(path); }

 private:
  std::unique_ptr<Disk> disk_;
  std::shared_ptr<StoreFence> fence_;
};

}  // namespace mainstay::group
