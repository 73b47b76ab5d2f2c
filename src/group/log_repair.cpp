#include "group/log_repair.h"

#include <algorithm>
#include <utility>

namespace mainstay::group {

bool others_have_all(const coordination::GroupRecord& record, const std::string& self) {
  return record.leader.node != self &&
         std::any_of(record.isr.begin(), record.isr.end(), [&](const auto& it) { return it.node != self; });
}

bool LogRepair::damaged(Lsn lsn, const std::string& what) {
  last_damaged_ = std::max(last_damaged_, lsn);
  if (is_damaged()) return false;
  what_ = what;
  waits_.clear();
  followed_.clear();
  return true;
}

void LogRepair::log_begins_with(Lsn first) {
  if (is_damaged() && last_damaged_ < first) log_was_replaced();
}

void LogRepair::log_was_replaced() {
  what_.clear();
  waits_.clear();
  last_damaged_ = {};
}

LogRepair::Step LogRepair::next(const Facts& facts, Instant now) {
  if (!is_damaged()) return Nothing{};
  const std::string follows = facts.role == Role::follower ? facts.leader : std::string();
  if (follows.empty() || follows != followed_) followed_since_ = now;
  followed_ = follows;
  switch (facts.role) {
    case Role::candidate:
      waits_ = "it asks the register to lead";
      return Nothing{};
    case Role::leader: {
      if (facts.moving) {
        waits_ = "the lead is being given to another node";
        return Nothing{};
      }
      if (facts.heirs.empty()) {
        waits_ =
            "no other node is in sync: this one leads on with what is whole, and gives the lead away when "
            "one is";
        return Nothing{};
      }
      if (now < move_at_) {
        waits_ = "the lead was to go to another node and is here again: tried once more after " +
                 std::to_string((move_at_ - now).milliseconds() / 1000 + 1) + " s";
        return Nothing{};
      }
      move_at_ = now + move_wait_.next();
      return HandOver{facts.heirs[moves_++ % facts.heirs.size()]};
    }
    case Role::follower:
      if (follows.empty()) {
        waits_ = "it begins anew when it follows a leader, which has everything";
        return Nothing{};
      }
      if (now - followed_since_ < times_.followed_for) return Nothing{};
      break;
    case Role::stopped:
      if (!facts.cannot_cut) {
        waits_ = "it has stopped for another reason";
        return Nothing{};
      }
      break;
  }
  if (!may_set_aside(now)) {
    if (aside_when_) {
      waits_ = "a damaged log of this node was set aside only " +
               std::to_string((now - *aside_when_).milliseconds() / 1000) +
               " s ago. Replace its disk; it does not begin anew by itself for another " +
               std::to_string((aside_at_ - now).milliseconds() / 1000 + 1) + " s";
    }
    return Nothing{};
  }
  waits_ = "it begins anew";
  return SetAside{};
}

void LogRepair::was_set_aside(Instant now) {
  if (aside_when_ && now - *aside_when_ > times_.forgotten_after) aside_wait_.reset();
  aside_when_ = now;
  aside_at_ = now + aside_wait_.next();
  log_was_replaced();
}

void LogRepair::could_not_set_aside(const std::string& why, Instant now) {
  aside_at_ = now + move_wait_.next();
  waits_ = why;
}

std::string LogRepair::problem() const {
  if (!is_damaged()) return {};
  return "this node's log is damaged: " + what_ + (waits_.empty() ? "" : "; " + waits_);
}

}  // namespace mainstay::group
