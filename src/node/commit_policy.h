// Where a batch is written and synced: on the loop itself, or by the journal's thread.
//
// The hand-over to the journal's thread and back wakes two threads up, which costs as much as a quick sync.
// It pays when it overlaps with something: a long sync, or many records that are decided meanwhile. A small
// batch on a quick disk has nothing to overlap with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/clock.h"

namespace mainstay::node {

struct CommitPolicyOptions {
  std::size_t records_max = 16;           ///< more: the next batch should gather while this one is synced
  std::size_t bytes_max = 64U << 10;      ///< the same, for the few that are large
  Duration sync_max = microseconds(500);  ///< the loop stands still for a write and sync: this long, usually
  Duration stall_max = milliseconds(20);  ///< a write and sync of any size that takes longer is a stall
  Duration stall_memory = seconds(10);    ///< stalls come in groups: the next one is expected for so long
};

/// Pure: learns from the times it is told. One strand.
///
/// How long the loop can stand still: one sync of any length after a series of quick ones; then the average
/// is above the limit, and batches go to the journal's thread until small ones are quick there again.
class CommitPolicy {
 public:
  explicit CommitPolicy(CommitPolicyOptions options = {}) : options_(options) {}

  /// True when a batch of this size is better written on the loop. False as long as nothing is known.
  [[nodiscard]] bool on_loop(std::size_t records, std::size_t bytes) const {
    return small(records, bytes) && average_ && *average_ <= options_.sync_max;
  }
  /// True when the disk has not stalled lately: for a node whose silence would be noticed.
  [[nodiscard]] bool steady(Instant now) const {
    return !stalled_ || now - *stalled_ > options_.stall_memory;
  }
  /// A batch was written and synced in `took`, waiting for a thread not included. Only small batches teach
  /// the average: how long a large one takes says little about them.
  void written(std::size_t records, std::size_t bytes, Duration took, Instant now);
  /// Write and sync of a small batch, on average over the last ones; nullopt when there was none.
  [[nodiscard]] std::optional<Duration> average() const { return average_; }

 private:
  [[nodiscard]] bool small(std::size_t records, std::size_t bytes) const {
    return records <= options_.records_max && bytes <= options_.bytes_max;
  }

  CommitPolicyOptions options_;
  std::optional<Duration> average_;
  std::optional<Instant> stalled_;
};

}  // namespace mainstay::node
