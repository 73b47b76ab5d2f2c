// What the benchmark and a preloaded sync_shim.c tell each other: how long a sync shall take more, how many
// there were.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "base/clock.h"

namespace mainstay::bench {

/// One per server process. The file is removed with the object.
class SyncPage {
 public:
  /// @param file  made here; throws Trouble (peer.h) when it cannot be.
  explicit SyncPage(std::string file);
  ~SyncPage();
  SyncPage(const SyncPage&) = delete;
  SyncPage& operator=(const SyncPage&) = delete;

  [[nodiscard]] const std::string& file() const { return file_; }
  /// From the next sync on; whole microseconds.
  void set_delay(Duration delay);
  /// Syncs that went through libc since the start.
  [[nodiscard]] std::uint64_t syncs() const;

 private:
  struct Layout {  // as struct sync_page in sync_shim.c
    std::atomic<std::uint64_t> delay_us;
    std::atomic<std::uint64_t> syncs;
  };
  std::string file_;
  Layout* page_ = nullptr;
};

}  // namespace mainstay::bench
