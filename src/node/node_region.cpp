// Which region leads: the register's answers, and what becomes of this node by them. It leads only in a term
// that its own compare-and-swap, or the hand-over of a drained live region, put into the register. What an
// operator asks for: node_region_commands.cpp.
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "node/node.h"

namespace mainstay::node {
namespace {

constexpr Duration kPollRegister = milliseconds(100);
// A live node that cannot ask who leads takes nothing new after this long (replication-protocol.md R7).
constexpr Duration kRegisterSilenceMax = seconds(10);

}  // namespace

void Node::poll_register() {
  register_timer_.at(clock_.now() + kPollRegister, [this] {
    if (!ended_) poll_register();
  });
  if (register_busy_ || changing_region_) return;
  register_busy_ = true;
  register_worker_->post([this, reg = register_, seen = replica_->term()] {
    auto read = reg->read();
    loop_.post([this, read = std::move(read), seen] {
      register_busy_ = false;
      if (ended_ || changing_region_) return;  // a change of ours overtook this answer
      register_read(read, seen);
      schedule_pump();
    });
  });
}

void Node::register_read(const RegisterRead& read, RegionTerm seen) {
  const Instant now = clock_.now();
  // Nobody ever led in what was seen here, says the register; this node knows better. To believe it could
  // make a second leader.
  const bool behind = read && coordination::is_behind(*read, seen);
  if (behind) register_is_behind(*read);
  if (!read || behind) {
    const std::string why = read ? behind_record() : read.error().what;
    if (now - register_answered_at_ > kRegisterSilenceMax && register_problem_.empty()) {
      register_problem_ = why;
      log(LogLevel::error, "nothing new is taken until the register answers: " + register_problem_);
    }
    if (replica_->role() != replica::Role::live && !promoting_ && !rejoining_ && !replica_->unfit_to_lead())
      not_live_reason_ = why;
    return;
  }
  // A peer has told of a later term meanwhile: the next answer will, too.
  if (coordination::is_behind(*read, replica_->term())) return;
  register_answered_at_ = now;
  register_is_well();
  const bool was_recovering = region_known_ && region_.phase == coordination::Phase::recovering;
  region_ = *read;
  region_known_ = true;
  if (was_recovering && region_.phase == coordination::Phase::active) {
    log(LogLevel::info, "recovery is over: producers are admitted");
  }
  if (stopping_) return;
  const bool mine = region_.region == options_.region;
  const replica::Role role = replica_->role();
  const bool first = !decided_at_start_;
  decided_at_start_ = true;

  if (region_.revision == 0) {
    if (role != replica::Role::live && options_.initial_region == options_.region) return claim(region_);
    not_live_reason_ =
        "no region has been made active yet (initial_region under [register], or `mainstay region promote`)";
    return;
  }
  if (role == replica::Role::live) {
    if (region_.term > replica_->term() || !mine) {
      replica_->seal(region_.term, "region " + region_.region + " leads in term " +
                                       std::to_string(region_.term.value) + " (" + region_.reason + ")");
    } else if (replica_->switching() && !switch_) {
      lead_on_after_switch();
    }
    return;
  }
  // One that has sealed itself before the first answer came keeps its own reason.
  if (!mine && !rejoining_ && role != replica::Role::sealed && (first || role == replica::Role::standby)) {
    not_live_reason_ = "this node of region " + options_.region + " is a standby";
  }
  if (!mine || rejoining_ || promoting_) return;
  if (first) {
    // A restarted leader never resumes its old leadership (R5): it takes a new term.
    return claim(region_);
  }
  // A drained live region handed over: it waited until this node had everything, then wrote our name.
  if (replica_->unfit_to_lead()) {
    if (not_live_reason_ != *replica_->unfit_to_lead()) {
      not_live_reason_ = *replica_->unfit_to_lead();
      log(LogLevel::error, "this region is to lead, but this node cannot: " + not_live_reason_);
    }
  } else if (replica_->may_lead_in(region_.term) && region_.phase == coordination::Phase::active) {
    lead(region_.term, false, region_.by, region_.reason);
  } else {
    // Our name without a term we may take up: a claim of ours whose outcome we never learnt. Take a fresh
    // one.
    claim(region_);
  }
}

void Node::register_is_behind(const coordination::RegionRecord& there) {
  const bool told = behind_ && behind_->revision == there.revision && behind_->term == there.term;
  behind_ = there;
  if (told) return;
  ++alarms_;
  log(LogLevel::error, "ALARM: " + behind_record());
}

void Node::register_is_well() {
  if (!std::exchange(behind_, std::nullopt) && register_problem_.empty()) return;
  log(LogLevel::info, "the register answers again");
  register_problem_.clear();
  frontend_->admission_changed(clock_.now(), clock_.wall());
}

/// @pre the register is behind
std::string Node::behind_record() const {
  const std::string term = std::to_string(replica_->term().value);
  const std::string where = options_.register_place.text();
  const std::string what =
      behind_->revision == 0
          ? where + " has no record of group " + options_.register_place.group + ", although term " + term +
                " has been led in: it was removed or replaced, or file and group under [register] are not "
                "what they were"
          : where + " says that region " + behind_->region + " leads in term " +
                std::to_string(behind_->term.value) + ", although term " + term +
                " has been seen: it was put back to an older state or replaced";
  return what +
         ". Nothing is decided from it. Put its newest state back; when that is gone, find out which region "
         "led last (`mainstay region status` of each tells the highest term it has seen) and run `mainstay "
         "region promote --force` on its node";
}

void Node::compare_and_swap(const coordination::RegionRecord& expected, coordination::RegionRecord next,
                            std::function<void(const RegisterCas&)> then) {
  MS_ASSERT(!changing_region_, "one change of the register at a time");
  changing_region_ = true;
  next.at = clock_.wall();
  register_worker_->post(
      [this, reg = register_, revision = expected.revision, next = std::move(next), then = std::move(then)] {
        auto result = reg->compare_and_swap(revision, next);
        loop_.post([this, result = std::move(result), then] {
          changing_region_ = false;
          if (ended_) return;
          if (result && result->outcome == coordination::CasOutcome::won) {
            region_ = result->current;
            region_known_ = true;
            register_answered_at_ = clock_.now();
            register_is_well();
          }
          then(result);
          schedule_pump();
        });
      });
}

void Node::claim(const coordination::RegionRecord& seen) {
  coordination::RegionRecord next = seen;
  next.term = std::max(seen.term, replica_->term()).next();
  next.region = options_.region;
  if (next.phase == coordination::Phase::switching || seen.revision == 0)
    next.phase = coordination::Phase::active;
  next.by = "node " + options_.name;
  next.reason = seen.revision == 0 ? "first start" : "restart of the active region's node";
  compare_and_swap(seen, next, [this, reason = next.reason](const RegisterCas& result) {
    if (!result) return log(LogLevel::warning, "claiming leadership: " + result.error().what);
    // Lost or unknown: the next poll shows what is there.
    // While the region recovers the promotion stays a forced one: the crash may have come before its fork was
    // durable.
    if (result->outcome == coordination::CasOutcome::won) {
      lead(region_.term, region_.phase == coordination::Phase::recovering, region_.by, reason);
    }
  });
}

void Node::lead(RegionTerm term, bool forced, const std::string& by, const std::string& reason) {
  auto promoted = replica_->promote(term, forced, by, reason, clock_.now(), clock_.wall());
  if (!promoted) {
    not_live_reason_ = "term " + std::to_string(term.value) +
                       " is this region's, but this node cannot take it up: " + promoted.error().what;
    log(LogLevel::error, not_live_reason_);
    return;
  }
  promoting_ = true;  // until the role changes
  schedule_pump();
}

void Node::rejoin() {
  // Everything of the old life ends; the log is recovered from disk and this node follows whoever leads now.
  if (rejoining_) return;
  rejoining_ = true;
  not_live_reason_ = "this node lost the leadership and is turning into a standby";
  frontend_->close_all(not_live_reason(), clock_.now(), clock_.wall());
  loop_.post([this] { rejoin_when_quiet(); });
}

void Node::rejoin_when_quiet() {
  if (ended_) return;
  pump();  // the last words to clients
  if (ended_) return;
  if (std::exchange(checkpoint_made_, std::nullopt)) checkpoint_running_ = false;
  if (writing_ || !journal_worker_->idle() || !block_worker_->idle() || checkpoint_running_ ||
      spare_wanted_ || releasing_ || body_reader_.reading() > 0 || reads_for_followers_ > 0 ||
      (!doubts_.empty() && doubts_.front().reading) || !copy_is_quiet()) {
    rejoin_timer_.at(clock_.now() + milliseconds(5), [this] { rejoin_when_quiet(); });
    return;
  }
  if (store_ != nullptr) return store_is_quiet();
  const std::vector<io::StreamId> peers(peers_.begin(), peers_.end());
  for (const io::StreamId peer : peers) peer_hub_->close(peer);
  if (group_ != nullptr) close_group_lines();
  // The frontend stays: its connections are closing, and their ids are the hub's names of them.
  frontend_->leader_gone();
  end_copying();
  received_.reset();
  replica_.reset();
  pages_.reset();
  journal_.reset();
  disk_.reset();
  if (auto cut = cut_for_group(); !cut) return end_fatally(cut.error().what);
  bodies_ = BodyCache(options_.body_cache_bytes);
  body_reader_.forget();
  forget_damage_of_log();
  switch_draining_ = false;
  if (auto recovered = recover(); !recovered) return end_fatally(recovered.error().what);
  rejoining_ = false;
  schedule_pump();
  not_live_reason_ = "this node of region " + options_.region + " is a standby";
  log(LogLevel::info, "rejoined as standby");
}

}  // namespace mainstay::node
