// The ledger: what happened to each message, so that its effect happens once whatever is delivered twice.
// Writes are fenced by region term: a component of an old term cannot claim or finish anything once a newer
// term has written. Embedded implementation: sqlite_ledger.h.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace mainstay::ledger {

/// Stored: never renumber.
enum class EntryState : std::uint8_t { claimed = 1, done = 2, parked = 3 };

struct Entry {
  std::string key;     ///< idempotency key
  std::string digest;  ///< content id: content.h
  std::string ordering_key;
  EntryState state{};
  RegionTerm term{};  ///< that last wrote it
  std::string region, worker;
  std::string destination;     ///< where it was written: name at the destination
  std::uint64_t done_order{};  ///< position in the ledger's order of finishing; 0 until done
  WallTime claimed_at{}, done_at{};
  std::uint32_t attempts{};
};

enum class ClaimOutcome : std::uint8_t {
  granted,  ///< new, or claimed before and not finished: write to the destination (idempotent), then done()
  already_done,  ///< the effect exists: complete the message, do nothing else
  conflict,      ///< same key, other content: park it, count it, never drop it
  fenced,        ///< a newer term has written: stop
};

struct Claim {
  std::string key, digest, ordering_key;
};
struct Done {
  std::string key;
  std::string destination;
};
struct LedgerError {
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const LedgerError& error, const boost::source_location& where);

/// Each call is one durable transaction (synced before it returns). One thread per instance; many processes
/// may share the store.
class Ledger {
 public:
  virtual ~Ledger() = default;
  /// Claims in order; outcomes in the same order. The term becomes the fence if it is higher than any before.
  [[nodiscard]] virtual Result<std::vector<ClaimOutcome>, LedgerError> claim(const std::vector<Claim>& claims,
                                                                             RegionTerm term,
                                                                             const std::string& region,
                                                                             const std::string& worker,
                                                                             WallTime now) = 0;
  /// Marks claimed entries done, in order. @return false when fenced (nothing was written).
  [[nodiscard]] virtual Result<bool, LedgerError> done(const std::vector<Done>& entries, RegionTerm term,
                                                       WallTime now) = 0;
  /// Records a conflict's content as parked (once per key and digest), with where its bytes were put.
  [[nodiscard]] virtual Result<bool, LedgerError> park(const Claim& conflict, const std::string& kept_at,
                                                       RegionTerm term, WallTime now) = 0;
  [[nodiscard]] virtual Result<std::optional<Entry>, LedgerError> find(std::string_view key) = 0;
  /// All entries of a state in done_order (claimed: by key). For audits.
  [[nodiscard]] virtual Result<void, LedgerError> for_each(EntryState state,
                                                           const std::function<void(const Entry&)>& each) = 0;
  [[nodiscard]] virtual Result<std::uint64_t, LedgerError> count(EntryState state) = 0;
};

}  // namespace mainstay::ledger
