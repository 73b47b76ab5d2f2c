// The broker's state at a position of a log that nobody runs on, by the code that standbys run: restored from
// a checkpoint at or before it, or from nothing when the log begins with its first record, and the log
// applied. Nothing is changed on the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "base/result.h"
#include "broker/state.h"
#include "journal/log_files.h"

namespace mainstay::replica {

/// To which positions of its log a directory's state can be brought: every LSN from `from` to `to`.
struct StateReach {
  std::optional<Lsn> from;  ///< nothing: to none
  Lsn to{};
  bool from_nothing = false;     ///< the log begins with its first record
  std::vector<Lsn> checkpoints;  ///< whole ones, newest first; whether their pages are, restoring shows
};
/// @param end  the log's
[[nodiscard]] Result<StateReach, Failure> state_reach(Disk& disk, const std::string& directory,
                                                      const journal::LogFiles& log, Lsn end);

struct StateAt {
  Lsn at{};
  std::uint64_t hash{};  ///< broker::State::hash()
  Lsn checkpoint{};      ///< it was made from; 0 = from nothing
  std::uint64_t messages{};
  std::string not_used;  ///< why newer checkpoints were not, in words
  /// What the log says the hash is at `at`, and the LSN of the record that says so.
  std::optional<std::uint64_t> recorded;
  Lsn recorded_by{};
};
struct StateProblem {
  enum class Kind : std::uint8_t {
    out_of_reach,  ///< `at` is behind the log's end, or before everything it could be made from
    damaged,       ///< log or every checkpoint; or the log can't be applied, or records another state hash
    unreadable,    ///< files went meanwhile, or the disk fails
  };
  Kind kind{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const StateProblem& error, const boost::source_location& where);

/// Memory: as a node's that has this state, and pages changed since the checkpoint. @param tick  called for
/// every record that is applied; may be empty
[[nodiscard]] Result<StateAt, StateProblem> state_at(Disk& disk, const std::string& directory,
                                                     const journal::LogFiles& log, const StateReach& reach,
                                                     Lsn at, const std::function<void(Lsn)>& tick = {},
                                                     broker::StateLimits limits = {});

}  // namespace mainstay::replica
