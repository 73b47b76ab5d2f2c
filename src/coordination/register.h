// The register of who may lead: one record per group, changed only by compare-and-swap on its revision.
// Embedded implementation: sqlite_register.h (a file shared by the processes of one machine). etcd stands
// behind the same interface later.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace mainstay::coordination {

/// What the region's components may do. Stored: never renumber.
enum class Phase : std::uint8_t {
  active = 0,      ///< everything runs in `region`
  switching = 1,   ///< planned switch under way: producers and consumers stop, `region` drains and seals
  recovering = 2,  ///< after a forced promotion: consumers run, producers wait until the archive's missing
                   ///< messages are in
};

/// Who leads. `revision` counts changes of the record, `term` counts leaderships; both only grow.
struct RegionRecord {
  std::uint64_t revision{};  ///< 0 = the record does not exist yet
  RegionTerm term{};
  std::string region;  ///< the active one
  Phase phase = Phase::active;
  std::string by;  ///< who changed it last ("operator alice", "node east-1")
  std::string reason;
  WallTime at{};
  Lsn fork_lsn{};  ///< forced promotion: last LSN the promoted region had
  std::uint64_t fork_hash{};
};

struct RegisterError {
  std::string what;  ///< names the register and the system's reason
};
[[noreturn]] void throw_exception_from_error(const RegisterError& error, const boost::source_location& where);

enum class CasOutcome : std::uint8_t {
  won,
  lost,     ///< somebody changed the record first; `current` holds what is there
  unknown,  ///< may or may not have happened: read again before acting
};
struct CasResult {
  CasOutcome outcome{};
  RegionRecord current;  ///< won: the record as stored; lost: what is there; unknown: empty
};

/// Thread-safe. Each call is linearizable; a failure to answer is an error, never a guess.
class Register {
 public:
  virtual ~Register() = default;
  /// revision 0 when nobody has written it.
  [[nodiscard]] virtual Result<RegionRecord, RegisterError> read() = 0;
  /// Stores `next` (its revision is ignored) if the record's revision is `expected_revision`. Refuses (error)
  /// a term lower than the stored one, and another region under the stored term (a term belongs to one region
  /// for ever): those are our own broken promises, reported without writing.
  [[nodiscard]] virtual Result<CasResult, RegisterError> compare_and_swap(std::uint64_t expected_revision,
                                                                          const RegionRecord& next) = 0;
};

/// The rule of compare_and_swap() that does not depend on where the record is kept. For implementations.
/// @return why `next` must not follow `stored`; nothing when it may.
[[nodiscard]] std::optional<RegisterError> forbidden(const RegionRecord& stored, const RegionRecord& next);

}  // namespace mainstay::coordination
