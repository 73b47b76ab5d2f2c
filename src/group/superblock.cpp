#include "group/superblock.h"

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::group {
namespace {

constexpr std::uint32_t kMagic = 0x4d47534d;  // "MSGM"
constexpr std::uint32_t kFormatVersion = 1;
constexpr std::size_t kBytes = 4096;
constexpr std::size_t kChecksumAt = 8;
constexpr std::size_t kCheckedFrom = 16;
constexpr std::size_t kNodeBytesMax = 255;
constexpr std::size_t kRecordBytesMax = 2'048;

std::string copy_path(const std::string& directory, std::uint64_t copy) {
  const std::string name = "superblock." + std::to_string(copy);
  return directory.empty() ? name : directory + "/" + name;
}

std::uint64_t checksum_of(BytesView page) {
  // Seeded with magic and version, so that it covers them.
  return checksum64(page.subspan(kCheckedFrom), load_le<std::uint64_t>(page.data()));
}

Buffer encode(const Superblock& block) {
  MS_ASSERT(block.node.size() <= kNodeBytesMax, "configuration limits the names of nodes");
  Buffer page;
  page.reserve(kBytes);
  ByteWriter out(page);
  out.u32_le(kMagic);
  out.u32_le(kFormatVersion);
  out.u64_le(0);  // checksum, below
  out.u64_le(block.generation);
  out.uuid(block.cluster.bytes);
  out.uuid(block.incarnation.bytes);
  out.u64_le(block.promised.value);
  out.u64_le(block.seen.value);
  out.u64_le(block.committed.value);
  out.u64_le(block.epochs.through().value);
  out.u16_le(static_cast<std::uint16_t>(block.epochs.entries().size()));
  out.u16_le(static_cast<std::uint16_t>(block.node.size()));
  for (const EpochStart& entry : block.epochs.entries()) {
    out.u64_le(entry.epoch.value);
    out.u64_le(entry.first.value);
  }
  out.bytes(as_bytes(block.node));
  std::string record;
  if (block.record && coordination::invalid(*block.record).empty())
    record = coordination::encode_group_record(*block.record);
  if (record.size() > kRecordBytesMax) record.clear();
  out.u16_le(static_cast<std::uint16_t>(record.size()));
  out.bytes(as_bytes(record));
  MS_ASSERT(page.size() <= kBytes, "a superblock has room for the longest names and the fullest table");
  page.resize(kBytes);
  store_le(page.data() + kChecksumAt, checksum_of(page));
  return page;
}

Uuid take_uuid(ByteReader& in) {
  Uuid id;
  const BytesView bytes = in.bytes(id.bytes.size());
  if (in.ok()) std::memcpy(id.bytes.data(), bytes.data(), bytes.size());
  return id;
}

std::optional<Superblock> decode_content(BytesView content) {
  ByteReader in(content);
  Superblock block;
  block.generation = in.u64_le();
  block.cluster = take_uuid(in);
  block.incarnation = take_uuid(in);
  block.promised = Epoch{in.u64_le()};
  block.seen = Epoch{in.u64_le()};
  block.committed = Lsn{in.u64_le()};
  const Lsn through{in.u64_le()};
  const std::size_t count = in.u16_le();
  const std::size_t node_bytes = in.u16_le();
  if (count > EpochTable::kEntriesMax || node_bytes > kNodeBytesMax) return std::nullopt;
  std::vector<EpochStart> entries(count);
  for (EpochStart& entry : entries) {
    entry.epoch = Epoch{in.u64_le()};
    entry.first = Lsn{in.u64_le()};
  }
  block.node = as_text(in.bytes(node_bytes));
  const std::size_t record_bytes = in.u16_le();
  if (record_bytes > kRecordBytesMax) return std::nullopt;
  if (record_bytes != 0) {
    auto record = coordination::decode_group_record(as_text(in.bytes(record_bytes)));
    if (!record) return std::nullopt;
    block.record = std::move(*record);
  }
  auto table = EpochTable::from(std::move(entries), through);
  if (!in.ok() || !table || block.generation == 0) return std::nullopt;
  block.epochs = std::move(*table);
  return block;
}

enum class CopyStatus : std::uint8_t { missing, ok, damaged, too_new };
struct Copy {
  CopyStatus status{};
  Superblock block;
  std::string why;  ///< damaged or too_new
};

/// Error: the disk refuses to be read, which says nothing about what is on it.
Result<Copy, Failure> read_copy(Disk& disk, const std::string& path) {
  Copy copy;
  const auto content = read_file(disk, path, kBytes);
  if (!content) {
    switch (content.error().code) {
      case DiskErrorCode::not_found:
        return copy;
      case DiskErrorCode::permission:
      case DiskErrorCode::locked:
        return Failure{content.error().what};
      default:  // too long, or a place that cannot be read
        copy.status = CopyStatus::damaged;
        copy.why = content.error().what;
        return copy;
    }
  }
  const BytesView page = *content;
  copy.status = CopyStatus::damaged;
  copy.why = disk.describe(path) + " is damaged";
  // Magic, version, checksum and length keep their place and meaning in every later format, so that a newer
  // one is told from damage.
  if (page.size() != kBytes || load_le<std::uint32_t>(page.data()) != kMagic ||
      load_le<std::uint64_t>(page.data() + kChecksumAt) != checksum_of(page)) {
    return copy;
  }
  const auto version = load_le<std::uint32_t>(page.data() + 4);
  if (version > kFormatVersion) {
    copy.status = CopyStatus::too_new;
    copy.why = disk.describe(path) + " has format " + std::to_string(version) + ", this program knows " +
               std::to_string(kFormatVersion) + ": start the newer version of the program again";
    return copy;
  }
  auto block = decode_content(page.subspan(kCheckedFrom));
  if (!block) return copy;
  copy.block = std::move(*block);
  copy.status = CopyStatus::ok;
  copy.why.clear();
  return copy;
}

struct Copies {
  std::array<Copy, 2> copy;
  std::optional<std::uint64_t> newest;  ///< the copy that counts; both are missing without it
};

Result<Copies, Failure> read_copies(Disk& disk, const std::string& directory) {
  Copies out;
  for (std::uint64_t i = 0; i < 2; ++i) {
    auto copy = read_copy(disk, copy_path(directory, i));
    if (!copy) return copy.error();
    if (copy->status == CopyStatus::too_new) return Failure{copy->why};
    out.copy[i] = std::move(*copy);
  }
  const Copy& a = out.copy[0];
  const Copy& b = out.copy[1];
  if (a.status == CopyStatus::ok && b.status == CopyStatus::ok) {
    if (a.block.cluster != b.block.cluster || a.block.node != b.block.node ||
        a.block.incarnation != b.block.incarnation) {
      return Failure{
          disk.describe(directory) +
          ": superblock.0 and superblock.1 are of different nodes or disks. One of them was copied "
          "here: put the right one back"};
    }
    if (a.block.generation == b.block.generation && !(a.block == b.block)) {
      return Failure{disk.describe(directory) +
                     ": superblock.0 and superblock.1 have the same generation and other content. Do not "
                     "start this node; give it an empty directory and let it join as a new disk"};
    }
    out.newest = a.block.generation >= b.block.generation ? 0 : 1;
  } else if (a.status == CopyStatus::ok) {
    out.newest = 0;
  } else if (b.status == CopyStatus::ok) {
    out.newest = 1;
  } else if (a.status == CopyStatus::damaged || b.status == CopyStatus::damaged) {
    const std::string why = a.why.empty() || b.why.empty() ? a.why + b.why : a.why + "; " + b.why;
    return Failure{"what this node has promised cannot be read (" + why +
                   "). It must not go on with this disk: keep " + disk.describe(directory) +
                   " for examination, give the node an empty directory and let it join as a new disk"};
  }
  return out;
}

LoadedSuperblock loaded(const Copies& copies) {
  LoadedSuperblock out;
  if (!copies.newest) return out;
  out.block = copies.copy[*copies.newest].block;
  const Copy& other = copies.copy[1 - *copies.newest];
  if (other.status == CopyStatus::damaged) out.damaged = other.why;
  return out;
}

Result<void, Failure> store_copy(Disk& disk, const std::string& path, BytesView page) {
  const auto failed = [&](const DiskError& error) {
    return Failure{"what this node has promised cannot be stored: " + error.what};
  };
  auto file = disk.open(path, OpenMode::read_write);
  bool whole = false;
  if (file) {
    const auto size = (*file)->size();
    if (!size) return failed(size.error());
    whole = *size == kBytes;
  } else if (file.error().code != DiskErrorCode::not_found) {
    return failed(file.error());
  }
  if (!whole) {
    // A copy that is there is a copy that was once whole: only so can damage be told from a new disk.
    const auto done = replace_file(disk, path, page);
    return done ? Result<void, Failure>{} : failed(done.error());
  }
  if (const auto done = (*file)->write(0, page); !done) return failed(done.error());
  if (const auto done = (*file)->sync(); !done) return failed(done.error());
  return {};
}

}  // namespace

Result<LoadedSuperblock, Failure> read_superblock(Disk& disk, const std::string& directory) {
  const auto copies = read_copies(disk, directory);
  if (!copies) return copies.error();
  return loaded(*copies);
}

Result<LoadedSuperblock, Failure> load_superblock(Disk& disk, const std::string& directory) {
  const auto copies = read_copies(disk, directory);
  if (!copies) return copies.error();
  LoadedSuperblock out = loaded(*copies);
  if (!out.block) return out;
  // The copy that counts is written last, so that it is there until the other one is whole.
  const std::uint64_t first = 1 - *copies->newest;
  ++out.block->generation;
  if (out.block->generation % 2 != first) ++out.block->generation;
  if (const auto done = store_superblock(disk, directory, *out.block); !done) return done.error();
  // A copy that was found may have been renamed here by a process that ended before it was durable.
  if (const auto done = disk.sync_directory(directory); !done) return Failure{done.error().what};
  return out;
}

Result<void, Failure> store_superblock(Disk& disk, const std::string& directory, const Superblock& block) {
  MS_ASSERT(block.generation != 0, "generations begin at 1");
  const Buffer page = encode(block);
  for (std::uint64_t i = 0; i < 2; ++i) {
    const auto done = store_copy(disk, copy_path(directory, (block.generation + i) % 2), page);
    if (!done) return done.error();
  }
  return {};
}

}  // namespace mainstay::group
