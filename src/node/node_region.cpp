// Who leads: the register's answers and the region commands. A node leads only in a term that its own
// compare-and-swap, or the hand-over of a drained live region, put into the register.
#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "node/node.h"

namespace mainstay::node {
namespace {

constexpr Duration kPollRegister = milliseconds(100);
// A live node that cannot ask who leads takes nothing new after this long (replication-protocol.md R7).
constexpr Duration kRegisterSilenceMax = seconds(10);
constexpr Duration kSwitchTimeout = seconds(30);

http::CommandResult failed(int status, std::string error) {
  http::CommandResult result;
  result.status = status;
  result.error = std::move(error);
  return result;
}

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
      spare_wanted_ || releasing_ || body_reader_.reading() > 0 ||
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

// ---- commands
// --------------------------------------------------------------------------------------------------------

void Node::region_command(const http::RegionCommand& command, http::CommandDone done) {
  if (group_ != nullptr) {
    return done(failed(409, "this node is one of a group without another region: see `mainstay group`"));
  }
  if (changing_region_ || switch_) {
    return done(
        failed(409, "another change of the active region is under way on this node: try again in a moment"));
  }
  if (behind_ && command.what != http::RegionCommand::What::promote)
    return done(failed(409, behind_record()));
  if (!region_known_ && !behind_)
    return done(failed(503, "the register has not answered yet: " + register_problem_));
  switch (command.what) {
    case http::RegionCommand::What::switch_away:
      return start_switch(command, std::move(done));
    case http::RegionCommand::What::promote:
      return start_promotion(command, std::move(done));
    case http::RegionCommand::What::admit_producers:
      return admit_producers(command, std::move(done));
  }
}

void Node::start_switch(const http::RegionCommand& command, http::CommandDone done) {
  const auto replication = replica_->status(clock_.now());
  if (replica_->role() != replica::Role::live) {
    return done(failed(
        409, "region " + options_.region + " is not active here; ask the node of region " + region_.region));
  }
  if (region_.phase != coordination::Phase::active) {
    return done(
        failed(409, "the region is recovering: let `mainstay archive replay --missing` finish first"));
  }
  if (!replication.connected || replication.peer_region.empty()) {
    return done(failed(409, "no standby is connected, so nothing can be handed over" +
                                (replication.last_problem.empty() ? "" : ": " + replication.last_problem)));
  }
  coordination::RegionRecord marked = region_;
  marked.phase = coordination::Phase::switching;
  marked.by = command.by;
  marked.reason = command.reason;
  compare_and_swap(
      region_, marked, [this, command, done, target = replication.peer_region](const RegisterCas& result) {
        if (!result) return done(failed(503, result.error().what));
        if (result->outcome != coordination::CasOutcome::won) {
          return done(failed(
              409,
              "somebody else changed the register at the same moment: look at `mainstay region status`"));
        }
        switch_ =
            Switch{done, result->current, target, command.by, command.reason, clock_.now() + kSwitchTimeout};
        not_live_reason_ = "planned switch to region " + target + ": go there";
        log(LogLevel::info, not_live_reason_);
        frontend_->close_all(not_live_reason_, clock_.now(), clock_.wall());
        switch_draining_ = true;
        replica_->begin_switch(clock_.now(), clock_.wall());
      });
}

void Node::switch_ready(journal::LogPosition at) {
  if (!switch_) return;
  coordination::RegionRecord next = switch_->marked;
  next.term = switch_->marked.term.next();
  next.region = switch_->to_region;
  next.phase = coordination::Phase::active;
  next.fork_lsn = at.lsn;
  next.fork_hash = at.hash;
  switch_->deadline =
      clock_.now() + seconds(3600);  // past the point of return: only the register's answer counts
  compare_and_swap(switch_->marked, next, [this, at, term = next.term](const RegisterCas& result) {
    if (!result || result->outcome == coordination::CasOutcome::unknown) {
      // May or may not have happened: ask again until it is known. Nothing is accepted meanwhile.
      log(LogLevel::warning, "the hand-over's outcome is not known yet; asking the register again");
      retry_timer_.at(clock_.now() + milliseconds(200), [this, at] {
        if (switch_) confirm_switch(at);
      });
      return;
    }
    if (result->outcome == coordination::CasOutcome::lost) {
      return fail_switch(
          409, "somebody else changed the register during the switch: look at `mainstay region status`");
    }
    finish_switch(at, term);
  });
}

void Node::confirm_switch(journal::LogPosition at) {
  register_worker_->post([this, reg = register_, at] {
    auto read = reg->read();
    loop_.post([this, read = std::move(read), at] {
      if (ended_ || !switch_) return;
      if (!read) {
        retry_timer_.at(clock_.now() + milliseconds(200), [this, at] {
          if (switch_) confirm_switch(at);
        });
        return;
      }
      if (read->revision == switch_->marked.revision)
        return switch_ready(at);  // it did not happen: once more
      if (read->region == switch_->to_region && read->term > switch_->marked.term) {
        region_ = *read;
        return finish_switch(at, read->term);
      }
      fail_switch(409,
                  "somebody else changed the register during the switch: look at `mainstay region status`");
    });
  });
}

void Node::finish_switch(journal::LogPosition at, RegionTerm term) {
  const Switch finished = *std::exchange(switch_, std::nullopt);
  replica_->seal(term, "handed over to region " + finished.to_region);
  not_live_reason_ = "handed over to region " + finished.to_region;
  http::CommandResult result;
  result.term = term.value;
  result.lsn = at.lsn.value;
  result.hash = hex(at.hash);
  result.note = "region " + finished.to_region + " leads; nothing was lost: both sides had hash " +
                result.hash + " at LSN " + std::to_string(result.lsn);
  log(LogLevel::info, result.note);
  finished.done(result);
  schedule_pump();
}

void Node::fail_switch(int status, const std::string& why) {
  const Switch given_up = *std::exchange(switch_, std::nullopt);
  coordination::RegionRecord back = given_up.marked;
  back.phase = coordination::Phase::active;
  back.reason = "switch given up: " + why;
  log(LogLevel::warning, back.reason);
  given_up.done(failed(status, why));
  compare_and_swap(given_up.marked, back, [this](const RegisterCas& result) {
    if (result && result->outcome == coordination::CasOutcome::won) return lead_on_after_switch();
    // Not ours any more, or not known: the next poll decides; until then nothing is fed to the leader.
    log(LogLevel::warning, "the register could not be set back after the switch was given up");
  });
}

/// The switch was given up, and the register names this region in the term in which it leads.
void Node::lead_on_after_switch() {
  if (replica_->role() != replica::Role::live || !replica_->switching()) return;
  if (region_.phase != coordination::Phase::switching) {
    replica_->abort_switch(clock_.now(), clock_.wall());
    switch_draining_ = false;
    return;
  }
  coordination::RegionRecord back = region_;
  back.phase = coordination::Phase::active;
  back.reason = "switch given up";
  compare_and_swap(region_, back, [this](const RegisterCas& result) {
    if (result && result->outcome == coordination::CasOutcome::won) lead_on_after_switch();
  });
}

void Node::start_promotion(const http::RegionCommand& command, http::CommandDone done) {
  if (replica_->role() == replica::Role::live) {
    if (behind_) return write_register_again(command, std::move(done));
    return done(failed(409, "region " + options_.region + " is active already"));
  }
  if (const auto unfit = replica_->unfit_to_lead()) {
    return done(failed(409, "this node cannot lead: " + *unfit));
  }
  const auto replication = replica_->status(clock_.now());
  const coordination::RegionRecord there = behind_.value_or(region_);
  if (behind_ || (there.revision != 0 && there.region != options_.region)) {
    if (replication.connected) {
      return done(failed(
          409, "region " + replication.peer_region + " is alive and connected: " +
                   (behind_ ? "run `mainstay region promote --force` on its node, which writes the "
                              "register again and loses nothing. " +
                                  behind_record()
                            : std::string("use `mainstay region switch` on its node, which loses "
                                          "nothing; a forced promotion is for a region that is gone"))));
    }
    if (!command.force && behind_) return done(failed(409, behind_record()));
    if (!command.force) {
      return done(failed(409, "region " + region_.region +
                                  " is the active one. If it is gone for good, repeat with --force: "
                                  "what it had not shipped is then recovered from the archive"));
    }
  }
  const journal::LogPosition end = journal_->durable();
  coordination::RegionRecord next = there;
  next.term = std::max(there.term, replica_->term()).next();
  next.region = options_.region;
  next.phase = command.force ? coordination::Phase::recovering : coordination::Phase::active;
  next.by = command.by;
  next.reason = command.reason;
  next.fork_lsn = end.lsn;
  next.fork_hash = end.hash;
  compare_and_swap(there, next, [this, command, done, end](const RegisterCas& result) {
    if (!result) return done(failed(503, result.error().what));
    if (result->outcome != coordination::CasOutcome::won) {
      return done(failed(
          409, result->outcome == coordination::CasOutcome::lost
                   ? "somebody else changed the register first: look at `mainstay region status`"
                   : "the register did not say whether the promotion happened: look at `mainstay region "
                     "status`, then repeat if need be"));
    }
    lead(region_.term, command.force, command.by, command.reason);
    http::CommandResult told;
    told.term = region_.term.value;
    told.lsn = end.lsn.value;
    told.hash = hex(end.hash);
    told.note = command.force
                    ? "region " + options_.region + " leads from LSN " + std::to_string(end.lsn.value) +
                          "; producers wait until `mainstay archive replay --missing` has run"
                    : "region " + options_.region + " leads";
    done(told);
  });
}

/// The live node, whose leadership the register has forgotten: it is written again as it was. Nobody stops,
/// and nothing can be lost, unless the register had gone on to another region; only a person can say that.
void Node::write_register_again(const http::RegionCommand& command, http::CommandDone done) {
  if (!command.force) return done(failed(409, behind_record()));
  coordination::RegionRecord next = region_;  // where it recovered, it still does
  if (next.phase == coordination::Phase::switching) next.phase = coordination::Phase::active;
  next.term = replica_->term();
  next.region = options_.region;
  next.by = command.by;
  next.reason = command.reason;
  compare_and_swap(*behind_, next, [this, done](const RegisterCas& result) {
    if (!result) return done(failed(503, result.error().what));
    if (result->outcome != coordination::CasOutcome::won)
      return done(failed(409,
                         "the register changed at the same moment, or did not say whether it was written: "
                         "look at `mainstay region status`, then repeat if need be"));
    lead_on_after_switch();  // one that was given up because of it
    const journal::LogPosition end = journal_->durable();
    http::CommandResult told;
    told.term = region_.term.value;
    told.lsn = end.lsn.value;
    told.hash = hex(end.hash);
    told.note = "region " + options_.region +
                " leads on, and the register says so again; nothing was lost and nobody was stopped";
    log(LogLevel::warning, told.note);
    done(told);
  });
}

void Node::admit_producers(const http::RegionCommand& command, http::CommandDone done) {
  if (replica_->role() != replica::Role::live)
    return done(failed(409, "this node is not live: " + not_live_reason()));
  if (region_.phase != coordination::Phase::recovering) {
    http::CommandResult told;
    told.term = region_.term.value;
    told.note = "producers were admitted already";
    return done(told);
  }
  coordination::RegionRecord next = region_;
  next.phase = coordination::Phase::active;
  next.by = command.by;
  next.reason = command.reason;
  compare_and_swap(region_, next, [this, done](const RegisterCas& result) {
    if (!result) return done(failed(503, result.error().what));
    if (result->outcome != coordination::CasOutcome::won) {
      return done(failed(409, "the register changed at the same moment: try again"));
    }
    frontend_->admission_changed(clock_.now(), clock_.wall());
    http::CommandResult told;
    told.term = region_.term.value;
    told.note = "recovery is over: producers are admitted";
    done(told);
  });
}

}  // namespace mainstay::node
