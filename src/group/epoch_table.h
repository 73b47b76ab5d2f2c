// Where each leadership began in a log. Two logs that hold the same epoch from the same LSN on are equal to
// the end of the shorter stretch, so two tables tell how far two logs agree. Kafka's leader epoch
// (KIP-101, KIP-279) for a log whose records carry their epoch.
#pragma once

#include <optional>
#include <vector>

#include "base/ids.h"
#include "journal/journal.h"

namespace mainstay::group {

/// First record of an epoch.
struct EpochStart {
  Epoch epoch{};
  Lsn first{};
  friend bool operator==(const EpochStart&, const EpochStart&) = default;
};

/// A value. Invariant: epochs and LSNs both grow strictly, and none is 0.
class EpochTable {
 public:
  /// Older entries are forgotten: a node that was away for more leaderships than that cannot be told how far
  /// its log agrees (common_end()), and has to begin with an empty disk.
  static constexpr std::size_t kEntriesMax = 64;

  /// Takes note of a record that is in the log; LSN ≥ 1 (asserted), epoch 0 is no leadership and passed over.
  /// In any order and as often as one likes; in LSN order it is cheap when the epoch is the last one. The log
  /// is right: what the table says otherwise of this place and behind it is forgotten. So is what is before a
  /// new epoch's record when records in between were never noted: nobody could tell where the epoch before
  /// ended.
  void note(Epoch epoch, Lsn lsn);
  void note(const journal::Batch& batch);
  /// Nothing after `end` is in the log any more.
  void cut(Lsn end);
  [[nodiscard]] const std::vector<EpochStart>& entries() const { return entries_; }
  [[nodiscard]] Epoch last() const { return entries_.empty() ? Epoch{} : entries_.back().epoch; }
  /// The last LSN noted: what the table does not say about later records is unknown, not the same epoch.
  [[nodiscard]] Lsn through() const { return through_; }
  /// @param through  as through(), where that is known; at least the last entry's LSN counts
  /// @return nothing: not the content of a table (from a peer, from a disk)
  [[nodiscard]] static std::optional<EpochTable> from(std::vector<EpochStart> entries, Lsn through = {});

  /// Of the entries.
  friend bool operator==(const EpochTable& a, const EpochTable& b) { return a.entries_ == b.entries_; }

 private:
  std::vector<EpochStart> entries_;
  Lsn through_{};
};

/// The last LSN to which both logs are equal for all that the tables tell. Nothing when they do not tell: no
/// epoch begins at the same LSN in both, and at least one no longer knows its log's first record. An empty
/// log is equal to any up to LSN 0, and so are two logs whose first records are known to differ.
[[nodiscard]] std::optional<Lsn> common_end(const EpochTable& ours, Lsn our_end, const EpochTable& theirs,
                                            Lsn their_end);

}  // namespace mainstay::group
