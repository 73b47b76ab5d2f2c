#include "replica/compare_directories.h"

#include <algorithm>

#include "base/assert.h"

namespace mainstay::replica {
namespace {

constexpr std::uint64_t kRecordsPerTick = 1024;

struct Side {
  Disk& disk;
  const std::string& directory;
  journal::LogFiles files;
  ComparedDirectory& found;
  LogSummary summary;
};

class Comparing {
 public:
  explicit Comparing(const CompareOptions& options) : options_(options) {}

  Result<DirectoryComparison, CompareError> run(Disk& first_disk, const std::string& first, Disk& second_disk,
                                                const std::string& second) {
    DirectoryComparison out;
    auto one = look(first_disk, first, out.first);
    if (!one) return one.error();
    auto other = look(second_disk, second, out.second);
    if (!other) return other.error();
    if (out.first.cluster != out.second.cluster) {
      return CompareError{CompareError::Kind::other_cluster,
                          first_disk.describe(first) + " belongs to cluster " + out.first.cluster.text() +
                              ", " + second_disk.describe(second) + " to cluster " +
                              out.second.cluster.text() +
                              ": there is nothing to compare. Give two directories of one cluster"};
    }
    for (Side* side : {&*one, &*other}) {
      if (const auto done = read(*side, side == &*other); !done) return done.error();
    }
    const Lsn lower = std::min(out.first.end.lsn, out.second.end.lsn);
    look_up(*one, lower);
    look_up(*other, lower);
    out.log = compare_logs(one->summary, other->summary);
    if (out.log.verdict == LogComparison::Verdict::differ && out.log.equal_to) {
      const auto ours = sights(*one, out.log), theirs = sights(*other, out.log);
      if (ours.size() == theirs.size()) narrow(out.log, ours, theirs);
    }
    compare_states(*one, *other, out);
    return out;
  }

 private:
  void tick(bool second, const char* doing, Lsn lsn, Lsn of) {
    if (options_.progress && ++ticks_ % kRecordsPerTick == 0) options_.progress(second, doing, lsn, of);
  }

  Result<Side, CompareError> look(Disk& disk, const std::string& directory, ComparedDirectory& found) {
    auto files = journal::LogFiles::look(disk, directory);
    if (!files) return CompareError{CompareError::Kind::unreadable, files.error().what};
    found.cluster = files->cluster();
    found.incarnation = files->incarnation();
    found.node = files->node();
    const journal::LogPosition before = files->before();
    return Side{disk, directory, std::move(*files), found, LogSummary(before, options_.positions_max)};
  }

  Result<void, CompareError> read(Side& side, bool second) {
    ComparedDirectory& found = side.found;
    found.log = journal::verify(side.disk, side.directory, [&](const journal::Record& record) {
      side.summary.note(record.header);
      tick(second, "reading the log", record.header.lsn, {});
    });
    found.first = side.summary.before().lsn.next();
    found.end = side.summary.end();
    found.epoch = side.summary.epoch();
    auto reach = state_reach(side.disk, side.directory, side.files, found.end.lsn);
    if (!reach) return CompareError{CompareError::Kind::unreadable, reach.error().what};
    found.reach = std::move(*reach);
    const std::string quarantine = side.directory.empty() ? "quarantine" : side.directory + "/quarantine";
    if (const auto names = side.disk.list(quarantine)) found.quarantine = *names;
    return {};
  }

  /// So that both know the LSN that decides. Where it can't be read, verify() has told why.
  static void look_up(Side& side, Lsn lsn) {
    if (lsn <= side.summary.before().lsn || side.summary.hash_at(lsn)) return;
    static_cast<void>(side.files.walk(lsn, lsn, [&](const journal::Record& record) {
      side.summary.know({record.header.lsn, record.header.checksum});
      return true;
    }));
  }

  static std::vector<RecordSight> sights(const Side& side, const LogComparison& log) {
    std::vector<RecordSight> out;
    const auto read =
        side.files.walk(log.equal_to->next(), log.differ_at, [&](const journal::Record& record) {
          const journal::RecordHeader& header = record.header;
          out.push_back({header.lsn, header.epoch, header.type, header.checksum});
          return true;
        });
    if (!read) out.clear();
    return out;
  }

  void compare_states(Side& one, Side& other, DirectoryComparison& out) {
    StateComparison& state = out.state;
    const auto at = choose_position(out.log, out.first.reach, out.second.reach, options_.at);
    if (!at) {
      state.why = at.error().what;
      return;
    }
    state.at = *at;
    for (const bool second : {false, true}) {
      Side& side = second ? other : one;
      auto made = state_at(
          side.disk, side.directory, side.files, side.found.reach, *at,
          [&](Lsn lsn) { tick(second, "applying the log", lsn, *at); }, options_.limits);
      if (!made) {
        state.damaged = state.damaged || made.error().kind == StateProblem::Kind::damaged;
        state.why += (state.why.empty() ? "" : "; ") + made.error().what;
        continue;
      }
      (second ? state.second : state.first) = std::move(*made);
    }
    if (!state.first || !state.second) return;
    state.verdict = state.first->hash == state.second->hash ? StateComparison::Verdict::equal
                                                            : StateComparison::Verdict::differ;
  }

  const CompareOptions& options_;
  std::uint64_t ticks_ = 0;
};

std::string told(const StateReach& reach) {
  if (!reach.from) return "no LSN (its log does not begin with its first record and it has no checkpoint)";
  if (*reach.from == reach.to) return "LSN " + std::to_string(reach.to.value);
  return "LSN " + std::to_string(reach.from->value) + " to " + std::to_string(reach.to.value);
}

}  // namespace

void throw_exception_from_error(const CompareError& error, const boost::source_location& where) {
  assertion_failed("result.has_value()", error.what.c_str(), where.file_name(),
                   static_cast<int>(where.line()));
}

DirectoryComparison::Outcome DirectoryComparison::outcome() const {
  if (log.verdict == LogComparison::Verdict::differ || state.verdict == StateComparison::Verdict::differ)
    return Outcome::differ;
  if (!first.log.ok || !second.log.ok || state.damaged) return Outcome::damaged;
  if (log.verdict == LogComparison::Verdict::nothing_in_common ||
      state.verdict == StateComparison::Verdict::not_compared)
    return Outcome::not_compared;
  return Outcome::equal;
}

Result<DirectoryComparison, CompareError> compare_directories(Disk& first_disk, const std::string& first,
                                                              Disk& second_disk, const std::string& second,
                                                              const CompareOptions& options) {
  return Comparing(options).run(first_disk, first, second_disk, second);
}

Result<Lsn, Failure> choose_position(const LogComparison& log, const StateReach& first,
                                     const StateReach& second, std::optional<Lsn> at) {
  const auto reachable = [](const StateReach& reach, Lsn lsn) {
    return reach.from && *reach.from <= lsn && lsn <= reach.to;
  };
  const std::string ranges =
      "the first's state can be brought to " + told(first) + ", the second's to " + told(second);
  if (at) {
    if (reachable(first, *at) && reachable(second, *at)) return *at;
    return Failure{"LSN " + std::to_string(at->value) + " is not in both: " + ranges};
  }
  if (log.verdict == LogComparison::Verdict::nothing_in_common)
    return Failure{"the logs have nothing in common: " + ranges};
  if (!log.equal_to || *log.equal_to == Lsn{})
    return Failure{"there is no LSN up to which the logs are the same: " + ranges +
                   ", which --at can choose from"};
  if (reachable(first, *log.equal_to) && reachable(second, *log.equal_to)) return *log.equal_to;
  return Failure{"up to LSN " + std::to_string(log.equal_to->value) +
                 ", where both logs are the same, there is no LSN in both: " + ranges};
}

}  // namespace mainstay::replica
