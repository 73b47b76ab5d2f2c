// An independent witness of a folder destination: the kernel tells it (inotify) of every file that appears,
// in order; it reads each once and writes name and digest down. It knows nothing of the pipeline.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "drills/audit.h"

namespace mainstay::drills {

/// True for names a writer may use before a file is complete: beginning with '.' or ending in ".tmp". The
/// witness and the listing ignore them.
[[nodiscard]] bool is_unfinished_name(std::string_view name);

/// Watches one directory (not its subdirectories) from open() to stop(). A file counts as arrived when its
/// name appears by rename or link: a writer that creates a file under its final name and fills it afterwards
/// is caught by the digest. When the kernel's queue overflows the record says so, and no audit built on it is
/// clean. Own thread; the public functions may be called from any thread.
class DestinationObserver {
 public:
  /// @param directory  must exist; what lies there already is not an arrival.
  /// @param record  arrivals.tsv, replaced; complete once stop() has returned.
  /// @param clock  outlives the observer; thread-safe.
  [[nodiscard]] static Result<std::unique_ptr<DestinationObserver>, Failure> open(
      const std::string& directory, const std::string& record, Clock& clock);
  ~DestinationObserver();
  DestinationObserver(const DestinationObserver&) = delete;
  DestinationObserver& operator=(const DestinationObserver&) = delete;

  /// Files seen so far.
  [[nodiscard]] std::uint64_t count() const { return count_.load(std::memory_order_acquire); }
  /// Monotonic time of the first arrival at or after `from`, if there was one.
  [[nodiscard]] std::optional<Instant> first_at_or_after(Instant from) const;

  /// Takes what the kernel has queued, ends the thread and writes the record's end. Again: does nothing.
  [[nodiscard]] Result<void, Failure> stop();
  /// Everything witnessed. After stop().
  [[nodiscard]] const Arrivals& arrivals() const { return arrivals_; }

 private:
  class Descriptor;
  DestinationObserver(std::string directory, std::string record, Clock& clock,
                      std::unique_ptr<Descriptor> inotify, std::unique_ptr<Descriptor> wake);
  void run();
  bool take_events();
  void digest_next();
  void note_incomplete(const std::string& why);

  const std::string directory_, record_;
  Clock& clock_;
  std::unique_ptr<Descriptor> inotify_, wake_;
  mutable std::mutex mutex_;  // guards arrivals_ until stop() has joined the thread
  Arrivals arrivals_;
  std::size_t digested_ = 0;  // of arrivals_.list; only the thread uses it
  std::atomic<std::uint64_t> count_{0};
  bool stopped_ = false;
  std::thread thread_;
};

/// What lies in a destination directory now, by name; every file is read back and parsed.
[[nodiscard]] Result<std::vector<DestinationFile>, Failure> list_destination(const std::string& directory);

}  // namespace mainstay::drills
