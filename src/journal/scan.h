// Walks records in a range of bytes or a file. The one place that decides whether a record continues the log;
// open(), write_raw() and verify() all ask it. Private to the room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/disk.h"
#include "journal/format.h"
#include "journal/journal.h"
#include "journal/record.h"

namespace mainstay::journal {

/// Why a walk stopped where it did.
enum class StopReason : std::uint8_t {
  end,             ///< zeros or no bytes: nothing was written here
  truncated,       ///< a record longer than what is left
  damaged,         ///< not a record, or its checksum is wrong
  wrong_lsn,       ///< whole, but not the next LSN
  wrong_previous,  ///< whole and next, but of another history
  wrong_epoch,     ///< whole and next, but the epoch goes back
};
const char* describe(StopReason reason);

/// Steps through records that continue the log from `before`.
class RecordWalk {
 public:
  /// @param begin  offset in `bytes` of the first record
  RecordWalk(BytesView bytes, std::size_t begin, LogPosition before, Epoch epoch)
      : bytes_(bytes), at_(begin), end_(before), epoch_(epoch) {}

  /// Decodes the next record into `out`. False at the first place that does not continue the log; reason()
  /// then says why.
  bool next(Record& out);
  [[nodiscard]] std::size_t offset() const { return at_; }  ///< behind the last record given out
  [[nodiscard]] LogPosition end() const { return end_; }
  [[nodiscard]] Epoch epoch() const { return epoch_; }
  [[nodiscard]] StopReason reason() const { return reason_; }
  /// The last place looked at holds this record although it does not continue the log. For messages.
  [[nodiscard]] const RecordHeader& misfit() const { return misfit_; }

 private:
  BytesView bytes_;
  std::size_t at_;
  LogPosition end_;
  Epoch epoch_;
  StopReason reason_ = StopReason::end;
  RecordHeader misfit_{};
};

/// Steps through the records of a segment's file, never holding more of it than a window, or its longest
/// record.
class SegmentScan {
 public:
  /// Continues `before` at `offset`. Both arguments by reference outlive the scan.
  SegmentScan(File& file, const SegmentHeader& header, LogPosition before, Epoch epoch,
              std::uint64_t offset = kRecordsAt)
      : file_(file), area_end_(header.records_end()), at_(offset), end_(before), epoch_(epoch) {}

  /// As RecordWalk::next(); what `out` refers to is valid until the next call.
  Result<bool, JournalError> next(Record& out);
  [[nodiscard]] std::uint64_t offset() const { return at_; }  ///< behind the last record given out
  [[nodiscard]] LogPosition end() const { return end_; }
  [[nodiscard]] Epoch epoch() const { return epoch_; }
  [[nodiscard]] StopReason reason() const { return reason_; }

 private:
  Result<BytesView, JournalError> window(std::uint64_t bytes);
  File& file_;
  const std::uint64_t area_end_;
  std::uint64_t at_;
  LogPosition end_;
  Epoch epoch_;
  StopReason reason_ = StopReason::end;
  Buffer window_;
  std::uint64_t window_at_ = 0;
};

/// The first whole record at or behind `from` whose LSN is above `above`: is there life after damage?
struct Found {
  std::size_t offset{};
  Record record;
};
std::optional<Found> find_record(BytesView bytes, std::size_t from, Lsn above);

/// Behind the last byte that is not zero; `from` when all are.
std::size_t end_of_content(BytesView bytes, std::size_t from);

/// In a recycled segment: behind the last record, whole or not, of this life of the file. Records of earlier
/// lives have LSNs below `first`, the segment's first one. 0 when there is none. `bytes` starts where a
/// record may.
std::size_t end_of_traces(BytesView bytes, Lsn first);

}  // namespace mainstay::journal
