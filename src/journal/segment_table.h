// The log's segments in order, where it is written and durable, and reading from it. Private to the room.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/disk.h"
#include "journal/encoded.h"
#include "journal/journal.h"
#include "journal/segment.h"

namespace mainstay::journal {

/// Any thread may call what is not said to be for the writer. No I/O happens under the mutex.
class SegmentTable {
 public:
  /// Sealed segments whose file and index are kept at hand; others are opened again when they are read.
  static constexpr std::size_t kSealedOpenMax = 64;

  SegmentTable(Disk& disk, std::string directory) : disk_(disk), directory_(std::move(directory)) {}
  void start(std::vector<std::shared_ptr<Segment>> segments, LogPosition durable);

  // --- The writer.

  /// The segment being written. Only the writer changes it.
  Segment& current() { return *current_; }
  /// Goes on in this segment, which is open. An empty current one is replaced.
  void add(std::shared_ptr<Segment> segment);
  /// Records [from, behind) now stand in the current segment, at its end.
  void wrote(const Encoded& records, std::size_t from, std::size_t behind);
  /// All that is written is durable.
  void set_durable();

  // --- Any thread.

  [[nodiscard]] bool empty() const;
  [[nodiscard]] std::size_t count() const;
  [[nodiscard]] LogPosition written() const;
  [[nodiscard]] LogPosition durable() const;
  /// Whether a read may wait for the disk (`would_wait` when it may not and would), and for what is read
  /// once.
  enum class Wait : std::uint8_t { no, yes, once };
  /// As Journal::read() and Journal::hash_at().
  Result<Lsn, JournalError> read(Lsn first, Lsn last, std::size_t bytes_max, Buffer& to,
                                 Wait wait = Wait::yes);
  Result<std::uint64_t, JournalError> hash_at(Lsn lsn);
  /// Takes the oldest segment out if all its records are before `before` and it is not the current one.
  /// Nobody begins to read it any more; whoever still does holds a reference.
  std::shared_ptr<Segment> take_oldest_before(Lsn before);
  [[nodiscard]] std::vector<Journal::Extent> extents() const;
  [[nodiscard]] std::uint64_t record_bytes() const;
  [[nodiscard]] std::uint64_t file_bytes() const;

 private:
  struct Range {
    std::uint64_t begin{};
    std::uint64_t end{};  ///< at or behind the last record's end
  };
  std::shared_ptr<Segment> find(Lsn lsn) const;
  void close_unused();
  Result<std::shared_ptr<OpenSegment>, JournalError> open(const std::shared_ptr<Segment>& segment, Wait wait);
  static Result<std::size_t, JournalError> read_file(File& file, std::uint64_t offset,
                                                     std::span<std::byte> into, Wait wait);
  Result<SegmentIndex, JournalError> load_index(File& file, const Segment& segment) const;
  Result<std::uint64_t, JournalError> locate(File& file, const Segment& segment, SegmentIndex::Place from,
                                             Lsn lsn, Wait wait) const;
  Result<Lsn, JournalError> read_segment(Segment& segment, OpenSegment& opened, Lsn first, Lsn upto,
                                         std::size_t room, bool one_at_least, Buffer& to, Wait wait);
  JournalError not_as_written(const Segment& segment, std::uint64_t offset, Lsn lsn) const;

  Disk& disk_;
  const std::string directory_;
  std::shared_ptr<Segment> current_;  // changed by the writer, under the mutex

  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<Segment>> segments_;  // never empty once written to
  LogPosition written_{};
  LogPosition durable_{};
  std::uint64_t uses_ = 0;
  std::size_t sealed_open_ = 0;
};

}  // namespace mainstay::journal
