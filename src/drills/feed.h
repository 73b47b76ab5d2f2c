// What a drill feeds into the source, and what it knows about it.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "drills/ingest_record.h"

namespace mainstay::drills {

/// Not thread-safe.
class Feed {
 public:
  virtual ~Feed() = default;
  /// How many messages there will be.
  [[nodiscard]] virtual std::uint64_t total() const = 0;
  /// How many have entered.
  [[nodiscard]] virtual std::uint64_t entered() const = 0;
  /// Puts files into the inbox until at least `due` messages (at most all) have entered.
  [[nodiscard]] virtual Result<void, Failure> write_until(std::uint64_t due) = 0;
  /// One per message that has entered, in order.
  [[nodiscard]] virtual const std::vector<IngestEntry>& entries() const = 0;
  [[nodiscard]] bool finished() const { return entered() == total(); }
};

/// Idempotency keys among the entries: what has to arrive at the destination.
[[nodiscard]] std::uint64_t unique_keys(const std::vector<IngestEntry>& entries);

}  // namespace mainstay::drills
