#include "replica/state_at.h"

#include <algorithm>

#include "base/assert.h"
#include "paging/page_files.h"
#include "replica/leadership.h"

namespace mainstay::replica {
namespace {

using Kind = StateProblem::Kind;

StateProblem told(const journal::JournalError& error) {
  return {error.code == journal::JournalErrorCode::corrupt ? Kind::damaged : Kind::unreadable, error.what};
}

/// The state hash that this record says holds just before it; both kinds leave the state as it is.
std::optional<std::uint64_t> recorded_in(const journal::Record& record) {
  if (record.header.type == journal::RecordType::state_hash) {
    ByteReader in(record.body);
    const std::uint64_t hash = in.u64_le();
    if (in.finished()) return hash;
  }
  if (Sealed sealed; read(record, sealed)) return sealed.state_hash;
  return std::nullopt;
}

/// A state and the pages it may read.
struct Start {
  std::unique_ptr<paging::PageFilesReader> pages;  // outlives the state
  broker::State state;
  Lsn checkpoint{};
  std::string not_used;
};

/// The newest checkpoint at or before `at` that can be restored; else from nothing.
Result<Start, StateProblem> start_before(Disk& disk, const std::string& directory, const StateReach& reach,
                                         Lsn at, broker::StateLimits limits) {
  Start out;
  for (std::size_t skip = 0;; ++skip) {
    const auto checkpoint = journal::Journal::load_checkpoint(disk, directory, skip);
    if (!checkpoint) return told(checkpoint.error());
    if (checkpoint->lsn == Lsn{}) break;
    if (checkpoint->lsn > at) continue;
    out.pages = paging::read_page_files(disk, directory.empty() ? "pages" : directory + "/pages");
    auto state = broker::State::restore(checkpoint->state, *out.pages, limits);
    if (state && state->applied() == checkpoint->lsn) {
      out.state = std::move(*state);
      out.checkpoint = checkpoint->lsn;
      return out;
    }
    out.not_used += (out.not_used.empty() ? "checkpoint " : "; checkpoint ") +
                    std::to_string(checkpoint->lsn.value) + ": " +
                    (state ? "it holds the state of another LSN" : state.error().what);
  }
  if (!reach.from_nothing) {
    return StateProblem{out.not_used.empty() ? Kind::out_of_reach : Kind::damaged,
                        "no checkpoint of " + disk.describe(directory) + " that can be used is at LSN " +
                            std::to_string(at.value) + " or before" +
                            (out.not_used.empty() ? "" : " (" + out.not_used + ")")};
  }
  out.state = broker::State(nullptr, limits);
  return out;
}

/// What the log itself says of the state at `at`: in the record there, or in the next one. Damage there says
/// nothing about the state.
void look_up_recorded(const journal::LogFiles& log, Lsn at, Lsn end, StateAt& out) {
  const Lsn first = std::max(at, log.before().lsn.next());
  static_cast<void>(log.walk(first, std::min(at.next(), end), [&](const journal::Record& record) {
    out.recorded = recorded_in(record);
    if (out.recorded) out.recorded_by = record.header.lsn;
    return !out.recorded;
  }));
}

}  // namespace

void throw_exception_from_error(const StateProblem& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

Result<StateReach, Failure> state_reach(Disk& disk, const std::string& directory,
                                        const journal::LogFiles& log, Lsn end) {
  StateReach out;
  out.to = end;
  out.from_nothing = log.before().lsn == Lsn{};
  for (std::size_t skip = 0;; ++skip) {
    const auto checkpoint = journal::Journal::load_checkpoint(disk, directory, skip);
    if (!checkpoint) return Failure{checkpoint.error().what};
    if (checkpoint->lsn == Lsn{}) break;
    // One that the log does not reach: a start refuses it, too.
    if (checkpoint->lsn <= end && checkpoint->lsn >= log.before().lsn)
      out.checkpoints.push_back(checkpoint->lsn);
  }
  if (out.from_nothing) {
    out.from = Lsn{};
  } else if (!out.checkpoints.empty()) {
    out.from = out.checkpoints.back();
  }
  return out;
}

Result<StateAt, StateProblem> state_at(Disk& disk, const std::string& directory, const journal::LogFiles& log,
                                       const StateReach& reach, Lsn at, const std::function<void(Lsn)>& tick,
                                       broker::StateLimits limits) {
  if (at > reach.to || !reach.from || at < *reach.from) {
    return StateProblem{
        Kind::out_of_reach,
        "the state of " + disk.describe(directory) + " can't be brought to LSN " + std::to_string(at.value) +
            (reach.from ? ", only to LSN " + std::to_string(reach.from->value) + " to " +
                              std::to_string(reach.to.value)
                        : ", nor to any other: its log does not begin with its first record and it has no "
                          "checkpoint")};
  }
  StateAt out;
  out.at = at;
  try {
    auto start = start_before(disk, directory, reach, at, limits);
    if (!start) return start.error();
    std::optional<broker::ApplyError> failed;
    const auto walked = log.walk(start->state.applied().next(), at, [&](const journal::Record& record) {
      if (auto applied = start->state.apply(record); !applied) failed = applied.error();
      if (tick) tick(record.header.lsn);
      return !failed;
    });
    if (!walked) return told(walked.error());
    if (failed) {
      return StateProblem{Kind::damaged, "the log in " + disk.describe(directory) +
                                             " can't be applied at LSN " + std::to_string(failed->lsn.value) +
                                             ": " + failed->what};
    }
    MS_ASSERT(start->state.applied() == at, "a walk that succeeds ends where it was asked to");
    out.hash = start->state.hash();
    out.messages = start->state.messages_total();
    out.checkpoint = start->checkpoint;
    out.not_used = std::move(start->not_used);
  } catch (const paging::PageLost& lost) {
    return StateProblem{Kind::damaged, lost.what()};
  }
  look_up_recorded(log, at, reach.to, out);
  if (out.recorded && *out.recorded != out.hash) {
    return StateProblem{
        Kind::damaged,
        "record " + std::to_string(out.recorded_by.value) + " of " + disk.describe(directory) +
            " says that the state hash at LSN " + std::to_string(at.value) + " is " + hex(*out.recorded) +
            ", the state that can be made there has " + hex(out.hash) +
            (out.checkpoint == Lsn{} ? ""
                                     : " (from checkpoint " + std::to_string(out.checkpoint.value) + ")")};
  }
  return out;
}

}  // namespace mainstay::replica
