// What lies in a journal directory besides records: file names, and the checksummed pages that say whose and
// what a file is. Private to the room; the reference is docs/formats/journal.md.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/ids.h"
#include "journal/record.h"

namespace mainstay::journal {

inline constexpr std::uint32_t kFormatVersion = 2;
inline constexpr std::size_t kPageBytes = 4096;
inline constexpr std::size_t kSectorBytes = 512;
/// A segment starts with the header page, then the mark page, then records; its last pages are for the index.
inline constexpr std::uint64_t kMarksAt = kPageBytes;
inline constexpr std::uint64_t kRecordsAt = 2 * kPageBytes;
inline constexpr std::uint64_t kSegmentBytesMin = 64ULL << 10;
inline constexpr std::uint64_t kSegmentBytesMax = 1ULL << 30;  // offsets in an index are 32 bits
/// A record larger than a segment has one of its own.
inline constexpr std::uint64_t kSegmentFileBytesMax =
    kSegmentBytesMax + kRecordsAt + record_bytes(kBodyBytesMax) + (1U << 20);
inline constexpr std::size_t kNodeNameBytesMax = 255;

/// At least this many bytes lie between two records that a segment's index names.
inline constexpr std::uint64_t kIndexSpacingBytes = 8192;
inline constexpr std::size_t kIndexHeadBytes = 80;
/// Kept at the end of a file of this length for the index of its records; whole pages.
constexpr std::uint64_t index_bytes(std::uint64_t file_bytes) {
  const std::uint64_t needed = kIndexHeadBytes + 8 * (file_bytes / kIndexSpacingBytes + 1);
  return (needed + kPageBytes - 1) / kPageBytes * kPageBytes;
}
/// Bytes of records that fit into a segment file of this length.
constexpr std::uint64_t segment_capacity(std::uint64_t file_bytes) {
  return file_bytes - index_bytes(file_bytes) - kRecordsAt;
}
/// Length of the file for a record that is longer than a segment.
constexpr std::uint64_t file_bytes_for(std::uint64_t record) {
  std::uint64_t file = (kRecordsAt + record + 2 * kPageBytes - 1) / kPageBytes * kPageBytes;
  while (segment_capacity(file) < record) file += kPageBytes;
  return file;
}

/// Who writes here. Written at creation, never changed.
struct Identity {
  Uuid cluster;
  Uuid incarnation;
  std::string node;
  friend bool operator==(const Identity&, const Identity&) = default;
};

struct Superblock {
  Identity identity;
  /// False while the journal is being created. A journal in use that has no segments has lost them.
  bool in_use = false;
};

/// First page of a segment, durable before the file gets its name.
struct SegmentHeader {
  Identity identity;
  Lsn first{};                    ///< LSN of its first record
  std::uint64_t hash_before{};    ///< checksum of the record before it
  Epoch epoch{};                  ///< no record in it has a lower one
  std::uint64_t segment_bytes{};  ///< length of the file
  /// Length of the part at the file's end that is for the index; 0 in version 1, which had none.
  std::uint64_t index_bytes{};
  /// The file was a segment before: behind its records stands what it held then, all of LSNs below `first`.
  bool recycled{};

  /// Behind the last byte that records may take.
  [[nodiscard]] std::uint64_t records_end() const { return segment_bytes - index_bytes; }
  [[nodiscard]] LogPosition before() const { return {Lsn{first.value - 1}, hash_before}; }
};

/// In the second page, two slots in turn: everything up to here is durable. Written after each sync, durable
/// with the next one; so it may be old, never too new.
struct DurableMark {
  LogPosition durable{};
};

enum class PageStatus : std::uint8_t { ok, blank, damaged, too_new };

using Page = std::array<std::byte, kPageBytes>;
Page encode_segment_header(const SegmentHeader& header);
PageStatus decode_segment_header(BytesView page, SegmentHeader& out);
Page encode_superblock(const Superblock& superblock);
PageStatus decode_superblock(BytesView page, Superblock& out);

inline constexpr std::size_t kMarkBytes = 32;
std::array<std::byte, kMarkBytes> encode_mark(const DurableMark& mark, Lsn segment_first);
constexpr std::uint64_t mark_at(std::uint64_t slot) {
  return kMarksAt + (slot % 2) * kSectorBytes;
}
/// The newer of the two readable marks in a segment's mark page.
std::optional<DurableMark> decode_marks(BytesView page, Lsn segment_first);

// Names, relative to the journal's directory.
std::string segment_name(Lsn first);  ///< segment-<20 digits>.log
std::optional<Lsn> parse_segment_name(std::string_view name);
std::string spare_name(std::uint64_t number);  ///< spare-<number>.log
std::optional<std::uint64_t> parse_spare_name(std::string_view name);
std::string checkpoint_name(Lsn lsn);  ///< checkpoint-<20 digits>
std::optional<Lsn> parse_checkpoint_name(std::string_view name);
std::string superblock_name(unsigned copy);  ///< superblock-0, superblock-1
/// A file that was being made when the process ended: never part of the journal.
bool is_unfinished(std::string_view name);
/// A segment that nobody needs, on its way back to the file system, whole or cut: never part of the journal.
bool is_discarded(std::string_view name);
inline constexpr std::string_view kDiscardedSuffix = ".old";

std::string join(const std::string& directory, const std::string& name);
bool all_zero(BytesView bytes);

}  // namespace mainstay::journal
