// When to give old messages new records at the log's end, and how much at a time: so that a message that
// stays does not keep every segment behind it (docs/decisions/0015). Pure: sizes and times come in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

#include "base/clock.h"
#include "base/ids.h"

namespace mainstay::replica {

class LogCleaner {
 public:
  static constexpr std::int64_t kBytesPerSecondMin = 4 << 20;
  static constexpr std::int64_t kAppendedShare = 4;  ///< or one part in so many of what is appended
  static constexpr std::int64_t kStepBytesMax = 1 << 20;
  static constexpr std::int64_t kStepBytesDiskFull = 64 << 10;

  /// @param first, end  of the log as it is found, `bytes` long.
  LogCleaner(Lsn first, Lsn end, std::uint64_t bytes);

  /// The log's end is durable at `end`; all that was ever appended, the bytes it was found with included.
  void appended(Lsn end, std::uint64_t bytes_total, std::uint64_t segment_bytes);

  struct Input {
    Instant now{};
    std::uint64_t segment_bytes{};
    std::uint64_t live_bytes{};  ///< of all resident messages, as records
    Lsn oldest_needed{};
    bool publishes_held = false;
    bool disk_full = false;
    std::uint64_t room{};           ///< Journal::room() less what is under way
    std::uint64_t reserve_bytes{};  ///< kept for settlements
  };
  struct Plan {
    std::size_t bytes = 0;              ///< to move now; 0 = nothing
    Lsn before{};                       ///< of messages whose records are before this
    bool began = false, ended = false;  ///< a round of cleaning
  };
  /// A round begins when what the oldest message keeps is more than four segments and twice what is live (one
  /// segment when the disk is full), and ends when it keeps half of that.
  [[nodiscard]] Plan plan(const Input& input);
  /// May be more than planned: the next steps are smaller for it.
  void moved(std::size_t bytes);
  [[nodiscard]] bool cleaning() const { return cleaning_; }

  /// What a log may have before a round begins.
  [[nodiscard]] static std::uint64_t limit(const Input& input);
  /// Bytes of records from `lsn` to the end; between two samples as if all records were of one size.
  [[nodiscard]] std::uint64_t bytes_from(Lsn lsn) const;

 private:
  struct Sample {
    Lsn lsn{};              ///< of a record
    std::uint64_t bytes{};  ///< of everything up to it and with it
  };
  [[nodiscard]] Lsn lsn_at(std::uint64_t bytes) const;

  std::deque<Sample> samples_;  ///< ascending, a quarter of a segment apart; at least one
  Sample end_;
  bool cleaning_ = false;
  std::int64_t budget_bytes_ = 0;
  std::uint64_t bytes_planned_at_ = 0;
  Instant planned_at_{};
  bool planned_ = false;
};

}  // namespace mainstay::replica
