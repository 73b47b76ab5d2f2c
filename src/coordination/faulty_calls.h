// A node's way to the group's register as a simulation has it: calls take time, are lost on the way there or
// on the way back, and arrive after the asker has given up. Drives nothing by itself: the caller's queue is
// the time, so one seed gives one run.
#pragma once

#include <functional>

#include "base/clock.h"
#include "coordination/group_register.h"

namespace mainstay::coordination {

/// What becomes of one call.
struct CallFate {
  Duration there = milliseconds(1);  ///< until it takes effect at the register
  Duration back = milliseconds(1);   ///< from then until the answer is with the asker
  bool arrives = true;               ///< false: it never takes effect
  bool answered = true;              ///< false: it takes effect, and nobody is told
  /// The asker hears at the latest then: of a read that nobody answered, of a swap that its outcome is
  /// unknown. A call that is on its way longer still takes effect when it arrives.
  Duration patience = seconds(2);
};

/// Not thread-safe. `of` outlives every call made through it.
class FaultyCalls {
 public:
  /// Runs `what` once, `delay` from now.
  using Later = std::function<void(Duration delay, std::function<void()> what)>;

  FaultyCalls(GroupRegister& of, Later later) : register_(of), later_(std::move(later)) {}

  /// `done` is called exactly once, never before this returns.
  void read(const Seen& seen, const CallFate& fate, std::function<void(Result<GroupState, GroupError>)> done);
  void compare_and_swap(const GroupState& expected, const GroupRecord& next, const Seen& seen,
                        const CallFate& fate, std::function<void(Result<GroupSwap, GroupError>)> done);

 private:
  template <class Answer>
  void call(const CallFate& fate, std::function<Answer()> act, Answer without_answer,
            std::function<void(Answer)> done);

  GroupRegister& register_;
  const Later later_;
};

}  // namespace mainstay::coordination
