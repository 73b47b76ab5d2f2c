// The register of who may lead: one record per group, changed only by compare-and-swap on its revision. Where
// it is kept is a Store (store.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "coordination/store.h"

namespace mainstay::coordination {

/// What the region's components may do. Stored by name: docs/formats/register.md.
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

/// What a node that has seen `seen` must not decide anything from: the register was lost, or put back to an
/// older state, since a term is in the register before anybody hears of it. Take what was seen when the
/// register was asked: what came while the answer was on its way proves nothing.
[[nodiscard]] inline bool is_behind(const RegionRecord& record, RegionTerm seen) {
  return (record.revision == 0 ? RegionTerm{} : record.term) < seen;
}

struct CasResult {
  CasOutcome outcome{};
  RegionRecord current;  ///< won: the record as stored; lost: what is there; unknown: empty
};

/// Thread-safe. Each call is linearizable; a failure to answer is an error, never a guess.
class Register {
 public:
  explicit Register(std::shared_ptr<Store> store) : store_(std::move(store)) {}
  virtual ~Register() = default;
  /// revision 0 when nobody has written it.
  [[nodiscard]] Result<RegionRecord, RegisterError> read();
  /// Stores `next` (its revision is ignored) if the record's revision is `expected_revision`. Refuses (error)
  /// a term lower than the stored one, and another region under the stored term (a term belongs to one region
  /// for ever): those are our own broken promises, reported without writing.
  [[nodiscard]] Result<CasResult, RegisterError> compare_and_swap(std::uint64_t expected_revision,
                                                                  const RegionRecord& next);

 private:
  std::shared_ptr<Store> store_;
};

/// The record as it is stored (docs/formats/register.md), without its revision.
[[nodiscard]] std::string encode_region_record(const RegionRecord& record);
/// The failure says what is wrong with the text; the caller knows whose it is.
[[nodiscard]] Result<RegionRecord, RegisterError> decode_region_record(const Stored& stored);

}  // namespace mainstay::coordination
