#include "journal/format.h"

#include <algorithm>
#include <charconv>

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::journal {
namespace {

constexpr std::uint32_t kSegmentMagic = 0x4753534d;     // "MSSG"
constexpr std::uint32_t kSuperblockMagic = 0x4253534d;  // "MSSB"
constexpr std::uint32_t kMarkMagic = 0x4d44534d;        // "MSDM"

// Behind the longest name a node may have.
constexpr std::size_t kIndexBytesAt = 344;
constexpr std::size_t kRecycledAt = 352;

std::uint64_t page_checksum(BytesView page) {
  return checksum64(page.subspan(16), load_le<std::uint64_t>(page.data()));
}

void put_uuid(std::byte* at, const Uuid& id) {
  std::memcpy(at, id.bytes.data(), id.bytes.size());
}
Uuid get_uuid(const std::byte* at) {
  Uuid id;
  std::memcpy(id.bytes.data(), at, id.bytes.size());
  return id;
}

// Offsets 16..: cluster, incarnation; the node's name is last because it varies.
void put_identity(Page& page, const Identity& identity) {
  MS_ASSERT(identity.node.size() <= kNodeNameBytesMax, "checked when the journal is opened");
  put_uuid(page.data() + 16, identity.cluster);
  put_uuid(page.data() + 32, identity.incarnation);
  store_le(page.data() + 80, static_cast<std::uint16_t>(identity.node.size()));
  std::memcpy(page.data() + 82, identity.node.data(), identity.node.size());
}
bool get_identity(BytesView page, Identity& out) {
  out.cluster = get_uuid(page.data() + 16);
  out.incarnation = get_uuid(page.data() + 32);
  const auto length = load_le<std::uint16_t>(page.data() + 80);
  if (length > kNodeNameBytesMax) return false;
  out.node = as_text(page.subspan(82, length));
  return true;
}

void seal(Page& page, std::uint32_t magic) {
  store_le(page.data(), magic);
  store_le(page.data() + 4, kFormatVersion);
  store_le(page.data() + 8, page_checksum(page));
}

// Magic, version and checksum keep their place and meaning in every later format, so that a newer one is told
// from damage.
PageStatus check_page(BytesView page, std::uint32_t magic) {
  if (all_zero(page)) return PageStatus::blank;
  if (page.size() < kPageBytes || load_le<std::uint32_t>(page.data()) != magic) return PageStatus::damaged;
  if (load_le<std::uint64_t>(page.data() + 8) != page_checksum(page.first(kPageBytes))) {
    return PageStatus::damaged;
  }
  return load_le<std::uint32_t>(page.data() + 4) > kFormatVersion ? PageStatus::too_new : PageStatus::ok;
}

std::string numbered(std::string_view prefix, std::uint64_t number, std::string_view suffix) {
  std::string digits = std::to_string(number);
  return std::string(prefix) + std::string(20 - digits.size(), '0') + digits + std::string(suffix);
}

std::optional<std::uint64_t> parse_number(std::string_view name, std::string_view prefix,
                                          std::string_view suffix, std::size_t digits) {
  if (name.size() < prefix.size() + suffix.size() || !name.starts_with(prefix) || !name.ends_with(suffix)) {
    return std::nullopt;
  }
  name.remove_prefix(prefix.size());
  name.remove_suffix(suffix.size());
  if (name.empty() || (digits != 0 && name.size() != digits)) return std::nullopt;
  std::uint64_t value = 0;
  const auto [end, failure] = std::from_chars(name.data(), name.data() + name.size(), value);
  if (failure != std::errc{} || end != name.data() + name.size()) return std::nullopt;
  return value;
}

}  // namespace

Page encode_segment_header(const SegmentHeader& header) {
  Page page{};
  put_identity(page, header.identity);
  store_le(page.data() + 48, header.first.value);
  store_le(page.data() + 56, header.hash_before);
  store_le(page.data() + 64, header.epoch.value);
  store_le(page.data() + 72, header.segment_bytes);
  store_le(page.data() + kIndexBytesAt, header.index_bytes);
  store_le(page.data() + kRecycledAt, std::uint64_t{header.recycled ? 1U : 0U});
  seal(page, kSegmentMagic);
  return page;
}

PageStatus decode_segment_header(BytesView page, SegmentHeader& out) {
  const PageStatus status = check_page(page, kSegmentMagic);
  if (status != PageStatus::ok) return status;
  out.first = Lsn{load_le<std::uint64_t>(page.data() + 48)};
  out.hash_before = load_le<std::uint64_t>(page.data() + 56);
  out.epoch = Epoch{load_le<std::uint64_t>(page.data() + 64)};
  out.segment_bytes = load_le<std::uint64_t>(page.data() + 72);
  // Version 1 has zeros there.
  out.index_bytes = load_le<std::uint64_t>(page.data() + kIndexBytesAt);
  out.recycled = load_le<std::uint64_t>(page.data() + kRecycledAt) != 0;
  return get_identity(page, out.identity) ? PageStatus::ok : PageStatus::damaged;
}

Page encode_superblock(const Superblock& superblock) {
  Page page{};
  put_identity(page, superblock.identity);
  store_le(page.data() + 48, std::uint64_t{superblock.in_use ? 1U : 0U});
  seal(page, kSuperblockMagic);
  return page;
}

PageStatus decode_superblock(BytesView page, Superblock& out) {
  const PageStatus status = check_page(page, kSuperblockMagic);
  if (status != PageStatus::ok) return status;
  out.in_use = load_le<std::uint64_t>(page.data() + 48) != 0;
  return get_identity(page, out.identity) ? PageStatus::ok : PageStatus::damaged;
}

std::array<std::byte, kMarkBytes> encode_mark(const DurableMark& mark, Lsn segment_first) {
  std::array<std::byte, kMarkBytes> out{};
  store_le(out.data(), kMarkMagic);
  store_le(out.data() + 16, mark.durable.lsn.value);
  store_le(out.data() + 24, mark.durable.hash);
  store_le(out.data() + 8, checksum64(BytesView(out).subspan(16), segment_first.value));
  return out;
}

std::optional<DurableMark> decode_marks(BytesView page, Lsn segment_first) {
  std::optional<DurableMark> newest;
  for (std::size_t slot = 0; slot < 2; ++slot) {
    const std::size_t at = slot * kSectorBytes;
    if (page.size() < at + kMarkBytes) break;
    const std::byte* from = page.data() + at;
    if (load_le<std::uint32_t>(from) != kMarkMagic ||
        load_le<std::uint64_t>(from + 8) != checksum64(page.subspan(at + 16, 16), segment_first.value)) {
      continue;
    }
    const LogPosition durable{Lsn{load_le<std::uint64_t>(from + 16)}, load_le<std::uint64_t>(from + 24)};
    if (!newest || durable.lsn > newest->durable.lsn) newest = DurableMark{durable};
  }
  return newest;
}

std::string segment_name(Lsn first) {
  return numbered("segment-", first.value, ".log");
}
std::optional<Lsn> parse_segment_name(std::string_view name) {
  const auto number = parse_number(name, "segment-", ".log", 20);
  return number ? std::optional(Lsn{*number}) : std::nullopt;
}
std::string spare_name(std::uint64_t number) {
  return "spare-" + std::to_string(number) + ".log";
}
std::optional<std::uint64_t> parse_spare_name(std::string_view name) {
  return parse_number(name, "spare-", ".log", 0);
}
std::string checkpoint_name(Lsn lsn) {
  return numbered("checkpoint-", lsn.value, "");
}
std::optional<Lsn> parse_checkpoint_name(std::string_view name) {
  const auto number = parse_number(name, "checkpoint-", "", 20);
  return number ? std::optional(Lsn{*number}) : std::nullopt;
}
std::string superblock_name(unsigned copy) {
  return "superblock-" + std::to_string(copy);
}
bool is_unfinished(std::string_view name) {
  return name.ends_with(".new") && (name.starts_with("spare-") || name.starts_with("superblock-") ||
                                    name.starts_with("checkpoint-") || name.starts_with("segment-"));
}
bool is_discarded(std::string_view name) {
  return name.ends_with(kDiscardedSuffix) &&
         parse_segment_name(name.substr(0, name.size() - kDiscardedSuffix.size()));
}

std::string join(const std::string& directory, const std::string& name) {
  return directory.empty() ? name : directory + "/" + name;
}

bool all_zero(BytesView bytes) {
  // Eight bytes at a time: recovery looks through whole segments with this.
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    if (load_le<std::uint64_t>(bytes.data() + at) != 0) return false;
  }
  for (; at < bytes.size(); ++at) {
    if (bytes[at] != std::byte{0}) return false;
  }
  return true;
}

}  // namespace mainstay::journal
