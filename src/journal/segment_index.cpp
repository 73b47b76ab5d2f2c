#include "journal/segment_index.h"

#include <algorithm>

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::journal {
namespace {

constexpr std::uint32_t kIndexMagic = 0x5849534d;  // "MSIX"
constexpr std::size_t kEntryBytes = 8;

// 0 magic, 4 version, 8 checksum of [16, 80), 16 first LSN, 24 hash before, 32 end LSN, 40 end hash,
// 48 epoch, 56 end offset, 64 entries, 72 checksum of the entries. Both checksums are seeded with the
// segment's first LSN: an index left over from an earlier life of the file is none.
std::uint64_t head_checksum(BytesView head, Lsn first) {
  return checksum64(head.subspan(16, kIndexHeadBytes - 16), first.value);
}

}  // namespace

void SegmentIndex::reserve(std::uint64_t file_bytes) {
  entries_.reserve(file_bytes / kIndexSpacingBytes + 1);
}

void SegmentIndex::keep(std::uint64_t number, std::uint64_t offset) {
  entries_.push_back({static_cast<std::uint32_t>(number), static_cast<std::uint32_t>(offset)});
  next_offset_ = offset + kIndexSpacingBytes;
}

SegmentIndex::Place SegmentIndex::at_or_before(std::uint64_t number) const {
  const auto behind =
      std::upper_bound(entries_.begin(), entries_.end(), number,
                       [](std::uint64_t wanted, const Entry& entry) { return wanted < entry.number; });
  if (behind == entries_.begin()) return {0, kRecordsAt};
  return {std::prev(behind)->number, std::prev(behind)->offset};
}

std::optional<std::uint64_t> SegmentIndex::offset_behind(std::uint64_t number) const {
  const auto behind =
      std::upper_bound(entries_.begin(), entries_.end(), number,
                       [](std::uint64_t wanted, const Entry& entry) { return wanted < entry.number; });
  if (behind == entries_.end()) return std::nullopt;
  return behind->offset;
}

Buffer encode_index(const SegmentIndex& index, const SegmentHeader& header, const IndexHead& head) {
  const std::size_t entries_bytes = index.entries_.size() * kEntryBytes;
  MS_ASSERT(kIndexHeadBytes + entries_bytes <= header.index_bytes,
            "an index fits into the pages kept for it");
  Buffer out(kIndexHeadBytes + entries_bytes);
  std::byte* at = out.data() + kIndexHeadBytes;
  for (const SegmentIndex::Entry& entry : index.entries_) {
    store_le(at, entry.number);
    store_le(at + 4, entry.offset);
    at += kEntryBytes;
  }
  store_le(out.data(), kIndexMagic);
  store_le(out.data() + 4, kFormatVersion);
  store_le(out.data() + 16, header.first.value);
  store_le(out.data() + 24, header.hash_before);
  store_le(out.data() + 32, head.end.lsn.value);
  store_le(out.data() + 40, head.end.hash);
  store_le(out.data() + 48, head.epoch.value);
  store_le(out.data() + 56, head.end_offset);
  store_le(out.data() + 64, std::uint64_t{index.entries_.size()});
  store_le(out.data() + 72, checksum64(BytesView(out).subspan(kIndexHeadBytes), header.first.value));
  store_le(out.data() + 8, head_checksum(out, header.first));
  return out;
}

std::optional<IndexHead> decode_index_head(BytesView bytes, const SegmentHeader& header) {
  if (bytes.size() < kIndexHeadBytes || load_le<std::uint32_t>(bytes.data()) != kIndexMagic ||
      load_le<std::uint32_t>(bytes.data() + 4) > kFormatVersion ||
      load_le<std::uint64_t>(bytes.data() + 8) != head_checksum(bytes, header.first) ||
      load_le<std::uint64_t>(bytes.data() + 16) != header.first.value ||
      load_le<std::uint64_t>(bytes.data() + 24) != header.hash_before) {
    return std::nullopt;
  }
  IndexHead head;
  head.end = {Lsn{load_le<std::uint64_t>(bytes.data() + 32)}, load_le<std::uint64_t>(bytes.data() + 40)};
  head.epoch = Epoch{load_le<std::uint64_t>(bytes.data() + 48)};
  head.end_offset = load_le<std::uint64_t>(bytes.data() + 56);
  const auto entries = load_le<std::uint64_t>(bytes.data() + 64);
  if (head.end.lsn.value < header.first.value - 1 || head.end_offset < kRecordsAt ||
      head.end_offset > header.records_end() ||
      entries > (header.index_bytes - kIndexHeadBytes) / kEntryBytes) {
    return std::nullopt;
  }
  return head;
}

std::optional<SegmentIndex> decode_index(BytesView bytes, const SegmentHeader& header,
                                         const IndexHead& expected) {
  const auto head = decode_index_head(bytes, header);
  if (!head || head->end != expected.end || head->end_offset != expected.end_offset) return std::nullopt;
  const std::size_t count = load_le<std::uint64_t>(bytes.data() + 64);
  if (bytes.size() < kIndexHeadBytes + count * kEntryBytes) return std::nullopt;
  const BytesView entries = bytes.subspan(kIndexHeadBytes, count * kEntryBytes);
  if (load_le<std::uint64_t>(bytes.data() + 72) != checksum64(entries, header.first.value))
    return std::nullopt;
  SegmentIndex index;
  index.entries_.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    index.keep(load_le<std::uint32_t>(entries.data() + i * kEntryBytes),
               load_le<std::uint32_t>(entries.data() + i * kEntryBytes + 4));
  }
  return index;
}

}  // namespace mainstay::journal
