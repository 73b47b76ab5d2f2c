#include "disk_floor.h"

namespace mainstay::bench {

BareFile::BareFile(Disk& disk, std::string name, std::uint64_t bytes)
    : disk_(disk), name_(std::move(name)), length_(bytes) {
  file_ = need(disk_.open(name_, OpenMode::create));
  need(file_->preallocate(length_));
  need(file_->sync());
  need(disk_.sync_directory(""));
}
BareFile::~BareFile() {
  file_.reset();
  static_cast<void>(disk_.remove(name_));
}

double BareFile::write_and_sync(BytesView bytes) {
  if (at_ + bytes.size() > length_) at_ = 0;
  const double start = seconds_now();
  need(file_->write(at_, bytes));
  need(file_->sync());
  const double took = seconds_now() - start;
  at_ += bytes.size();
  return took;
}

}  // namespace mainstay::bench
