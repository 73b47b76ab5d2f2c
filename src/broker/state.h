// The replicated state of a group: a pure function of its log. Live and standby nodes run the same apply();
// nothing here knows locks, consumers or time of its own. Records carry the leader's wall time ("log time",
// never going back), so duplicate-detection windows pass at the same record everywhere.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "broker/types.h"
#include "journal/record.h"
#include "paging/page_store.h"

namespace mainstay::broker {

/// The log holds something this code cannot have written, or the state hash recorded by the leader differs
/// from ours. Fail-stop: this replica is not what the log says.
struct ApplyError {
  Lsn lsn{};
  std::string what;
};
[[noreturn]] void throw_exception_from_error(const ApplyError& error, const boost::source_location& where);

struct StateLimits {
  /// Pages of messages, sessions and duplicate-detection entries in memory. Besides them a directory (about
  /// 100 bytes for 64 of them) and 11 to 22 bytes for each session and each entry stay in memory.
  std::size_t index_bytes = std::size_t{32} << 20;
  /// Beside it, as far as pages that had left memory are wanted again: many queues or sessions in use at
  /// once. A backlog that only waits takes none of it.
  std::size_t index_hot_bytes = 0;
};

/// One strand. Whatever does not fit in memory is in the page store, therefore any call may throw
/// paging::PageLost, const ones too: the state is unusable from then on.
class State {
 public:
  /// @param pages  outlives the state; nullptr: pages are kept in memory
  explicit State(paging::PageStore* pages = nullptr, StateLimits limits = {});
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

  struct Checkpoint {
    Buffer root;  ///< versioned bytes (docs/formats/effects.md) that refer to stored pages
    /// To be made durable before the root is; then tell the page store.
    std::shared_ptr<paging::PageStore::Sealed> sealed;
  };
  /// Stores what has changed since it was stored and seals the page store. From the root and the pages
  /// restore() makes an equal state. Message bodies are not in it, they are in the log: the log must be kept
  /// from oldest_needed() on. Nothing when the page store is full: the state goes on without.
  [[nodiscard]] std::optional<Checkpoint> checkpoint();
  /// Stores up to about `bytes_max` of what checkpoint() would have to. @return bytes stored
  std::size_t write_ahead(std::size_t bytes_max);
  /// Reads and checks every page the root refers to: its checksum, its contents, its sum and the state hash.
  /// Refused: the page store is as it was.
  [[nodiscard]] static Result<State, ApplyError> restore(BytesView root, paging::PageStore& pages,
                                                         StateLimits limits = {});
  /// LSN of the oldest stored message; applied().next() when there is none.
  [[nodiscard]] Lsn oldest_needed() const;

  /// Case-insensitive (ASCII), as addresses are.
  [[nodiscard]] std::optional<QueueId> find_queue(std::string_view name) const;
  [[nodiscard]] const QueueOptions& options(QueueId queue) const;
  [[nodiscard]] const std::string& name(QueueId queue) const;
  [[nodiscard]] std::vector<QueueId> queues() const;  ///< in order of declaration
  [[nodiscard]] QueueStats stats(QueueId queue) const;
  [[nodiscard]] std::uint64_t messages_total() const;
  /// What is known of a message id, for audits and replays.
  struct IdKnowledge {
    bool in_window = false;  ///< an unexpired duplicate-detection entry has this id
    /// Else: resident messages whose id has the same hash. That it is the same id only the log tells.
    std::vector<Lsn> candidates;
  };
  /// One answer for each id. O(messages of the queue) when any of them is not in its window.
  [[nodiscard]] std::vector<IdKnowledge> look_up_ids(QueueId queue,
                                                     std::span<const std::string> message_ids) const;
  struct Place {
    QueueId queue{};
    SequenceNumber sequence{};
    Lsn lsn{};
  };
  /// Resident messages whose record is before `lsn`, at most `max`. O(queues + what it gives), as
  /// oldest_needed() is O(queues + what has changed).
  [[nodiscard]] std::vector<Place> collect_older_than(Lsn lsn, std::size_t max) const;
  /// Pages looked at by these two, ever: for tests.
  [[nodiscard]] std::uint64_t pages_looked_at() const;

  /// Where the message's record is now; 0 when the message is not there any more.
  [[nodiscard]] Lsn lsn_of(QueueId queue, SequenceNumber sequence) const;
  /// Payload bytes of one message; 0 when it is not there any more.
  [[nodiscard]] std::uint64_t payload_bytes_of(QueueId queue, SequenceNumber sequence) const;
  /// Payload bytes of all resident messages.
  [[nodiscard]] std::uint64_t payload_bytes_total() const;

  struct MemoryUse {
    std::size_t page_bytes{};       ///< of pages in memory; at most the limit between commands
    std::size_t directory_bytes{};  ///< of what is known about pages
    std::size_t index_bytes{};      ///< of what finds sessions and duplicates
    std::uint64_t pages{};          ///< in memory or stored
    std::uint64_t pages_resident{};
    std::uint64_t page_loads{}, page_stores{};  ///< since it was made
    std::uint64_t disk_bytes{};
  };
  [[nodiscard]] MemoryUse memory_use() const;
  /// Checks every relation between rings, lists, indexes, counters and the hash; aborts by MS_ASSERT.
  /// O(state): tests and the simulator.
  void check_invariants() const;

  struct Impl;  ///< private to the room

 private:
  friend class Leader;
  friend Impl& inside(State& state);  ///< for the tests of the room
  std::unique_ptr<Impl> impl_;
};

}  // namespace mainstay::broker
