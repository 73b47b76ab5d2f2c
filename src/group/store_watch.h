// A node that shares its group's store and does not lead: when it tries to, and in which order it asks whom
// (decision 0019). Decided from values; the driver does what outputs() say and tells what came of it.
//
//   lock, then a look at the store, then the register (compare-and-swap: from here the epoch is this node's
//   alone), then take_store(), which fences whoever led before it reads the log, then lead.
//
// Now and then it looks at the store and the register without wanting anything of them: what would keep it
// from leading is told before it is needed.
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
  /// May make an empty directory the store of a group that is not in the register yet.
  bool may_create = false;
  /// True: nobody leads without the lock. False: a leader that is not heard for suspect_after is taken to be
  /// gone although its lock is held; only its fence keeps it from answering then.
  bool lock_required = true;
  Duration look_every = milliseconds(100);
  Duration suspect_after = milliseconds(1'200);
  Duration register_retry = milliseconds(100);
  Duration register_every = seconds(2);  ///< it looks whether store and register are well
  /// How often this node had the store taken from it lately: until it hears a leader it leaves whoever did in
  /// peace for longer each time, unless the lock is free. Two nodes that do not hear each other would take it
  /// from each other all the time.
  std::size_t lost_lately = 0;
  /// R8: for so long a leader may deliver without having seen its fence. Where the lock does not prove that
  /// it has ended (lock_required false), it is waited out between its fence and the new lead.
  Duration lease = milliseconds(800);
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
  std::string holder;   ///< of the lock when it was tried last; empty = nobody, or not known
  /// What is wrong with the register or the store, by the last look; empty = nothing is known to be.
  std::string unwell;
  bool register_refused = false;  ///< it is older than what the store has seen, or of another cluster
  std::uint64_t alarms = 0;       ///< raised so far
};

class StoreWatch {
 public:
  /// `random` outlives it.
  StoreWatch(WatchOptions options, Random& random, Instant now);

  /// A leader's word, of whatever kind.
  void heard(const std::string& node, Epoch epoch, Instant now);
  /// No line to that node any more: what it said before counts no longer.
  void line_ended(const std::string& node);
  /// A leader gives the store to this node.
  void invited(const std::string& by, Epoch epoch, Instant now);
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
  /// When tick() is due at the latest.
  [[nodiscard]] Instant next_deadline() const;
  /// Appends what came out since the last call.
  void outputs(std::vector<WatchOutput>& into);
  [[nodiscard]] WatchStatus status(Instant now) const;

 private:
  enum class Step : std::uint8_t {
    watching,
    locking,
    looking,
    reading,
    changing,
    checking,
    taking,
    waiting,  ///< the store is this node's; its last leader's lease runs out
    leading,
    peeking_at_store,
    peeking_at_register,
  };
  [[nodiscard]] bool silent(Instant now) const;
  [[nodiscard]] Duration patience() const;
  void note_sight(const StoreSight& sight, Instant now);
  [[nodiscard]] bool is_invited(Instant now) const;
  void give_up(const std::string& why, Duration pause, Instant now);
  void alarm(const std::string& why, Instant now);
  void end_peek(const std::string& unwell, Instant now);
  [[nodiscard]] std::string wrong_with(const coordination::GroupState& state) const;
  void lead();
  void consider(const coordination::GroupState& state, Instant now, WallTime wall);
  void won(Instant now);

  const WatchOptions options_;
  Random& random_;
  Step step_ = Step::watching;
  std::vector<WatchOutput> out_;
  std::set<std::string> alarms_;  ///< each told once
  std::string problem_, holder_, unwell_;
  bool register_refused_ = false;
  bool locked_ = false;
  bool was_invited_ = false;  ///< when it took the store

  Instant next_look_, next_peek_;
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

  std::size_t lost_lately_;
  StoreSight sight_;
  coordination::GroupState expected_;
  coordination::GroupRecord next_;
  std::string reason_;
  StoreClaim claim_;
  TakenStore taken_;
  Instant lead_at_;
  Epoch seen_;
};

}  // namespace mainstay::group
