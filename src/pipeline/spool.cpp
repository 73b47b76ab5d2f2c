#include "pipeline/spool.h"

#include <algorithm>
#include <charconv>
#include <cstdio>

#include "base/assert.h"
#include "base/checksum.h"

namespace mainstay::pipeline {

namespace {

// Record: body length u32, checksum of the body u64, body. The body begins with its kind.
constexpr std::size_t record_head = 12;
constexpr std::uint8_t kind_entry = 1, kind_settled = 2;
constexpr std::uint64_t file_bytes_max = 4ULL << 30;

void put_record(Buffer& to, const Buffer& body) {
  ByteWriter out(to);
  out.u32_le(static_cast<std::uint32_t>(body.size()));
  out.u64_le(checksum64(body));
  out.bytes(body);
}

void put_entry(Buffer& to, const SpoolEntry& entry) {
  Buffer body;
  ByteWriter out(body);
  out.u8(kind_entry);
  out.u64_le(entry.position);
  out.sized_text(entry.id);
  out.sized_text(entry.ordering_key);
  out.sized_text(entry.file);
  out.u32_le(entry.item);
  out.sized_bytes(entry.message);
  put_record(to, body);
}

std::uint64_t number_in(const std::string& name, std::string_view before, std::string_view after) {
  std::uint64_t number = 0;
  if (!name.starts_with(before) || !name.ends_with(after)) return 0;
  const char* from = name.data() + before.size();
  const char* to = name.data() + name.size() - after.size();
  const auto read = std::from_chars(from, to, number);
  return read.ec == std::errc() && read.ptr == to ? number : 0;
}

}  // namespace

std::string Spool::path_of(std::uint64_t number) const {
  char name[32];
  std::snprintf(name, sizeof name, "spool-%08llu.seg", static_cast<unsigned long long>(number));
  return directory_ + "/" + name;
}

Result<std::unique_ptr<Spool>, Failure> Spool::open(const std::string& directory, RegionTerm term,
                                                    const Log& log, Limits limits) {
  if (const auto made = files::make_directories(directory); !made) return made.error();
  auto lock = files::ProcessLock::take(directory + "/.lock", "another queue builder with the same spool");
  if (!lock) return lock.error();
  std::unique_ptr<Spool> spool(new Spool(directory, std::move(*lock), limits));
  if (const auto done = spool->set_aside_older(term, log); !done) return done.error();
  if (const auto done = spool->recover(log); !done) return done.error();
  return spool;
}

Result<void, Failure> Spool::set_aside_older(RegionTerm term, const Log& log) {
  const std::string marker = directory_ + "/term";
  if (files::exists(marker)) {
    const auto content = files::read(marker, 64);
    if (!content) return content.error();
    const std::string text(as_text(*content));
    std::uint64_t stored = 0;
    std::from_chars(text.data(), text.data() + text.size(), stored);
    if (stored == term.value) return {};
    if (stored > term.value) {
      return Failure{directory_ + " was written in term " + std::to_string(stored) + ", now it is term " +
                     std::to_string(term.value) + ": terms never go back; is this the right register?"};
    }
    const std::string aside = directory_ + "/set-aside/term-" + text;
    if (const auto made = files::make_directories(aside); !made) return made.error();
    const auto names = files::list(directory_);
    if (!names) return names.error();
    for (const std::string& name : *names) {
      if (number_in(name, "spool-", ".seg") == 0) continue;
      const auto moved = files::move(directory_ + "/" + name, aside + "/" + name);
      if (!moved) return moved.error();
      log(Level::info, "spool of term " + text + " set aside: " + aside + "/" + name);
    }
    if (const auto synced = files::sync_directory(aside); !synced) return synced.error();
  }
  return files::replace(marker, as_bytes(std::to_string(term.value)));
}

Result<void, Failure> Spool::recover(const Log& log) {
  const auto names = files::list(directory_);
  if (!names) return names.error();
  std::map<std::uint64_t, SpoolEntry> open;
  std::uint64_t last = 0;
  for (const std::string& name : *names) last = std::max(last, number_in(name, "spool-", ".seg"));
  for (const std::string& name : *names) {
    const std::uint64_t number = number_in(name, "spool-", ".seg");
    if (number == 0) continue;
    const auto content = files::read(directory_ + "/" + name, file_bytes_max);
    if (!content) return content.error();
    ByteReader in(*content);
    std::size_t good = 0;
    while (in.remaining() >= record_head) {
      const std::uint32_t size = in.u32_le();
      const std::uint64_t checksum = in.u64_le();
      const BytesView body = in.bytes(size);
      if (!in.ok() || checksum64(body) != checksum) break;
      good = in.position();
      ByteReader fields(body);
      const std::uint8_t kind = fields.u8();
      const std::uint64_t position = fields.u64_le();
      if (kind == kind_entry) {
        SpoolEntry entry;
        entry.position = position;
        entry.id = fields.sized_text();
        entry.ordering_key = fields.sized_text();
        entry.file = fields.sized_text();
        entry.item = fields.u32_le();
        entry.message = to_buffer(fields.sized_bytes());
        segment_of_[position] = number;
        open[position] = std::move(entry);
        next_position_ = std::max(next_position_, position + 1);
      } else if (kind == kind_settled) {
        if (const auto found = open.find(position); found != open.end()) {
          settled_items_.emplace(found->second.file, found->second.item, found->second.id);
          open.erase(found);
        }
        segment_of_.erase(position);
      }
    }
    segments_.push_back({number, 0});
    if (good < content->size()) {
      // A crash can only tear the last segment; anywhere else this is damage.
      log(number == last ? Level::info : Level::error,
          directory_ + "/" + name + ": " + std::to_string(content->size() - good) + " bytes after byte " +
              std::to_string(good) +
              " are not a whole record and are left out; the source's claimed files are read again");
      auto file = files::AppendFile::open(directory_ + "/" + name, false);
      if (!file) return file.error();
      if (const auto cut = file->truncate(good); !cut) return cut.error();
      if (const auto synced = file->sync(); !synced) return synced.error();
    }
  }
  std::sort(segments_.begin(), segments_.end(),
            [](const Segment& a, const Segment& b) { return a.number < b.number; });
  for (const auto& [position, number] : segment_of_) {
    for (Segment& segment : segments_) segment.outstanding += segment.number == number ? 1U : 0U;
  }
  for (auto& [position, entry] : open) recovered_.push_back(std::move(entry));
  return roll();
}

Result<void, Failure> Spool::roll() {
  const std::uint64_t number = segments_.empty() ? 1 : segments_.back().number + 1;
  auto file = files::AppendFile::open(path_of(number), true);
  if (!file) return file.error();
  file_ = std::move(*file);
  segments_.push_back({number, 0});
  return {};
}

Result<void, Failure> Spool::append(std::vector<SpoolEntry>& entries) {
  if (!file_.is_open() || file_.size() >= limits_.segment_bytes) {
    if (const auto rolled = roll(); !rolled) return rolled.error();
  }
  std::uint64_t position = next_position_;
  Buffer bytes;
  for (SpoolEntry& entry : entries) {
    entry.position = position++;
    put_entry(bytes, entry);
  }
  if (const auto appended = file_.append(bytes); !appended) return appended.error();
  if (const auto synced = file_.sync(); !synced) return synced.error();
  for (const SpoolEntry& entry : entries) segment_of_[entry.position] = segments_.back().number;
  segments_.back().outstanding += entries.size();
  next_position_ = position;
  return {};
}

void Spool::settled(std::uint64_t position) {
  const auto found = segment_of_.find(position);
  if (found == segment_of_.end()) return;
  for (Segment& segment : segments_) {
    if (segment.number == found->second) --segment.outstanding;
  }
  segment_of_.erase(found);
  Buffer body;
  ByteWriter out(body);
  out.u8(kind_settled);
  out.u64_le(position);
  put_record(notes_, body);
}

Result<void, Failure> Spool::flush() {
  if (!file_.is_open()) {
    if (const auto rolled = roll(); !rolled) return rolled.error();
  }
  if (!notes_.empty()) {
    if (const auto appended = file_.append(notes_); !appended) return appended.error();
    notes_.clear();
  }
  // Oldest first and never past one that is still needed: a note about an entry lives in the same or a later
  // segment, so an entry always goes before its note does.
  while (segments_.size() > 1 && segments_.front().outstanding == 0) {
    if (const auto removed = files::remove(path_of(segments_.front().number)); !removed)
      return removed.error();
    segments_.pop_front();
  }
  return {};
}

}  // namespace mainstay::pipeline
