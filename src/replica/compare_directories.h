// Are two nodes' directories the same log and the same state of it? Reads both, one after the other, and
// changes nothing. For directories that no node runs on; on a running node's it can fail, never lie.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/result.h"
#include "journal/journal.h"
#include "replica/compare_logs.h"
#include "replica/state_at.h"

namespace mainstay::replica {

/// What was found in one directory.
struct ComparedDirectory {
  Uuid cluster, incarnation;
  std::string node;
  Lsn first{};  ///< oldest record; after `end` when there is none
  journal::LogPosition end;
  Epoch epoch{};              ///< of the last record
  journal::VerifyReport log;  ///< every checksum and every link of the chain: its problems
  StateReach reach;
  std::vector<std::string> quarantine;  ///< names of files there: what the log gave up before
};

struct StateComparison {
  enum class Verdict : std::uint8_t { equal, differ, not_compared };
  Verdict verdict = Verdict::not_compared;
  Lsn at{};
  std::optional<StateAt> first, second;
  bool damaged = false;  ///< not compared because a log or a checkpoint is damaged, or records another hash
  std::string why;       ///< it was not compared
};

struct DirectoryComparison {
  ComparedDirectory first, second;
  LogComparison log;
  StateComparison state;

  enum class Outcome : std::uint8_t { equal, differ, damaged, not_compared };
  /// `equal`: the logs are the same as far as both go, and so are the states. `damaged`: nothing differs
  /// otherwise. `not_compared`: nothing is wrong, but logs or states have nothing to be compared at.
  [[nodiscard]] Outcome outcome() const;
};

struct CompareError {
  enum class Kind : std::uint8_t { unreadable, other_cluster };
  Kind kind{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const CompareError& error, const boost::source_location& where);

struct CompareOptions {
  std::optional<Lsn> at;  ///< where to compare the states; nothing: at the highest LSN that can be
  broker::StateLimits limits{};
  std::size_t positions_max = std::size_t{1} << 16;  ///< LogSummary's
  /// Called now and then; `of` is 0 when nobody knows.
  std::function<void(bool second, const char* doing, Lsn lsn, Lsn of)> progress{};
};

/// Reads each log once; then, for the states, what lies behind the checkpoint that is used; then, when the
/// logs differ, the few records among which they part. Memory: one state at a time.
[[nodiscard]] Result<DirectoryComparison, CompareError> compare_directories(
    Disk& first_disk, const std::string& first, Disk& second_disk, const std::string& second,
    const CompareOptions& options = {});

/// The LSN at which to compare the states: `at`, or the highest one that both can be brought to and at which
/// the logs are the same. Else why there is none.
[[nodiscard]] Result<Lsn, Failure> choose_position(const LogComparison& log, const StateReach& first,
                                                   const StateReach& second, std::optional<Lsn> at);

}  // namespace mainstay::replica
