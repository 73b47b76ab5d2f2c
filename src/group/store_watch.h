// A node that shares its group's store and does not lead: when it tries to, and in which order it asks whom
// (decision 0019). Decided from values; the driver does what outputs() say and tells what came of it.
//
//   lock, then a look at the store, then the register (compare-and-swap: from here the epoch is this node's
//   alone), then take_store(), which fences whoever led before it reads the log, then lead.
//
// At most one output waits for its answer. One strand.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "coordination/group_register.h"
#include "group/member.h"
#include "group/shared_store.h"

namespace mainstay::group {

struct WatchOptions {
  Uuid cluster;
  std::string node;
  bool may_create =
      false;  ///< may make an empty directory the store of a group that is not in the register yet
  /// True: nobody leads without the lock. False: a leader that is not heard for suspect_after is taken to be
  /// gone although its lock is held; only its fence keeps it from answering then.
  bool lock_required = true;
  Duration look_every = milliseconds(100);
  Duration suspect_after = milliseconds(1'200);
  Duration register_retry = milliseconds(100);
};

/// Disk::lock(kStoreLock), without waiting; then lock_tried().
struct TryLock {};
struct GiveUpLock {};
/// look_at_store(), then looked().
struct LookAtStore {};
/// make_store(), look_at_store(), then looked().
struct MakeStore {};
/// take_store(), then taken().
struct TakeStore {
  StoreIdentity store;
  StoreClaim claim;
};
/// The store is this node's: nothing more is asked. `locked`: with the lock.
struct LeadOnStore {
  StoreIdentity store;
  StoreClaim claim;
  TakenStore taken;
  bool locked = false;
  std::string why;
};
/// ReadRegister, ChangeRegister, Alarm: as a member's.
using WatchOutput = std::variant<TryLock, GiveUpLock, LookAtStore, MakeStore, ReadRegister, ChangeRegister,
                                 TakeStore, LeadOnStore, Alarm>;

struct WatchStatus {
  std::string leader;   ///< node that said so last, on a line that still is; empty = none
  Epoch epoch;          ///< its
  Epoch seen;           ///< highest of the register and the store
  bool trying = false;  ///< to lead
  std::string why;      ///< this node does not lead, in words; the problem, when there is one
};

class StoreWatch {
 public:
  /// `random` outlives it.
  StoreWatch(WatchOptions options, Random& random, Instant now);

  /// A leader's word, of whatever kind.
  void heard(const std::string& node, Epoch epoch, Instant now);
  /// No line to that node any more: what it said before counts no longer.
  void line_ended(const std::string& node);
  /// The leader gives the store to this node.
  void invited(Instant now);
  /// This node gave the store to another: it gets its time.
  void hold_back(Instant until);

  enum class Lock : std::uint8_t { taken, held, failed };
  /// @param what  held, failed: by whom, why
  void lock_tried(Lock outcome, const std::string& what, Instant now);
  void looked(const Result<StoreSight, Failure>& sight, Instant now);
  void register_read(RegisterOutcome outcome, const coordination::GroupState& state, Instant now,
                     WallTime wall);
  void register_changed(RegisterOutcome outcome, const coordination::GroupState& state, Instant now);
  void taken(const Result<TakenStore, Failure>& taken, Instant now);

  void tick(Instant now);
  [[nodiscard]] Instant next_deadline() const;
  void outputs(std::vector<WatchOutput>& into);
  [[nodiscard]] WatchStatus status(Instant now) const;

 private:
  enum class Step : std::uint8_t { watching, locking, looking, reading, changing, checking, taking, leading };
  [[nodiscard]] bool silent(Instant now) const;
  [[nodiscard]] bool is_invited(Instant now) const;
  void give_up(const std::string& why, Duration pause, Instant now);
  void alarm(const std::string& why, Instant now);
  void consider(const coordination::GroupState& state, Instant now, WallTime wall);
  void won(Instant now);

  const WatchOptions options_;
  Random& random_;
  Step step_ = Step::watching;
  std::vector<WatchOutput> out_;
  std::set<std::string> alarms_;  ///< each told once
  std::string problem_, holder_;
  bool locked_ = false;

  Instant next_look_;
  Instant held_back_until_;
  Instant listening_since_;
  Duration jitter_{};
  std::optional<Instant> invited_at_;
  struct Leader {
    std::string node;
    Epoch epoch;
    Instant at;
  };
  std::optional<Leader> leader_;

  StoreSight sight_;
  coordination::GroupState expected_;
  coordination::GroupRecord next_;
  std::string reason_;
  StoreClaim claim_;
  Epoch seen_;
};

}  // namespace mainstay::group
