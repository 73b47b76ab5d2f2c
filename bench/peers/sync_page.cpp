#include "peers/sync_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peers/peer.h"

namespace mainstay::bench {

SyncPage::SyncPage(std::string file) : file_(std::move(file)) {
  const int fd = ::open(file_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) throw Trouble{"cannot make " + file_};
  void* at = MAP_FAILED;
  if (::ftruncate(fd, sizeof(Layout)) == 0)
    at = ::mmap(nullptr, sizeof(Layout), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (at == MAP_FAILED) throw Trouble{"cannot map " + file_};
  page_ = static_cast<Layout*>(at);  // zeros: no delay, no syncs
}

SyncPage::~SyncPage() {
  ::munmap(page_, sizeof(Layout));
  ::unlink(file_.c_str());
}

void SyncPage::set_delay(Duration delay) {
  page_->delay_us.store(static_cast<std::uint64_t>(delay.ns / 1000), std::memory_order_relaxed);
}

std::uint64_t SyncPage::syncs() const {
  return page_->syncs.load(std::memory_order_relaxed);
}

}  // namespace mainstay::bench
