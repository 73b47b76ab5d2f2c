// The format of a pack: frames, each a batch of entries, compressed and checksummed. docs/formats/archive.md
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "pipeline/archive.h"

namespace mainstay::pipeline::archive_frame {

/// magic u32, version u16, zero u16, entries u32, raw bytes u32, packed bytes u32, zero u32, checksum u64
/// over the header before it and the packed bytes. Little-endian.
inline constexpr std::size_t header_bytes = 32;
inline constexpr std::uint32_t raw_bytes_max = 256U << 20;

/// Appends a frame to `to`. Entries together below raw_bytes_max.
void append(Buffer& to, const std::vector<ArchiveEntry>& entries);

struct Header {
  std::uint32_t entries = 0, raw_bytes = 0, packed_bytes = 0;
};
/// nullopt: this is no header.
std::optional<Header> read_header(BytesView bytes);
/// nullopt: the checksum or the content is wrong.
std::optional<std::vector<ArchiveEntry>> read(BytesView header, BytesView packed);

}  // namespace mainstay::pipeline::archive_frame
