// What is committed here and not yet durable in the other region: the RPO if this region died now.
#pragma once

#include <cstdint>
#include <deque>
#include <span>

#include "base/clock.h"
#include "base/ids.h"

namespace mainstay::replication {

/// Exact. O(1) amortised per record; 4 bytes of memory per lagging record. One strand.
///
/// Invariant: record_bytes_ holds the sizes of the records (there_, committed_], bytes_ their sum.
class LagMeter {
 public:
  /// @param committed  everything up to here counts as there until known otherwise (behind())
  explicit LagMeter(Lsn committed) : there_(committed), committed_(committed) {}

  /// Records after the last committed one were committed at `at`. @param record_bytes  their sizes, in order
  void committed(std::span<const std::uint32_t> record_bytes, Instant at);
  /// The other region turned out to be further behind than assumed: these records, the ones just before those
  /// counted, are not there. Their commit time is unknown to this process: `since` is the earliest it can
  /// vouch for.
  void behind(std::span<const std::uint32_t> record_bytes, Instant since);
  /// Everything up to `lsn` is durable there. Lower than before: no change. @param lsn  ≤ committed
  void durable_there(Lsn lsn);

  [[nodiscard]] Lsn there() const { return there_; }
  [[nodiscard]] Lsn committed_here() const { return committed_; }
  [[nodiscard]] std::uint64_t records() const { return committed_.value - there_.value; }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
  /// Time since the oldest record that is not there was committed; zero when all are.
  [[nodiscard]] Duration oldest_age(Instant now) const;

 private:
  struct Commit {
    Lsn last;
    Instant at;
  };
  Lsn there_;
  Lsn committed_;
  std::uint64_t bytes_ = 0;
  std::deque<std::uint32_t> record_bytes_;
  std::deque<Commit> commits_;  ///< ascending; the last one's `last` is committed_
};

}  // namespace mainstay::replication
