#include "journal/spare_files.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"
#include "journal/errors.h"

namespace mainstay::journal {
namespace {
constexpr std::uint64_t kPieceBytes = 4U << 20;
}

void SpareFiles::start(std::vector<Spare> spares, std::uint64_t next_number) {
  const std::lock_guard hold(mutex_);
  spares_ = std::move(spares);
  counted();
  next_number_ = next_number;
}

std::string SpareFiles::next_path() {
  return join(directory_, spare_name(next_number_++));
}

Result<Spare, JournalError> SpareFiles::make(std::uint64_t bytes, bool zeros) {
  Spare spare;
  spare.bytes = bytes;
  spare.unwritten = !zeros;
  spare.path = next_path();
  const std::string unfinished = spare.path + ".new";
  auto file = disk_.open(unfinished, OpenMode::create);
  if (!file) return from_disk(file.error());
  spare.file = std::move(*file);
  // Piece by piece: the batches that are synced meanwhile wait for a piece, not for a segment.
  for (std::uint64_t to = 0; to < bytes;) {
    to = std::min(bytes, to + kPieceBytes);
    if (const auto filled = zeros ? spare.file->preallocate(to) : spare.file->preallocate_unread(to);
        !filled) {
      static_cast<void>(disk_.remove(unfinished));
      return from_disk(filled.error());
    }
    if (const auto done = spare.file->sync(); !done) return sync_failed(done.error());
  }
  if (const auto done = disk_.rename(unfinished, spare.path); !done) return from_disk(done.error());
  if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
  return spare;
}

Result<Spare, JournalError> SpareFiles::recycle(const std::string& path, std::uint64_t bytes) {
  Spare spare;
  spare.bytes = bytes;
  spare.recycled = true;
  spare.path = next_path();
  auto file = disk_.open(path, OpenMode::read_write);
  if (!file) return from_disk(file.error());
  spare.file = std::move(*file);
  if (const auto done = disk_.rename(path, spare.path); !done) return from_disk(done.error());
  // Before it can be written: until the new name is durable, a crash gives the segment back, whole.
  if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
  return spare;
}

Result<void, JournalError> SpareFiles::remove(const Spare& spare) {
  if (const auto done = disk_.remove(spare.path); !done) return from_disk(done.error());
  return {};
}

void SpareFiles::put(Spare spare) {
  const std::lock_guard hold(mutex_);
  spares_.push_back(std::move(spare));
  counted();
}

std::optional<Spare> SpareFiles::take_unwritten() {
  const std::lock_guard hold(mutex_);
  const auto one =
      std::find_if(spares_.begin(), spares_.end(), [](const Spare& each) { return each.unwritten; });
  if (one == spares_.end()) return std::nullopt;
  Spare spare = std::move(*one);
  spares_.erase(one);
  counted();
  return spare;
}

void SpareFiles::accept_unwritten() {
  const std::lock_guard hold(mutex_);
  for (Spare& each : spares_) each.unwritten = false;
  counted();
}

void SpareFiles::counted() {
  unwritten_.store(static_cast<std::size_t>(std::count_if(spares_.begin(), spares_.end(),
                                                          [](const Spare& each) { return each.unwritten; })),
                   std::memory_order_release);
  count_.store(spares_.size(), std::memory_order_release);
}

Spare SpareFiles::take() {
  const std::lock_guard hold(mutex_);
  MS_ASSERT(!spares_.empty(), "whoever takes a spare has made sure of it");
  Spare spare = std::move(spares_.front());
  spares_.erase(spares_.begin());
  counted();
  return spare;
}

std::uint64_t SpareFiles::file_bytes() const {
  const std::lock_guard hold(mutex_);
  std::uint64_t sum = 0;
  for (const Spare& spare : spares_) sum += spare.bytes;
  return sum;
}

}  // namespace mainstay::journal
