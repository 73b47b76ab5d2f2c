// A leadership on a store that other nodes can take, from the taking of it to its end: when the fence is
// looked at, when the lock is asked for, when what earlier leaders left is removed, and when the store is
// given up (decision 0019). Decided from values; the driver does what outputs() say and tells what came of
// it. How it begins: store_watch.h. One strand.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "group/store_watch.h"

namespace mainstay::group {

struct TenureOptions {
  Duration look_every = milliseconds(100);
  Duration lock_retry = seconds(1);  ///< a leader without the lock asks for it
  /// What earlier claims left is of no use to anybody; there is no hurry to remove it.
  Duration remove_old_after = seconds(5);
  /// Its lead has to be entered in the register within this time; else others may have their turn.
  Duration lead_within = seconds(10);
};

/// StoreFence::check(), then fence_checked().
struct CheckFence {};
/// remove_claims_below() this leadership's.
struct RemoveOldClaims {};
/// Answer nothing more and go on as a standby. Said once; nothing follows it.
struct LeaveStore {
  std::string why;
};
/// TryLock: as a StoreWatch's, then lock_tried(). It may be under way together with one of the others.
using TenureOutput = std::variant<CheckFence, TryLock, RemoveOldClaims, LeaveStore>;

class StoreTenure {
 public:
  /// @param locked  the lock is held
  StoreTenure(TenureOptions options, bool locked, Instant now);

  /// At least every `look_every`: what it is late with is done late.
  /// @param leads  the register has it, and clients are served
  void tick(bool leads, Instant now);
  /// @param lost  why the store is another's; empty: at the time of asking it was this node's
  void fence_checked(const std::string& lost);
  /// @param what  held, failed: by whom, why
  void lock_tried(StoreWatch::Lock outcome, const std::string& what, Instant now);
  /// Appends what came out since the last call.
  void outputs(std::vector<TenureOutput>& into);

  [[nodiscard]] bool locked() const { return locked_; }
  /// Who held the lock when it was asked for last, or why it could not be asked for; empty: this node has it,
  /// or it was not asked for yet.
  [[nodiscard]] const std::string& holder() const { return holder_; }

 private:
  void leave(const std::string& why);

  const TenureOptions options_;
  std::vector<TenureOutput> out_;
  bool over_ = false;
  bool locked_;
  bool locking_ = false, checking_ = false, removed_ = false;
  std::string holder_;
  const Instant begun_;
  Instant look_at_, lock_at_;
  std::optional<Instant> led_since_;
};

}  // namespace mainstay::group
