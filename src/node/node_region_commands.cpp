// What an operator asks of the regions: the planned switch, promotion, and to let producers in again. Each
// ends in one compare-and-swap of the register, and is answered when its outcome is known.
#include <algorithm>
#include <utility>

#include "node/node.h"

namespace mainstay::node {
namespace {

constexpr Duration kSwitchTimeout = seconds(30);

}  // namespace

void Node::region_command(const http::RegionCommand& command, http::CommandDone done) {
  if (group_ != nullptr) {
    return done(
        http::refused(409, "this node is one of a group without another region: see `mainstay group`"));
  }
  if (changing_region_ || switch_) {
    return done(http::refused(
        409, "another change of the active region is under way on this node: try again in a moment"));
  }
  if (behind_ && command.what != http::RegionCommand::What::promote)
    return done(http::refused(409, behind_record()));
  if (!region_known_ && !behind_)
    return done(http::refused(503, "the register has not answered yet: " + register_problem_));
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
    return done(http::refused(
        409, "region " + options_.region + " is not active here; ask the node of region " + region_.region));
  }
  if (region_.phase != coordination::Phase::active) {
    return done(
        http::refused(409, "the region is recovering: let `mainstay archive replay --missing` finish first"));
  }
  if (!replication.connected || replication.peer_region.empty()) {
    return done(
        http::refused(409, "no standby is connected, so nothing can be handed over" +
                               (replication.last_problem.empty() ? "" : ": " + replication.last_problem)));
  }
  coordination::RegionRecord marked = region_;
  marked.phase = coordination::Phase::switching;
  marked.by = command.by;
  marked.reason = command.reason;
  compare_and_swap(
      region_, marked, [this, command, done, target = replication.peer_region](const RegisterCas& result) {
        if (!result) return done(http::refused(503, result.error().what));
        if (result->outcome != coordination::CasOutcome::won) {
          return done(http::refused(
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
  given_up.done(http::refused(status, why));
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
    return done(http::refused(409, "region " + options_.region + " is active already"));
  }
  if (const auto unfit = replica_->unfit_to_lead()) {
    return done(http::refused(409, "this node cannot lead: " + *unfit));
  }
  const auto replication = replica_->status(clock_.now());
  const coordination::RegionRecord there = behind_.value_or(region_);
  if (behind_ || (there.revision != 0 && there.region != options_.region)) {
    if (replication.connected) {
      return done(http::refused(
          409, "region " + replication.peer_region + " is alive and connected: " +
                   (behind_ ? "run `mainstay region promote --force` on its node, which writes the "
                              "register again and loses nothing. " +
                                  behind_record()
                            : std::string("use `mainstay region switch` on its node, which loses "
                                          "nothing; a forced promotion is for a region that is gone"))));
    }
    if (!command.force && behind_) return done(http::refused(409, behind_record()));
    if (!command.force) {
      return done(http::refused(409, "region " + region_.region +
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
    if (!result) return done(http::refused(503, result.error().what));
    if (result->outcome != coordination::CasOutcome::won) {
      return done(http::refused(
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
  if (!command.force) return done(http::refused(409, behind_record()));
  coordination::RegionRecord next = region_;  // where it recovered, it still does
  if (next.phase == coordination::Phase::switching) next.phase = coordination::Phase::active;
  next.term = replica_->term();
  next.region = options_.region;
  next.by = command.by;
  next.reason = command.reason;
  compare_and_swap(*behind_, next, [this, done](const RegisterCas& result) {
    if (!result) return done(http::refused(503, result.error().what));
    if (result->outcome != coordination::CasOutcome::won)
      return done(
          http::refused(409,
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
    return done(http::refused(409, "this node is not live: " + not_live_reason()));
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
    if (!result) return done(http::refused(503, result.error().what));
    if (result->outcome != coordination::CasOutcome::won) {
      return done(http::refused(409, "the register changed at the same moment: try again"));
    }
    frontend_->admission_changed(clock_.now(), clock_.wall());
    http::CommandResult told;
    told.term = region_.term.value;
    told.note = "recovery is over: producers are admitted";
    done(told);
  });
}

}  // namespace mainstay::node
