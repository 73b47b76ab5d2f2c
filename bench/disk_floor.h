// What the disk itself takes and gives: writes and syncs into a file that was allocated and written with
// zeros beforehand, as the journal's are. The floor that benchmarks compare with.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/disk.h"
#include "harness.h"

namespace mainstay::bench {

/// For what must not fail: the error's text as CouldNotRun.
template <class T, class E>
T need(Result<T, E> result) {
  if (!result) throw CouldNotRun(result.error().what);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class BareFile {
 public:
  /// @param bytes  its length. When it is full it is written again from its beginning: overwriting written
  /// blocks costs what overwriting zeros costs, and making new files all the time would measure those.
  BareFile(Disk& disk, std::string name, std::uint64_t bytes);
  ~BareFile();
  BareFile(const BareFile&) = delete;
  BareFile& operator=(const BareFile&) = delete;
  /// One write and one sync of it behind the last. @return seconds.
  double write_and_sync(BytesView bytes);

 private:
  Disk& disk_;
  std::string name_;
  std::uint64_t length_, at_ = 0;
  std::unique_ptr<File> file_;
};

/// How long a bare sync takes while others work on the same disk: the longest one bounds what anybody's sync
/// can promise there. A thread that writes and syncs 4 KiB each 10 ms, until stopped.
class SyncProbe {
 public:
  explicit SyncProbe(const std::string& directory);
  ~SyncProbe();
  SyncProbe(const SyncProbe&) = delete;
  SyncProbe& operator=(const SyncProbe&) = delete;
  /// Above this a sync is a slow one.
  static constexpr double kSlowMs = 10;
  /// The longest one since the last call, in milliseconds.
  double take_longest_ms() { return longest_ms_.exchange(0); }
  /// From when to when each slow one ran, in order; by seconds_now().
  struct Span {
    double from{}, to{};
  };
  [[nodiscard]] std::vector<Span> slow() const;

 private:
  std::unique_ptr<Disk> disk_;
  std::atomic<double> longest_ms_{0};
  mutable std::mutex mutex_;
  std::vector<Span> slow_;  // guarded by mutex_
  std::atomic<bool> stop_{false};
  std::future<void> running_;  // last: ends before what it uses
};

/// Waits until a disk that was written to much has digested it: ten seconds without a slow bare sync,
/// or as long as `most_seconds`. @return the longest bare sync of the last ten seconds, in milliseconds.
double settle_disk(const std::string& directory, double most_seconds = 120);

}  // namespace mainstay::bench
