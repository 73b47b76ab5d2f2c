// The standby side of region shipping: what may be stored. Accepts records only in their exact place, so that
// the standby's log is always a byte-identical prefix of the live one.
#pragma once

#include <cstdint>

#include "journal/journal.h"
#include "replication/packets.h"

namespace mainstay::replication {

/// One strand; a new one each time shipping starts.
///
/// Invariant: pending() holds whole records that continue the log exactly; end() is the position after them.
class RegionFollower {
 public:
  /// @param end    of the durable log @param epoch  of its last record
  /// @param pending_bytes_max  more than this unwritten: the live region ignores the window; refused
  RegionFollower(journal::LogPosition end, Epoch epoch, std::size_t pending_bytes_max)
      : end_(end), epoch_(epoch), pending_bytes_max_(pending_bytes_max) {}

  /// Checks every record's checksum, LSN, chain and epoch, and takes all or nothing.
  /// @param sender_epoch  of the packet: no record may be of a later one
  [[nodiscard]] Result<void, Refuse> offer(const Records& records, Epoch sender_epoch);

  /// Moves what was taken and not yet handed out into `batch` (cleared first; its capacity reused).
  /// @return false when there is nothing
  [[nodiscard]] bool take(journal::Batch& batch);
  [[nodiscard]] std::size_t pending_bytes() const { return pending_.bytes.size(); }
  [[nodiscard]] journal::LogPosition end() const { return end_; }
  [[nodiscard]] Epoch epoch() const { return epoch_; }

 private:
  journal::LogPosition end_;
  Epoch epoch_;
  std::size_t pending_bytes_max_;
  journal::Batch pending_;
};

}  // namespace mainstay::replication
