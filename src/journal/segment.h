// One segment as the running journal knows it. Private to the room.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/disk.h"
#include "journal/format.h"
#include "journal/segment_index.h"

namespace mainstay::journal {

/// A segment's file and index while somebody reads or writes it.
struct OpenSegment {
  std::unique_ptr<File> file;
  SegmentIndex index;
};

/// Everything but `path` and `header` is guarded by the mutex of the table it is in. A sealed segment changes
/// only in `opened`, which comes and goes: millions of segments must not mean millions of open files.
struct Segment {
  std::string path;
  SegmentHeader header;
  LogPosition end;                        ///< its last record; header.before() while it has none
  std::uint64_t end_offset = kRecordsAt;  ///< behind its last record
  std::shared_ptr<OpenSegment> opened;    ///< always there for the segment being written
  std::uint64_t last_use = 0;
  /// Where a reader stopped: the next one who goes on there need not search.
  struct Resume {
    Lsn lsn{};
    std::uint64_t offset{};
  } resume;

  [[nodiscard]] bool empty() const { return end.lsn < header.first; }
  [[nodiscard]] std::uint64_t free_bytes() const { return header.records_end() - end_offset; }
};

/// A file of a segment's length, ready to become a segment.
struct Spare {
  std::string path;
  std::unique_ptr<File> file;
  std::uint64_t bytes{};
  bool recycled = false;  ///< holds what it held as a segment; zeros otherwise
  /// Only allocated: each sync of what is written there first costs more than elsewhere.
  bool unwritten = false;
};

}  // namespace mainstay::journal
