// What a running node of a group does about damage that it has met in its own log (R10; the same at a start:
// replica::set_aside()). It neither cuts nor mends: it gives the lead to a node that has everything, and
// then begins anew as a new disk, which gets everything from the others. While nobody else has everything it
// goes on with what is whole.
//
// Sans-I/O: facts come in with each question, what to do goes out. One strand. Outlives the node's members:
// a step ends a member, and what is known of the disk stays.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/doubling_wait.h"
#include "group/member.h"

namespace mainstay::group {

/// Each wait doubles from the first to the longest, so that nodes whose disks are bad do not hand the lead to
/// and fro, nor copy their logs again and again.
struct RepairTimes {
  Duration followed_for = seconds(1);  ///< its leader, before the log goes: the lead has settled by then
  Duration move_again = seconds(5);    ///< after the lead was to move
  Duration move_again_max = seconds(600);
  Duration aside_again = seconds(600);  ///< after a log was set aside
  Duration aside_again_max = seconds(6 * 3600);
  Duration forgotten_after = seconds(24 * 3600);  ///< without another one
};

/// A log is set aside only while another node has everything: this record, the newest that can be had, names
/// one that is in sync, and another than this node as leader. While it names this one, a change that its
/// former life asked for may still land (R5), go on without the others, and leave this log as the only one
/// that counts.
[[nodiscard]] bool others_have_all(const coordination::GroupRecord& record, const std::string& self);

class LogRepair {
 public:
  explicit LogRepair(const RepairTimes& times = {})
      : times_(times),
        move_wait_(times.move_again, times.move_again_max),
        aside_wait_(times.aside_again, times.aside_again_max) {}

  /// Of the record at `lsn`; certain, as far as reading it several times can tell. @return nothing was known
  /// to be damaged before
  bool damaged(Lsn lsn, const std::string& what);
  /// Nothing before this record is in the log any more.
  void log_begins_with(Lsn first);
  /// A full copy has taken the log's place.
  void log_was_replaced();
  [[nodiscard]] bool is_damaged() const { return !what_.empty(); }
  [[nodiscard]] const std::string& what() const { return what_; }

  struct Facts {
    Role role{};
    bool moving = false;             ///< the lead is, planned by whomever
    std::vector<std::string> heirs;  ///< of a leader: the others in sync that it ships to
    /// Of a follower: the leader that has accepted the end of this log, and so has all of it. Empty: none.
    std::string leader;
    bool cannot_cut = false;  ///< MemberStatus::cannot_cut
  };
  struct Nothing {};
  struct HandOver {
    std::string to;
  };
  /// Restart, and set the log aside if another node is in sync by the register; then was_set_aside() or
  /// could_not_set_aside().
  struct SetAside {};
  using Step = std::variant<Nothing, HandOver, SetAside>;
  /// To be asked again and again; what comes out is to be done.
  [[nodiscard]] Step next(const Facts& facts, Instant now);

  /// Also at a start. False soon after another one: the disk is bad, and another copy would rot as this one.
  [[nodiscard]] bool may_set_aside(Instant now) const { return now >= aside_at_; }
  void was_set_aside(Instant now);
  void could_not_set_aside(const std::string& why, Instant now);

  /// What is damaged and what becomes of it; empty: nothing is known to be.
  [[nodiscard]] std::string problem() const;

 private:
  RepairTimes times_;
  std::string what_, waits_;
  Lsn last_damaged_{};
  std::string followed_;
  Instant followed_since_{};
  std::size_t moves_ = 0;
  DoublingWait move_wait_, aside_wait_;
  Instant move_at_{}, aside_at_{};
  std::optional<Instant> aside_when_;
};

}  // namespace mainstay::group
