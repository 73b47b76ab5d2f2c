#include "journal/discarded_files.h"

#include <algorithm>
#include <iterator>

#include "base/assert.h"
#include "journal/errors.h"
#include "journal/format.h"

namespace mainstay::journal {

void DiscardedFiles::start(std::vector<DiscardedFile> files) {
  for (const DiscardedFile& file : files) bytes_ += file.bytes;
  files_.assign(std::make_move_iterator(files.begin()), std::make_move_iterator(files.end()));
  count_ = files_.size();
}

Result<void, JournalError> DiscardedFiles::add(const std::string& path, std::uint64_t bytes) {
  DiscardedFile file{path + std::string(kDiscardedSuffix), bytes, true};
  if (const auto done = disk_.rename(path, file.path); !done) return from_disk(done.error());
  // Before it is cut: until the new name is durable, a crash gives the segment back, and it must be whole.
  if (const auto done = disk_.sync_directory(directory_); !done) return sync_failed(done.error());
  files_.push_back(std::move(file));
  bytes_ += bytes;
  ++count_;
  return {};
}

std::string DiscardedFiles::take_whole(std::uint64_t bytes) {
  if (files_.empty() || !files_.back().whole || files_.back().bytes != bytes) return {};
  std::string path = std::move(files_.back().path);
  files_.pop_back();
  bytes_ -= bytes;
  --count_;
  return path;
}

Result<void, JournalError> DiscardedFiles::release(std::uint64_t step_bytes) {
  MS_ASSERT(!files_.empty(), "whoever releases has asked");
  DiscardedFile& file = files_.front();
  const std::uint64_t step = std::min(step_bytes, file.bytes);
  if (step < file.bytes) {
    if (!open_) {
      auto opened = disk_.open(file.path, OpenMode::read_write);
      if (!opened) return from_disk(opened.error());
      open_ = std::move(*opened);
    }
    if (const auto done = open_->truncate(file.bytes - step); !done) return from_disk(done.error());
    file.bytes -= step;
    file.whole = false;
    bytes_ -= step;
    return {};
  }
  // Not made durable: a file that comes back is found by its name again.
  if (const auto done = disk_.remove(file.path); !done) return from_disk(done.error());
  open_.reset();
  bytes_ -= file.bytes;
  files_.pop_front();
  --count_;
  return {};
}

}  // namespace mainstay::journal
