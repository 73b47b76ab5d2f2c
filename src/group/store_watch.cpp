#include "group/store_watch.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace mainstay::group {

using coordination::GroupRecord;
using coordination::GroupState;

StoreWatch::StoreWatch(WatchOptions options, Random& random, Instant now)
    : options_(std::move(options)),
      random_(random),
      next_look_(now),
      held_back_until_(now),
      listening_since_(now),
      jitter_{static_cast<std::int64_t>(
          random.below(static_cast<std::uint64_t>(options_.suspect_after.ns / 4) + 1))} {}

void StoreWatch::heard(const std::string& node, Epoch epoch, Instant now) {
  if (leader_ && leader_->epoch > epoch && leader_->node != node) return;  // one that does not know yet
  leader_ = Leader{node, epoch, now};
}

void StoreWatch::line_ended(const std::string& node) {
  if (leader_ && leader_->node == node) leader_.reset();
}

void StoreWatch::invited(Instant now) {
  invited_at_ = now;
  held_back_until_ = now;
  next_look_ = now;
}

bool StoreWatch::is_invited(Instant now) const {
  return invited_at_ && now - *invited_at_ < options_.suspect_after;
}

void StoreWatch::hold_back(Instant until) {
  held_back_until_ = until;
}

/// Nobody leads, for all that can be heard.
bool StoreWatch::silent(Instant now) const {
  const Instant last = leader_ ? leader_->at : listening_since_;
  return now - last > options_.suspect_after + jitter_;
}

/// Back to watching.
void StoreWatch::give_up(const std::string& why, Duration pause, Instant now) {
  problem_ = why;
  if (std::exchange(locked_, false)) out_.emplace_back(GiveUpLock{});
  step_ = Step::watching;
  // Two that are in each other's way come at different times again.
  const auto spread = static_cast<std::uint64_t>(pause.ns / 2) + 1;
  next_look_ = now + pause + Duration{static_cast<std::int64_t>(random_.below(spread))};
}

void StoreWatch::alarm(const std::string& why, Instant now) {
  if (alarms_.insert(why).second) out_.emplace_back(Alarm{why});
  give_up(why, options_.suspect_after, now);
}

void StoreWatch::tick(Instant now) {
  if (step_ != Step::watching || now < next_look_ || now < held_back_until_) return;
  step_ = Step::locking;
  out_.emplace_back(TryLock{});
}

void StoreWatch::lock_tried(Lock outcome, const std::string& what, Instant now) {
  MS_ASSERT(step_ == Step::locking, "an answer follows its question");
  locked_ = outcome == Lock::taken;
  holder_ = outcome == Lock::held ? what : "";
  // Free, and its last holder is still heard: it gives the lead to another, or leads without.
  const bool soon = is_invited(now);
  const bool alone = locked_ && (soon || !leader_);
  const bool go = alone || (silent(now) && (locked_ || !options_.lock_required));
  if (go) {
    step_ = Step::looking;
    out_.emplace_back(LookAtStore{});
    return;
  }
  give_up(outcome == Lock::failed ? "the store's lock cannot be asked for: " + what : "", Duration{}, now);
  next_look_ = now + (soon ? Duration{options_.look_every.ns / 20} : options_.look_every);
}

void StoreWatch::looked(const Result<StoreSight, Failure>& sight, Instant now) {
  MS_ASSERT(step_ == Step::looking, "an answer follows its question");
  if (!sight) return give_up(sight.error().what, options_.suspect_after, now);
  sight_ = *sight;
  seen_ = std::max({seen_, sight_.highest, sight_.seen});
  if (sight_.identity && sight_.identity->cluster != options_.cluster) {
    return alarm("the store belongs to cluster " + sight_.identity->cluster.text() + ", not to " +
                     options_.cluster.text() + ": it is another group's directory",
                 now);
  }
  step_ = Step::reading;
  out_.emplace_back(ReadRegister{});
}

void StoreWatch::register_read(RegisterOutcome outcome, const GroupState& state, Instant now, WallTime wall) {
  MS_ASSERT(step_ == Step::reading || step_ == Step::checking, "an answer follows its question");
  if (outcome != RegisterOutcome::done) {
    // Whether the change was stored is found out by the next attempt: it comes before or after this one.
    return give_up("the register does not answer", options_.register_retry, now);
  }
  if (step_ == Step::checking) {
    if (state.record && *state.record == next_) return won(now);
    return give_up("the register did not store that this node leads", options_.register_retry, now);
  }
  consider(state, now, wall);
}

void StoreWatch::consider(const GroupState& state, Instant now, WallTime wall) {
  const Epoch known = std::max(sight_.highest, sight_.seen);
  if (!state.record) {
    if (sight_.highest > Epoch{} || (sight_.identity && sight_.identity->in_use)) {
      return alarm("the register has no record of this group, which has been in epoch " +
                       std::to_string(known.value) +
                       ": it was lost or put back. Nothing is decided until `mainstay group repair-register`",
                   now);
    }
    if (!options_.may_create)
      return give_up(
          "the register has no record of this group, and this node may not create one (create in "
          "[group])",
          options_.suspect_after, now);
    if (!sight_.identity) {
      if (!locked_) return give_up("a new store is begun with its lock only", options_.look_every, now);
      step_ = Step::looking;
      out_.emplace_back(MakeStore{});
      return;
    }
    next_ = GroupRecord{};
    next_.cluster = options_.cluster;
    next_.epoch = Epoch{1};
    next_.reason = "the group begins on a shared store";
  } else {
    seen_ = std::max(seen_, state.epoch());
    if (state.record->cluster != options_.cluster)
      return alarm("the register's record belongs to another cluster (" + state.record->cluster.text() + ")",
                   now);
    if (!sight_.identity)
      return alarm("the store's directory has no store, and the group is in epoch " +
                       std::to_string(state.epoch().value) + ": is the shared storage mounted?",
                   now);
    if (state.epoch() < known) {
      return alarm(
          "the register says epoch " + std::to_string(state.epoch().value) + ", and epoch " +
              std::to_string(known.value) +
              " has been seen: it was put back to an older state. Nothing is decided until `mainstay "
              "group repair-register`",
          now);
    }
    const bool ours = state.record->isr.size() == 1 &&
                      state.record->isr.begin()->incarnation == sight_.identity->incarnation;
    if (!ours) {
      return alarm("the register says that " + state.record->leader.text() +
                       " leads, which is not on this store (disk " + sight_.identity->incarnation.text() +
                       "): the group keeps its log elsewhere",
                   now);
    }
    next_ = *state.record;
    next_.epoch = state.epoch().next();
    const std::string before = state.record->leader.node;
    next_.reason = is_invited(now) ? "planned move from " + before
                                   : (before == options_.node ? "restart of the leader"
                                      : locked_ ? "the store's lock was free: " + before + " is gone"
                                                : "nothing heard of leader " + before);
  }
  claim_ = {next_.epoch, options_.node, random_.uuid()};
  next_.leader = {options_.node, sight_.identity->incarnation};
  next_.isr = {next_.leader};
  next_.mode = coordination::GroupMode::serving;
  next_.by = "node " + options_.node;
  // By it this attempt is told from any other of a node of this name.
  reason_ = next_.reason;
  next_.reason += " (claim " + claim_.id.text() + ")";
  next_.at = wall;
  expected_ = state;
  step_ = Step::changing;
  out_.emplace_back(ChangeRegister{expected_, next_});
}

void StoreWatch::register_changed(RegisterOutcome outcome, const GroupState& state, Instant now) {
  MS_ASSERT(step_ == Step::changing, "an answer follows its question");
  switch (outcome) {
    case RegisterOutcome::done:
      return won(now);
    case RegisterOutcome::lost:
      seen_ = std::max(seen_, state.epoch());
      return give_up("another node was first in the register", options_.register_retry, now);
    case RegisterOutcome::unavailable:
      return give_up("the register does not answer", options_.register_retry, now);
    case RegisterOutcome::unknown:
      step_ = Step::checking;
      out_.emplace_back(ReadRegister{});
      return;
  }
}

void StoreWatch::won(Instant /*now*/) {
  seen_ = std::max(seen_, claim_.epoch);
  step_ = Step::taking;
  out_.emplace_back(TakeStore{*sight_.identity, claim_});
}

void StoreWatch::taken(const Result<TakenStore, Failure>& taken, Instant now) {
  MS_ASSERT(step_ == Step::taking, "an answer follows its question");
  if (!taken) {
    if (alarms_.insert(taken.error().what).second) out_.emplace_back(Alarm{taken.error().what});
    return give_up(taken.error().what, options_.suspect_after, now);
  }
  step_ = Step::leading;
  out_.emplace_back(LeadOnStore{*sight_.identity, claim_, *taken, locked_, reason_});
}

Instant StoreWatch::next_deadline() const {
  if (step_ != Step::watching) return Instant{INT64_MAX};
  return std::max(next_look_, held_back_until_);
}

void StoreWatch::outputs(std::vector<WatchOutput>& into) {
  for (WatchOutput& each : out_) into.push_back(std::move(each));
  out_.clear();
}

WatchStatus StoreWatch::status(Instant now) const {
  WatchStatus status;
  status.seen = seen_;
  status.trying = step_ != Step::watching && step_ != Step::locking;
  if (leader_ && now - leader_->at <= options_.suspect_after) {
    status.leader = leader_->node;
    status.epoch = leader_->epoch;
  }
  if (status.trying) {
    status.why = "it is about to lead";
  } else if (!problem_.empty()) {
    status.why = problem_;
  } else if (!status.leader.empty()) {
    status.why = "node " + status.leader + " leads";
  } else if (!holder_.empty()) {
    status.why = "the store's lock is held, and nothing is heard of its holder, " + holder_ +
                 " of one of the machines";
    if (options_.lock_required)
      status.why += ". End that process, or cut its machine off the storage; nobody leads without the lock";
  } else {
    status.why = "it knows of no leader";
  }
  return status;
}

}  // namespace mainstay::group
