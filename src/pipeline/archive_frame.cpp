#include "pipeline/archive_frame.h"

#include <zstd.h>

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::pipeline::archive_frame {

namespace {
constexpr std::uint32_t magic = 0x3152414d;  // "MAR1"
constexpr std::uint16_t version = 1;
constexpr std::size_t checksum_at = 24;
constexpr int level = 3;

std::uint64_t checksum_of(BytesView header, BytesView packed) {
  return checksum64(packed, checksum64(header.first(checksum_at)));
}
}  // namespace

void append(Buffer& to, const std::vector<ArchiveEntry>& entries) {
  Buffer raw;
  ByteWriter out(raw);
  for (const ArchiveEntry& entry : entries) {
    out.sized_text(entry.id);
    out.sized_text(entry.idempotency_key);
    out.sized_text(entry.content_digest);
    out.sized_text(entry.ordering_key);
    out.sized_text(entry.source);
    out.u64_le(entry.ingest);
    out.u64_le(entry.term.value);
    out.sized_bytes(entry.message);
  }
  MS_ASSERT(raw.size() <= raw_bytes_max, "a batch for the archive is larger than one frame holds");
  Buffer packed(ZSTD_compressBound(raw.size()));
  const std::size_t size = ZSTD_compress(packed.data(), packed.size(), raw.data(), raw.size(), level);
  MS_ASSERT(!ZSTD_isError(size), "compressing into a large enough buffer fails only without memory");
  packed.resize(size);

  const std::size_t start = to.size();
  ByteWriter frame(to);
  frame.u32_le(magic);
  frame.u16_le(version);
  frame.u16_le(0);
  frame.u32_le(static_cast<std::uint32_t>(entries.size()));
  frame.u32_le(static_cast<std::uint32_t>(raw.size()));
  frame.u32_le(static_cast<std::uint32_t>(packed.size()));
  frame.u32_le(0);
  frame.u64_le(checksum_of(BytesView(to).subspan(start), packed));
  frame.bytes(packed);
}

std::optional<Header> read_header(BytesView bytes) {
  if (bytes.size() < header_bytes) return std::nullopt;
  ByteReader in(bytes);
  if (in.u32_le() != magic || in.u16_le() != version || in.u16_le() != 0) return std::nullopt;
  Header header;
  header.entries = in.u32_le();
  header.raw_bytes = in.u32_le();
  header.packed_bytes = in.u32_le();
  if (header.raw_bytes > raw_bytes_max || header.packed_bytes > ZSTD_compressBound(header.raw_bytes)) {
    return std::nullopt;
  }
  return header;
}

std::optional<std::vector<ArchiveEntry>> read(BytesView header, BytesView packed) {
  const auto fields = read_header(header);
  if (!fields || packed.size() != fields->packed_bytes ||
      load_le<std::uint64_t>(header.data() + checksum_at) != checksum_of(header, packed)) {
    return std::nullopt;
  }
  Buffer raw(fields->raw_bytes);
  const std::size_t size = ZSTD_decompress(raw.data(), raw.size(), packed.data(), packed.size());
  if (ZSTD_isError(size) || size != raw.size()) return std::nullopt;
  ByteReader in(raw);
  std::vector<ArchiveEntry> entries;
  for (std::uint32_t i = 0; i < fields->entries && in.ok(); ++i) {
    ArchiveEntry& entry = entries.emplace_back();
    entry.id = in.sized_text();
    entry.idempotency_key = in.sized_text();
    entry.content_digest = in.sized_text();
    entry.ordering_key = in.sized_text();
    entry.source = in.sized_text();
    entry.ingest = in.u64_le();
    entry.term = RegionTerm{in.u64_le()};
    entry.message = to_buffer(in.sized_bytes());
  }
  if (!in.finished()) return std::nullopt;
  return entries;
}

}  // namespace mainstay::pipeline::archive_frame
