// The audit: was every message that entered delivered, once, in order and unchanged? A pure function over
// three independent sources: what entered (ingest record), what the ledger says was done, and what is at the
// destination (its own listing, and a witness of the order of arrival). It trusts none of them: where they
// disagree it says so, and any finding at all means "not clean" (N2, P2, P3, P4).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "drills/ingest_record.h"

namespace mainstay::drills {

enum class LedgerState : std::uint8_t { claimed, done, parked };

struct LedgerFact {
  std::string key, digest, ordering_key;
  LedgerState state{};
  std::string destination;     ///< name at the destination, when done
  std::uint64_t done_order{};  ///< position in the order of finishing, when done
};

/// One file at the destination, read back.
struct DestinationFile {
  std::string name;
  std::string key, content_digest;  ///< empty when the content is no valid message
  std::string bytes_digest;
};

/// One file seen arriving, in order of arrival.
struct Arrival {
  std::uint64_t order{};
  std::int64_t wall_ms{};
  std::int64_t monotonic_ns{};
  std::string name;
  std::string bytes_digest;  ///< of its content just after it arrived; empty when it could not be read
};

struct Arrivals {
  std::vector<Arrival> list;
  std::string incomplete;  ///< why the order can't be proved (a sentence); empty = it can
};

struct AuditSources {
  std::vector<IngestEntry> entered;
  std::vector<LedgerFact> ledger;
  std::vector<DestinationFile> destination;
  /// Without a witness the order is taken from the ledger's, which the report says.
  std::optional<Arrivals> arrivals;
  /// digest128 of what lies parked because it conflicts with an earlier message, besides what the ledger
  /// parked.
  std::vector<std::string> parked;
  /// digest128 of what lies in quarantine; not checked when absent.
  std::optional<std::vector<std::string>> quarantine;
};

/// A message named by its idempotency key (or file name, when it has none) and what is wrong with it.
struct Finding {
  std::string key;
  std::string what;
};

enum class OrderEvidence : std::uint8_t {
  arrivals,   ///< every arrival at the destination was witnessed
  ledger,     ///< no witness: the ledger's own order
  incomplete  ///< the witness missed something: the audit is not clean
};
std::string_view text(OrderEvidence evidence);

struct AuditReport {
  std::uint64_t in = 0;          ///< everything that entered; = unique + duplicates + conflicts + malformed
  std::uint64_t unique = 0;      ///< distinct idempotency keys: each must be delivered exactly once
  std::uint64_t duplicates = 0;  ///< further copies of the same content
  std::uint64_t conflicts = 0;   ///< further contents under a key already used: each must be parked
  std::uint64_t malformed = 0;
  std::uint64_t ordering_keys = 0;
  std::uint64_t delivered = 0;  ///< keys found at the destination
  std::uint64_t conflicts_parked = 0;
  std::optional<std::uint64_t> quarantined;  ///< malformed ones found in quarantine

  std::vector<Finding> lost;           ///< entered, valid, not parked, not at the destination
  std::vector<Finding> repeated;       ///< arrived more than once, or lies there twice
  std::vector<Finding> reordered;      ///< the fewest messages whose moving would restore the order
  std::vector<Finding> corrupted;      ///< delivered with other content or bytes than entered
  std::vector<Finding> unexpected;     ///< at the destination, but never entered or not to be delivered
  std::vector<Finding> disagreements;  ///< ledger, destination and witness contradict each other
  OrderEvidence order_evidence = OrderEvidence::ledger;
  std::string order_note;  ///< why the evidence of order is incomplete

  [[nodiscard]] bool clean() const {
    return lost.empty() && repeated.empty() && reordered.empty() && corrupted.empty() && unexpected.empty() &&
           disagreements.empty() && order_evidence != OrderEvidence::incomplete;
  }
};

/// Deterministic: equal sources give equal reports. Thread-safe.
[[nodiscard]] AuditReport audit(const AuditSources& sources);

/// Indices (ascending) of the elements outside one longest strictly increasing subsequence of `sequence`: the
/// fewest that must move for the rest to be in order.
[[nodiscard]] std::vector<std::size_t> out_of_order(const std::vector<std::uint64_t>& sequence);

}  // namespace mainstay::drills
