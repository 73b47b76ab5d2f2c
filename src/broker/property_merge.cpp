#include "broker/property_merge.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace mainstay::broker {

namespace {

using Entry = std::pair<BytesView, BytesView>;

constexpr std::uint8_t kMap8 = 0xc1, kMap32 = 0xd1;

/// Reads over one encoded value. The upper half of the constructor byte says how its length is given.
bool skip_value(ByteReader& reader, int depth) {
  if (depth > 8) return false;
  const std::uint8_t constructor = reader.u8();
  if (constructor == 0) return skip_value(reader, depth + 1) && skip_value(reader, depth + 1);
  switch (constructor >> 4) {
    case 0x4:
      break;
    case 0x5:
      reader.bytes(1);
      break;
    case 0x6:
      reader.bytes(2);
      break;
    case 0x7:
      reader.bytes(4);
      break;
    case 0x8:
      reader.bytes(8);
      break;
    case 0x9:
      reader.bytes(16);
      break;
    case 0xa:
    case 0xc:
    case 0xe:
      reader.bytes(reader.u8());
      break;
    case 0xb:
    case 0xd:
    case 0xf:
      reader.bytes(reader.u32_be());
      break;
    default:
      return false;
  }
  return reader.ok();
}

bool read_entries(BytesView map, std::vector<Entry>& out) {
  if (map.empty()) return true;
  ByteReader reader(map);
  const std::uint8_t constructor = reader.u8();
  std::size_t size = 0, count = 0;
  if (constructor == kMap8) {
    size = reader.u8();
    count = reader.u8();
    if (size < 1 || reader.remaining() != size - 1) return false;
  } else if (constructor == kMap32) {
    size = reader.u32_be();
    count = reader.u32_be();
    if (size < 4 || reader.remaining() != size - 4) return false;
  } else {
    return false;
  }
  if (!reader.ok() || count % 2 != 0) return false;
  for (; count > 0; count -= 2) {
    const std::size_t key_at = reader.position();
    if (!skip_value(reader, 0)) return false;
    const std::size_t value_at = reader.position();
    if (!skip_value(reader, 0)) return false;
    out.emplace_back(map.subspan(key_at, value_at - key_at),
                     map.subspan(value_at, reader.position() - value_at));
  }
  return reader.finished();
}

}  // namespace

std::optional<Buffer> merge_properties(BytesView older, BytesView newer, std::size_t bytes_max) {
  std::vector<Entry> before, after;
  if (!read_entries(older, before) || !read_entries(newer, after)) return std::nullopt;
  std::vector<Entry> merged;
  for (const Entry& entry : before) {
    const bool replaced = std::any_of(after.begin(), after.end(), [&](const Entry& fresh) {
      return std::ranges::equal(fresh.first, entry.first);
    });
    if (!replaced) merged.push_back(entry);
  }
  merged.insert(merged.end(), after.begin(), after.end());
  if (merged.empty()) return Buffer{};
  Buffer out;
  ByteWriter writer(out);
  writer.u8(kMap32);
  writer.u32_be(0);
  writer.u32_be(static_cast<std::uint32_t>(merged.size() * 2));
  for (const auto& [key, value] : merged) {
    writer.bytes(key);
    writer.bytes(value);
    if (out.size() > bytes_max) return std::nullopt;
  }
  store_be(out.data() + 1, static_cast<std::uint32_t>(out.size() - 5));
  return out;
}

}  // namespace mainstay::broker
