#include "lab/faulty_disk.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <utility>

#include "lab/take_back.h"

namespace mainstay::lab {

namespace fs = std::filesystem;

std::string FaultyDisk::layer_beside_this_program() {
  std::error_code error;
  return (fs::read_symlink("/proc/self/exe", error).parent_path() / "libmainstay_disk_layer.so").string();
}

Result<std::unique_ptr<FaultyDisk>, Failure> FaultyDisk::create(const std::string& directory,
                                                                const std::string& state,
                                                                const std::string& layer) {
  std::error_code error;
  if (!fs::is_regular_file(layer, error))
    return Failure{layer + " is missing: it is built with the programs and stays beside them"};
  const std::string root = fs::canonical(directory, error).string();
  if (error) return Failure{"cannot use " + directory + " as a disk: " + error.message()};
  fs::create_directories(state, error);
  if (error || !fs::is_empty(state, error))
    return Failure{"the disk layer needs " + state + " for itself, empty"};
  const std::string notes = fs::canonical(state, error).string();
  if (notes == root || notes.starts_with(root + "/"))
    return Failure{state + " is inside the disk that it takes notes of; put it beside " + directory};
  const std::string path = notes + "/page";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  void* page = MAP_FAILED;
  if (fd >= 0 && ::ftruncate(fd, sizeof(DiskPage)) == 0)
    page = ::mmap(nullptr, sizeof(DiskPage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int reason = errno;
  if (fd >= 0) ::close(fd);
  if (page == MAP_FAILED) return Failure{"cannot make " + path + ": " + std::strerror(reason)};
  return std::unique_ptr<FaultyDisk>(new FaultyDisk(root, notes, layer, new (page) DiskPage{}));
}

FaultyDisk::FaultyDisk(std::string directory, std::string state, std::string layer, DiskPage* page)
    : directory_(std::move(directory)), state_(std::move(state)), layer_(std::move(layer)), page_(page) {}

FaultyDisk::~FaultyDisk() {
  repair();  // or a process that waits for this disk could never end
  ::munmap(page_, sizeof(DiskPage));
}

std::vector<std::string> FaultyDisk::environment() const {
  const char* sanitizer = ::getenv("ASAN_OPTIONS");
  return {
      "LD_PRELOAD=" + layer_, std::string(disk_root_variable) + "=" + directory_,
      std::string(disk_state_variable) + "=" + state_,
      // A sanitized program wants its runtime first, and is wrong: the layer calls nothing but the kernel.
      std::string("ASAN_OPTIONS=verify_asan_link_order=0") +
          (sanitizer != nullptr ? std::string(":") + sanitizer : std::string())};
}

void FaultyDisk::repair() {
  page_->stall_syncs = 0;
  page_->stall_writes = 0;
  page_->fail_syncs = 0;
  page_->full = 0;
  page_->sync_delay_us = 0;
}

DiskCounts FaultyDisk::counts() const {
  return {.writes = page_->writes,
          .syncs = page_->syncs,
          .stalled = page_->stalled,
          .failed_syncs = page_->failed_syncs,
          .refused_writes = page_->refused_writes};
}

Result<TakenBack, Failure> FaultyDisk::take_back(const Loss& loss) {
  repair();
  page_->stalled = 0;  // whoever waited was killed
  if (const std::uint64_t reason = page_->broken; reason != 0)
    return Failure{std::string("the disk layer could not take its notes: ") +
                   std::strerror(static_cast<int>(reason))};
  if (page_->attached == 0)
    return Failure{"no process used the disk " + directory_ +
                   ": without the layer's environment its faults do nothing, and prove nothing"};
  return lab::take_back(directory_, state_, loss);
}

}  // namespace mainstay::lab
