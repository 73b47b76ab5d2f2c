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
      next_peek_(now + options_.register_every),
      held_back_until_(now),
      listening_since_(now),
      jitter_{static_cast<std::int64_t>(
          random.below(static_cast<std::uint64_t>(options_.suspect_after.ns / 4) + 1))},
      lost_lately_(options_.lost_lately) {}

void StoreWatch::heard(const std::string& node, Epoch epoch, Instant now) {
  if (leader_ && leader_->epoch > epoch && leader_->node != node) return;  // one that does not know yet
  leader_ = Leader{node, epoch, now};
  lost_lately_ = 0;
}

void StoreWatch::line_ended(const std::string& node) {
  if (leader_ && leader_->node == node) leader_.reset();
}

void StoreWatch::invited(const std::string& by, Epoch epoch, Instant now) {
  if (leader_ && leader_->epoch > epoch && leader_->node != by) return;  // one that does not know yet
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

/// How long a leader may be silent. One that has just taken the store reads its log before it is heard; where
/// others did not wait for that, each waits for twice as long as the one before.
Duration StoreWatch::patience() const {
  constexpr std::size_t kDoublings = 5;
  const std::size_t in_vain = std::max(sight_.claims, std::size_t{1}) - 1;
  return Duration{(options_.suspect_after.ns + jitter_.ns)
                  << std::min(std::max(in_vain, lost_lately_), kDoublings)};
}

/// Nobody leads, for all that can be heard.
bool StoreWatch::silent(Instant now) const {
  const Instant last = leader_ ? leader_->at : listening_since_;
  return now - last > patience();
}

/// Somebody who takes the store is a sign of life, the only one until it leads.
void StoreWatch::note_sight(const StoreSight& sight, Instant now) {
  if (sight_.highest > Epoch{} && sight.highest > sight_.highest) {
    listening_since_ = now;
    if (leader_ && leader_->epoch < sight.highest) leader_.reset();
  }
  sight_ = sight;
  seen_ = std::max({seen_, sight_.highest, sight_.seen});
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

/// @param unwell  empty: nothing is
void StoreWatch::end_peek(const std::string& unwell, Instant now) {
  unwell_ = unwell;
  step_ = Step::watching;
  next_peek_ = now + options_.register_every;
}

void StoreWatch::tick(Instant now) {
  if (step_ == Step::waiting && now >= lead_at_) return lead();
  if (step_ != Step::watching) return;
  if (now >= next_peek_ && !is_invited(now)) {
    step_ = Step::peeking_at_store;
    out_.emplace_back(LookAtStore{});
  } else if (now >= next_look_ && now >= held_back_until_) {
    step_ = Step::locking;
    out_.emplace_back(TryLock{});
  }
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
  MS_ASSERT(step_ == Step::looking || step_ == Step::peeking_at_store, "an answer follows its question");
  if (step_ == Step::peeking_at_store) {
    if (!sight) return end_peek(sight.error().what, now);
    // One that is about to be made is none yet.
    if (!sight->identity || sight->identity->cluster != options_.cluster) return end_peek("", now);
    note_sight(*sight, now);
    step_ = Step::peeking_at_register;
    out_.emplace_back(ReadRegister{});
    return;
  }
  if (!sight) return give_up(sight.error().what, options_.suspect_after, now);
  note_sight(*sight, now);
  if (!locked_ && !silent(now)) return give_up("", options_.look_every, now);
  if (sight_.identity && sight_.identity->cluster != options_.cluster) {
    return alarm("the store belongs to cluster " + sight_.identity->cluster.text() + ", not to " +
                     options_.cluster.text() + ": it is another group's directory",
                 now);
  }
  step_ = Step::reading;
  out_.emplace_back(ReadRegister{});
}

void StoreWatch::register_read(RegisterOutcome outcome, const GroupState& state, Instant now, WallTime wall) {
  MS_ASSERT(step_ == Step::reading || step_ == Step::checking || step_ == Step::peeking_at_register,
            "an answer follows its question");
  const std::string wrong = outcome == RegisterOutcome::done ? wrong_with(state) : "";
  register_refused_ = !wrong.empty();
  unwell_ = outcome == RegisterOutcome::done ? wrong : "the register does not answer";
  if (step_ == Step::peeking_at_register) {
    if (!wrong.empty() && alarms_.insert(wrong).second) out_.emplace_back(Alarm{wrong});
    return end_peek(unwell_, now);
  }
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

/// Why nobody may lead by it on the store that was seen; empty: somebody may.
std::string StoreWatch::wrong_with(const GroupState& state) const {
  const Epoch known = std::max(sight_.highest, sight_.seen);
  if (!state.record) {
    if (sight_.highest == Epoch{} && !(sight_.identity && sight_.identity->in_use)) return {};
    return "the register has no record of this group, which has been in epoch " +
           std::to_string(known.value) +
           ": it was lost or put back. Nothing is decided until `mainstay group repair-register`";
  }
  if (state.record->cluster != options_.cluster)
    return "the register's record belongs to another cluster (" + state.record->cluster.text() + ")";
  if (!sight_.identity)
    return "the store's directory has no store, and the group is in epoch " +
           std::to_string(state.epoch().value) + ": is the shared storage mounted?";
  if (state.epoch() < known)
    return "the register says epoch " + std::to_string(state.epoch().value) + ", and epoch " +
           std::to_string(known.value) +
           " has been seen: it was put back to an older state. Nothing is decided until `mainstay group "
           "repair-register`";
  if (state.record->isr.size() != 1 || state.record->isr.begin()->incarnation != sight_.identity->incarnation)
    return "the register says that " + state.record->leader.text() +
           " leads, which is not on this store (disk " + sight_.identity->incarnation.text() +
           "): the group keeps its log elsewhere";
  return {};
}

void StoreWatch::consider(const GroupState& state, Instant now, WallTime wall) {
  if (const std::string wrong = wrong_with(state); !wrong.empty()) return alarm(wrong, now);
  if (!state.record) {
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
    next_ = *state.record;
    next_.epoch = state.epoch().next();
    const std::string before = state.record->leader.node;
    was_invited_ = is_invited(now);
    next_.reason = was_invited_ ? "planned move from " + before
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
  taken_ = *taken;
  // What stands in the fences now was not there when the last leader looked at its own for the last time.
  // With the lock it has ended, and so it has when it gave the store to this node.
  const bool over = options_.lock_required || was_invited_ || taken_.from == Epoch{};
  lead_at_ = over ? now : now + options_.lease;
  step_ = Step::waiting;
  if (over) lead();
}

void StoreWatch::lead() {
  step_ = Step::leading;
  out_.emplace_back(LeadOnStore{*sight_.identity, claim_, taken_, locked_, reason_});
}

Instant StoreWatch::next_deadline() const {
  if (step_ == Step::waiting) return lead_at_;
  if (step_ != Step::watching) return Instant{INT64_MAX};
  return std::min(std::max(next_look_, held_back_until_), next_peek_);
}

void StoreWatch::outputs(std::vector<WatchOutput>& into) {
  for (WatchOutput& each : out_) into.push_back(std::move(each));
  out_.clear();
}

WatchStatus StoreWatch::status(Instant now) const {
  WatchStatus status;
  status.seen = seen_;
  status.trying = step_ != Step::watching && step_ != Step::locking && step_ != Step::peeking_at_store &&
                  step_ != Step::peeking_at_register;
  status.holder = holder_;
  status.unwell = unwell_;
  status.register_refused = register_refused_;
  status.alarms = alarms_.size();
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
  } else if (!holder_.empty() && !leader_ && now - listening_since_ <= options_.suspect_after) {
    status.why = "the store's lock is held (" + holder_ +
                 " of one of the machines), and its holder is given its time to be heard of";
  } else if (!holder_.empty()) {
    status.why = "the store's lock is held, and nothing is heard of its holder, " + holder_ +
                 " of one of the machines";
    if (options_.lock_required)
      status.why += ". End that process, or cut its machine off the storage; nobody leads without the lock";
  } else {
    status.why = "it knows of no leader";
  }
  if (!status.trying && !unwell_.empty() && unwell_ != problem_) status.why += "; and " + unwell_;
  return status;
}

}  // namespace mainstay::group
