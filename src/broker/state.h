// The replicated state of a group: a pure function of its log. Live and standby nodes run the same apply();
// nothing here knows locks, consumers or time of its own. Records carry the leader's wall time ("log time",
// never going back), so duplicate-detection windows pass at the same record everywhere.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "broker/types.h"
#include "journal/record.h"

namespace mainstay::broker {

/// The log holds something this code cannot have written, or the state hash recorded by the leader differs
/// from ours. Fail-stop: this replica is not what the log says.
struct ApplyError {
  Lsn lsn{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const ApplyError& error, const boost::source_location& where);

/// One strand.
class State {
 public:
  State();
  ~State();
  State(State&&) noexcept;
  State& operator=(State&&) noexcept;

  /// Applies the next record. Types that are not the broker's (epoch_started, sealed, forked) only move
  /// applied(); `state_hash` is compared with hash().
  [[nodiscard]] Result<void, ApplyError> apply(const journal::Record& record);
  [[nodiscard]] Lsn applied() const;
  [[nodiscard]] WallTime log_time() const;

  /// Order-independent hash over everything replicated: queues and options, messages with place, count and
  /// reasons, sequence counters, duplicate-detection entries, log time. Kept incrementally: O(1).
  [[nodiscard]] std::uint64_t hash() const;
  /// The same from scratch, O(state). Tests and the simulator compare the two.
  [[nodiscard]] std::uint64_t recompute_hash() const;

  /// Versioned bytes (docs/formats/effects.md) from which restore() makes an equal state. Message bodies are
  /// not in it, they are in the log: the log must be kept from oldest_needed() on.
  [[nodiscard]] Buffer snapshot() const;
  [[nodiscard]] static Result<State, ApplyError> restore(BytesView snapshot);
  /// LSN of the oldest stored message; applied().next() when there is none.
  [[nodiscard]] Lsn oldest_needed() const;

  /// Case-insensitive (ASCII), as addresses are.
  [[nodiscard]] std::optional<QueueId> find_queue(std::string_view name) const;
  [[nodiscard]] const QueueOptions& options(QueueId queue) const;
  [[nodiscard]] const std::string& name(QueueId queue) const;
  [[nodiscard]] std::vector<QueueId> queues() const;  ///< in order of declaration
  [[nodiscard]] QueueStats stats(QueueId queue) const;
  [[nodiscard]] std::uint64_t messages_total() const;
  /// True when an unexpired duplicate-detection entry or a resident message has this id. For audits and
  /// replays. O(1), but O(messages) while the queue has messages that came without duplicate detection.
  [[nodiscard]] bool knows_message_id(QueueId queue, std::string_view message_id) const;
  /// Checks every relation between rings, lists, indexes, counters and the hash; aborts by MS_ASSERT.
  /// O(state): tests and the simulator.
  void check_invariants() const;

 private:
  friend class Leader;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainstay::broker
