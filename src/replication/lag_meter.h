// What is committed here and not yet durable in the other region: the RPO if this region died now.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <span>

#include "base/clock.h"
#include "base/ids.h"

namespace mainstay::replication {

/// Bounded: at most kBlocksMax blocks of records, however long the other region is away. O(1) amortised per
/// call. One strand.
///
/// Accuracy. there(), committed_here() and records() are exact. bytes() and oldest_age() are never too small.
/// They are exact (but for what behind_at_most() told of) as long as the other region has no block in part;
/// of one that it has in part, the oldest record's age counts, and of its bytes as much is taken off as the
/// records that are there have at the least. A block is what one call told of. Several become one only if
/// they have together at most 1/512 of the records that lag at that time.
///
/// Invariant: blocks_ covers the records (there_, committed_], ascending, in its first one `done_` records
/// that are there as well. bytes_ is the sum of all blocks' bytes, these included.
class LagMeter {
 public:
  static constexpr std::size_t kBlocksMax = 4096;

  /// @param committed  everything up to here counts as there until known otherwise (behind())
  explicit LagMeter(Lsn committed) : there_(committed), committed_(committed) {}

  /// Records after the last committed one were committed at `at`, which does not go back.
  /// @param record_bytes  their sizes, in order
  void committed(std::span<const std::uint32_t> record_bytes, Instant at);
  /// The other region turned out to be further behind than assumed: these records, the ones just before those
  /// counted, are not there. Their commit time is unknown to this process: `since` is the earliest it can
  /// vouch for.
  void behind(std::span<const std::uint32_t> record_bytes, Instant since);
  /// As behind(), for records of which no more is known than that all of them have at most `bytes`.
  /// @param records  < there() + 1
  void behind_at_most(std::uint64_t records, std::uint64_t bytes, Instant since);
  /// Everything up to `lsn` is durable there. Lower than before: no change. @param lsn  ≤ committed
  void durable_there(Lsn lsn);

  [[nodiscard]] Lsn there() const { return there_; }
  [[nodiscard]] Lsn committed_here() const { return committed_; }
  [[nodiscard]] std::uint64_t records() const { return committed_.value - there_.value; }
  [[nodiscard]] std::uint64_t bytes() const;
  /// Time since the oldest record that is not there was committed; zero when all are.
  [[nodiscard]] Duration oldest_age(Instant now) const;
  /// For tests: blocks in memory.
  [[nodiscard]] std::size_t blocks() const { return blocks_.size(); }

 private:
  struct Block {
    Lsn last;  ///< the first is behind the block before
    Instant oldest;
    std::uint64_t records{};
    std::uint64_t bytes{};  ///< or more than they have
    // Of any one of its records; what is not known is as far off as it can be.
    std::uint32_t smallest = 0;
    std::uint32_t largest = std::numeric_limits<std::uint32_t>::max();
  };
  static Block block_of(std::span<const std::uint32_t> record_bytes, Lsn last, Instant oldest);
  void put_before(const Block& block);
  [[nodiscard]] static std::uint64_t bytes_left(const Block& block, std::uint64_t done);
  [[nodiscard]] std::uint64_t joined_records_max() const { return records() / (kBlocksMax / 8); }
  static void join(Block& to, const Block& behind);
  void make_room();

  Lsn there_;
  Lsn committed_;
  std::uint64_t bytes_ = 0;
  std::uint64_t done_ = 0;
  std::deque<Block> blocks_;
};

}  // namespace mainstay::replication
