#include "base/deferred_removal.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace mainstay {
namespace {

constexpr std::uint64_t kBlockBytes = 4096;
constexpr std::size_t kDigits = 16;

std::string kept_path(std::uint64_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, kDigits - std::min(kDigits, digits.size()), '0');
  return std::string(DeferredRemoval::kDirectory) + "/" + digits;
}

}  // namespace

Result<std::unique_ptr<DeferredRemoval>, DiskError> DeferredRemoval::open(std::unique_ptr<Disk> disk) {
  if (const auto made = disk->make_directory(kDirectory); !made) return made.error();
  auto names = disk->list(kDirectory);
  if (!names) return names.error();
  std::unique_ptr<DeferredRemoval> out(new DeferredRemoval(std::move(disk)));
  for (const std::string& name : *names) {
    std::uint64_t number = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), number);
    // Whatever else is there is not ours to remove.
    const std::string path = std::string(kDirectory) + "/" + name;
    if (parsed.ec != std::errc{} || kept_path(number) != path) continue;
    const auto bytes = out->length_of(path);
    if (!bytes) return bytes.error();
    out->kept_.push_back({path, *bytes});
    out->bytes_ += *bytes;
    out->next_number_ = std::max(out->next_number_, number + 1);
  }
  return out;
}

Result<std::uint64_t, DiskError> DeferredRemoval::length_of(const std::string& path) {
  const auto file = disk_->open(path, OpenMode::read);
  if (!file) return file.error();
  const auto size = (*file)->size();
  if (!size) return size.error();
  return std::max(*size, kBlockBytes);
}

Result<void, DiskError> DeferredRemoval::remove(const std::string& path) {
  const auto bytes = length_of(path);
  if (!bytes) return disk_->remove(path);
  // One at a time: the numbers on the disk are in the order of kept_.
  const std::lock_guard hold(mutex_);
  Kept kept{kept_path(next_number_), *bytes};
  if (!disk_->rename(path, kept.path)) return disk_->remove(path);
  ++next_number_;
  bytes_ += kept.bytes;
  kept_.push_back(std::move(kept));
  return {};
}

Result<bool, DiskError> DeferredRemoval::release() {
  Kept kept;
  {
    const std::lock_guard hold(mutex_);
    if (kept_.empty()) return false;
    kept = std::move(kept_.front());
    kept_.pop_front();
  }
  bytes_ -= kept.bytes;
  if (const auto removed = disk_->remove(kept.path); !removed) return removed.error();
  return true;
}

}  // namespace mainstay
