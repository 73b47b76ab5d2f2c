// One open segment: its file, where its records are, where the next one goes. Private to the room.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/disk.h"
#include "journal/format.h"

namespace mainstay::journal {

/// `offsets` and `end_offset` are guarded by the journal's mutex once another thread may read.
struct Segment {
  std::string path;
  std::unique_ptr<File> file;
  SegmentHeader header;
  std::vector<std::uint32_t> offsets;  ///< of each record in the file
  std::uint64_t end_offset = kRecordsAt;

  [[nodiscard]] bool empty() const { return offsets.empty(); }
  /// LSN behind the last record.
  [[nodiscard]] Lsn next_lsn() const { return Lsn{header.first.value + offsets.size()}; }
  [[nodiscard]] std::uint64_t free_bytes() const { return header.segment_bytes - end_offset; }
  [[nodiscard]] std::uint64_t offset_of(Lsn lsn) const { return offsets[lsn.value - header.first.value]; }
  /// Offset behind the record at `lsn`.
  [[nodiscard]] std::uint64_t end_of(Lsn lsn) const {
    const std::uint64_t after = lsn.value - header.first.value + 1;
    return after < offsets.size() ? offsets[after] : end_offset;
  }
};

/// Zero-written file ready to become a segment.
struct Spare {
  std::string path;
  std::unique_ptr<File> file;
  std::uint64_t bytes{};
};

}  // namespace mainstay::journal
