#include "sim/disk_damage.h"

#include <algorithm>

#include "group/superblock.h"
#include "journal/format.h"

namespace mainstay::sim {
namespace {

struct RecordPlace {
  std::string path;
  std::uint64_t offset{};
  Buffer bytes;
};
struct Records {
  std::vector<RecordPlace> vouched;
  std::string last_segment;
  std::uint64_t last_end = 0;      ///< behind its last whole record
  std::uint64_t last_end_max = 0;  ///< of its part for records
  std::vector<std::string> spares;
};

Records records_of(const MemoryDisk& disk, Lsn up_to) {
  Records all;
  std::vector<std::pair<Lsn, std::string>> segments;
  for (const std::string& path : disk.paths()) {
    if (!disk.durable_contents(path)) continue;
    if (const auto first = journal::parse_segment_name(path)) segments.emplace_back(*first, path);
    if (journal::parse_spare_name(path)) all.spares.push_back(path);
  }
  std::sort(segments.begin(), segments.end());
  for (const auto& [first, path] : segments) {
    const Buffer content = *disk.durable_contents(path);
    journal::SegmentHeader header;
    if (content.size() < journal::kRecordsAt ||
        journal::decode_segment_header(BytesView(content).first(journal::kPageBytes), header) !=
            journal::PageStatus::ok)
      continue;
    const bool last = path == segments.back().second;
    const auto mark = journal::decode_marks(
        BytesView(content).subspan(journal::kMarksAt, journal::kPageBytes), header.first);
    const Lsn vouched = !last ? up_to : mark ? std::min(up_to, mark->durable.lsn) : Lsn{};
    std::uint64_t at = journal::kRecordsAt;
    journal::Record record;
    for (Lsn next = header.first;
         journal::decode_record(BytesView(content).subspan(at, header.records_end() - at), record) ==
             journal::DecodeStatus::ok &&
         record.header.lsn == next;
         next = next.next()) {
      if (next <= vouched) all.vouched.push_back({path, at, to_buffer(record.raw)});
      at += record.raw.size();
    }
    if (last) {
      all.last_segment = path;
      all.last_end = at;
      all.last_end_max = header.records_end();
    }
  }
  return all;
}

Damage::Place put(MemoryDisk& disk, const std::string& path, std::uint64_t offset, Buffer after) {
  const Buffer content = disk.contents(path);
  const auto from = content.begin() + static_cast<std::ptrdiff_t>(offset);
  Damage::Place place{path, offset, Buffer(from, from + static_cast<std::ptrdiff_t>(after.size())),
                      std::move(after)};
  disk.overwrite(path, offset, place.after);
  return place;
}

Damage::Place flip_a_bit(MemoryDisk& disk, Random& random, const std::string& path, std::uint64_t offset,
                         std::uint64_t bytes) {
  const std::uint64_t at = offset + random.below(bytes);
  const Buffer content = disk.contents(path);
  return put(disk, path, at,
             Buffer{content[at] ^ std::byte{static_cast<std::uint8_t>(1U << random.below(8))}});
}

}  // namespace

std::optional<Damage> rot_a_record(MemoryDisk& disk, Random& random, Lsn up_to) {
  const Records all = records_of(disk, up_to);
  if (all.vouched.empty()) return std::nullopt;
  const RecordPlace& hit = all.vouched[random.below(all.vouched.size())];
  // Not the padding behind the body: nobody looks at it.
  const std::uint64_t bytes = journal::kRecordHeaderBytes + load_le<std::uint32_t>(hit.bytes.data() + 4);
  Damage damage;
  damage.places.push_back(flip_a_bit(disk, random, hit.path, hit.offset, bytes));
  return damage;
}

std::optional<Damage> misdirect_a_write(MemoryDisk& disk, Random& random, Lsn up_to) {
  const Records all = records_of(disk, up_to);
  if (all.vouched.empty()) return std::nullopt;
  const RecordPlace& lost = all.vouched[random.below(all.vouched.size())];
  Damage damage;
  damage.places.push_back(put(disk, lost.path, lost.offset, Buffer(lost.bytes.size())));
  const std::uint64_t kind = random.below(3);
  const RecordPlace& other = all.vouched[random.below(all.vouched.size())];
  if (kind == 0 && &other != &lost && other.bytes.size() >= lost.bytes.size()) {
    damage.places.push_back(put(disk, other.path, other.offset, lost.bytes));
  } else if (kind == 1 && !all.spares.empty()) {
    const std::string& spare = all.spares[random.below(all.spares.size())];
    const std::uint64_t size = disk.contents(spare).size();
    if (size > journal::kRecordsAt + lost.bytes.size() + 4096)
      damage.places.push_back(put(disk, spare, journal::kRecordsAt + 512 * random.below(8), lost.bytes));
  } else if (all.last_end + lost.bytes.size() + 4096 < all.last_end_max &&
             disk.contents(all.last_segment) == disk.durable_contents(all.last_segment)) {
    // Behind the end of the log, where a record of an older place is none of it.
    const std::uint64_t at = (all.last_end + 511) / 512 * 512 + 512 * random.below(4);
    damage.places.push_back(put(disk, all.last_segment, at, lost.bytes));
  }
  return damage;
}

std::optional<Damage> rot_a_superblock(MemoryDisk& disk, Random& random) {
  const auto block = group::read_superblock(disk, "");
  if (!block || !block->block || !block->damaged.empty()) return std::nullopt;
  for (const char* copy : {"superblock.0", "superblock.1"})
    if (!disk.exists(copy) || disk.durable_contents(copy) != disk.contents(copy)) return std::nullopt;
  const std::string path = random.chance(1, 2) ? "superblock.0" : "superblock.1";
  Damage damage;
  damage.of_superblock = true;
  damage.places.push_back(flip_a_bit(disk, random, path, 0, disk.contents(path).size()));
  return damage;
}

void undo(MemoryDisk& disk, const Damage& damage) {
  for (auto place = damage.places.rbegin(); place != damage.places.rend(); ++place) {
    if (!disk.exists(place->path)) continue;
    const Buffer content = disk.contents(place->path);
    if (content.size() < place->offset + place->after.size()) continue;
    if (std::equal(place->after.begin(), place->after.end(),
                   content.begin() + static_cast<std::ptrdiff_t>(place->offset)))
      disk.overwrite(place->path, place->offset, place->before);
  }
}

DiskImage image_of(const MemoryDisk& disk) {
  DiskImage image;
  for (const std::string& path : disk.paths())
    if (auto content = disk.durable_contents(path)) image.emplace_back(path, std::move(*content));
  return image;
}

}  // namespace mainstay::sim
