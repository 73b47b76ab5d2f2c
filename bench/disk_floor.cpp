#include "disk_floor.h"

#include <chrono>
#include <thread>

#include "io/posix_disk.h"

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

SyncProbe::SyncProbe(const std::string& directory) : disk_(need(io::PosixDisk::open(directory))) {
  running_ = std::async(std::launch::async, [this] {
    BareFile file(*disk_, "sync-probe", 1U << 20);
    const Buffer block(4096, std::byte{1});
    while (!stop_) {
      const double from = seconds_now();
      const double ms = file.write_and_sync(block) * 1e3;
      if (ms > kSlowMs) {
        const std::lock_guard hold(mutex_);
        slow_.push_back({from, seconds_now()});
      }
      double longest = longest_ms_;
      while (longest < ms && !longest_ms_.compare_exchange_weak(longest, ms)) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  });
}
std::vector<SyncProbe::Span> SyncProbe::slow() const {
  const std::lock_guard hold(mutex_);
  return slow_;
}
SyncProbe::~SyncProbe() {
  stop_ = true;
  running_.wait();
}

double settle_disk(const std::string& directory, double most_seconds) {
  constexpr double kLookSeconds = 10;
  Progress progress("waiting for the disk to settle, in seconds");
  SyncProbe probe(directory);
  const double start = seconds_now();
  for (;;) {
    std::this_thread::sleep_for(std::chrono::duration<double>(kLookSeconds));
    const double longest = probe.take_longest_ms();
    const double waited = seconds_now() - start;
    progress.at(static_cast<std::uint64_t>(waited), 0);
    if (longest < SyncProbe::kSlowMs || waited + kLookSeconds > most_seconds) return longest;
  }
}

}  // namespace mainstay::bench
