#include "journal/checkpoint.h"

#include <algorithm>
#include <array>

#include "base/checksum.h"
#include "journal/errors.h"
#include "journal/format.h"

namespace mainstay::journal {
namespace {

constexpr std::uint32_t kMagic = 0x5043534d;  // "MSCP"
constexpr std::size_t kHeadBytes = 64;
constexpr std::uint64_t kStateBytesMax = 16ULL << 30;
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;

// 0 magic, 4 version, 8 checksum of [16, 64) seeded with the first eight bytes, 16 LSN, 24 hash,
// 32 state bytes, 40 checksum of the state, zeros.
std::uint64_t head_checksum(BytesView head) {
  return checksum64(head.subspan(16, kHeadBytes - 16), load_le<std::uint64_t>(head.data()));
}

}  // namespace

std::vector<Lsn> checkpoints_in(const std::vector<std::string>& names) {
  std::vector<Lsn> out;
  for (const std::string& name : names) {
    if (const auto lsn = parse_checkpoint_name(name)) out.push_back(*lsn);
  }
  std::sort(out.rbegin(), out.rend());
  return out;
}

Result<std::optional<CheckpointHead>, JournalError> read_checkpoint_head(Disk& disk,
                                                                         const std::string& directory,
                                                                         Lsn lsn) {
  const std::string path = join(directory, checkpoint_name(lsn));
  const auto file = disk.open(path, OpenMode::read);
  if (!file) return from_disk(file.error());
  std::array<std::byte, kHeadBytes> head{};
  const auto got = (*file)->read(0, head);
  if (!got) return from_disk(got.error());
  if (*got < kHeadBytes || load_le<std::uint32_t>(head.data()) != kMagic ||
      load_le<std::uint64_t>(head.data() + 8) != head_checksum(head)) {
    return std::optional<CheckpointHead>();
  }
  if (load_le<std::uint32_t>(head.data() + 4) > kFormatVersion) return too_new(disk.describe(path));
  CheckpointHead out;
  out.at = {Lsn{load_le<std::uint64_t>(head.data() + 16)}, load_le<std::uint64_t>(head.data() + 24)};
  out.state_bytes = load_le<std::uint64_t>(head.data() + 32);
  out.state_checksum = load_le<std::uint64_t>(head.data() + 40);
  if (out.at.lsn != lsn || out.state_bytes > kStateBytesMax) return std::optional<CheckpointHead>();
  return std::optional(out);
}

Result<std::optional<Buffer>, JournalError> read_checkpoint_state(Disk& disk, const std::string& directory,
                                                                  Lsn lsn) {
  const auto head = read_checkpoint_head(disk, directory, lsn);
  if (!head) return head.error();
  if (!*head) return std::optional<Buffer>();
  const auto file = disk.open(join(directory, checkpoint_name(lsn)), OpenMode::read);
  if (!file) return from_disk(file.error());
  const auto size = (*file)->size();
  if (!size) return from_disk(size.error());
  if (*size != kHeadBytes + (*head)->state_bytes) return std::optional<Buffer>();
  Buffer state((*head)->state_bytes);
  const auto got = (*file)->read(kHeadBytes, state);
  if (!got) return from_disk(got.error());
  if (*got != state.size() || checksum64(state) != (*head)->state_checksum) return std::optional<Buffer>();
  return std::optional(std::move(state));
}

Result<void, JournalError> write_checkpoint(Disk& disk, const std::string& directory, LogPosition at,
                                            BytesView state) {
  std::array<std::byte, kHeadBytes> head{};
  store_le(head.data(), kMagic);
  store_le(head.data() + 4, kFormatVersion);
  store_le(head.data() + 16, at.lsn.value);
  store_le(head.data() + 24, at.hash);
  store_le(head.data() + 32, std::uint64_t{state.size()});
  store_le(head.data() + 40, checksum64(state));
  store_le(head.data() + 8, head_checksum(head));
  const std::string path = join(directory, checkpoint_name(at.lsn));
  const std::string fresh = path + ".new";
  if (const auto removed = disk.remove(fresh); !removed && removed.error().code != DiskErrorCode::not_found) {
    return from_disk(removed.error());
  }
  const auto file = disk.open(fresh, OpenMode::create);
  if (!file) return from_disk(file.error());
  if (const auto done = (*file)->write(0, head); !done) return from_disk(done.error());
  // In pieces: the batches that are synced meanwhile queue behind a piece in the device, not behind all of
  // it.
  for (std::size_t done = 0; done < state.size();) {
    const BytesView piece = state.subspan(done, std::min(kPieceBytes, state.size() - done));
    if (const auto put = (*file)->write(kHeadBytes + done, piece); !put) return from_disk(put.error());
    if (const auto synced = (*file)->sync(); !synced) return from_disk(synced.error());
    done += piece.size();
  }
  if (const auto synced = (*file)->sync(); !synced) return from_disk(synced.error());
  if (const auto done = disk.rename(fresh, path); !done) return from_disk(done.error());
  if (const auto done = disk.sync_directory(directory); !done) return from_disk(done.error());
  return {};
}

}  // namespace mainstay::journal
