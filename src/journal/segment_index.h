// Where in a segment a record is: not of each record, but of one in every few KiB; from there one walks. It
// grows in memory while the segment is written, and is stored in the segment's last pages when the segment is
// full, so that nobody has to read the segment to find something in it. It is a help, never the truth: one
// that is absent, damaged or of another life of the file is made anew from the records. Private to the room.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/disk.h"
#include "journal/format.h"
#include "journal/journal.h"

namespace mainstay::journal {

class SegmentIndex {
 public:
  struct Place {
    std::uint64_t number{};  ///< of the record in its segment, from 0
    std::uint64_t offset{};  ///< in the file
  };

  /// Room for all that a file of this length can need, so that noting a record never allocates.
  void reserve(std::uint64_t file_bytes);
  /// Tells of the next record. Kept if it is far enough behind the one kept last.
  void note(std::uint64_t number, std::uint64_t offset) {
    if (offset >= next_offset_) keep(number, offset);
  }
  /// The nearest known place at or before this record.
  [[nodiscard]] Place at_or_before(std::uint64_t number) const;
  /// Offset of the nearest known record behind this one; empty when none is known.
  [[nodiscard]] std::optional<std::uint64_t> offset_behind(std::uint64_t number) const;
  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  friend Buffer encode_index(const SegmentIndex&, const SegmentHeader&, const struct IndexHead&);
  friend std::optional<SegmentIndex> decode_index(BytesView, const SegmentHeader&, const struct IndexHead&);
  struct Entry {
    std::uint32_t number{};
    std::uint32_t offset{};
  };
  void keep(std::uint64_t number, std::uint64_t offset);
  std::vector<Entry> entries_;
  std::uint64_t next_offset_ = 0;
};

/// What the index pages say about the segment as a whole: with it open() follows the chain from segment to
/// segment without reading records.
struct IndexHead {
  LogPosition end{};
  Epoch epoch{};  ///< of the last record
  std::uint64_t end_offset{};
};

/// The bytes to write at header.records_end().
Buffer encode_index(const SegmentIndex& index, const SegmentHeader& header, const IndexHead& head);
/// The head alone, from the first kIndexHeadBytes. Empty unless it is whole and of this life of the file.
std::optional<IndexHead> decode_index_head(BytesView bytes, const SegmentHeader& header);
/// Empty when damaged, or when the segment is known to end elsewhere than at `expected`.
std::optional<SegmentIndex> decode_index(BytesView bytes, const SegmentHeader& header,
                                         const IndexHead& expected);

}  // namespace mainstay::journal
