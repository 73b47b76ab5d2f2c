#include "disk_floor.h"

namespace mainstay::bench {

BareFile::BareFile(Disk& disk, std::string name, std::uint64_t bytes)
    : disk_(disk), name_(std::move(name)), length_(bytes) {
  start_over();
}
BareFile::~BareFile() {
  file_.reset();
  static_cast<void>(disk_.remove(name_));
}

void BareFile::start_over() {
  if (file_) {
    file_.reset();
    need(disk_.remove(name_));
  }
  file_ = need(disk_.open(name_, OpenMode::create));
  need(file_->preallocate(length_));
  need(file_->sync());
  need(disk_.sync_directory(""));
  at_ = 0;
}

double BareFile::write_and_sync(BytesView bytes) {
  if (at_ + bytes.size() > length_) start_over();
  const double start = seconds_now();
  need(file_->write(at_, bytes));
  need(file_->sync());
  const double took = seconds_now() - start;
  at_ += bytes.size();
  return took;
}

}  // namespace mainstay::bench
