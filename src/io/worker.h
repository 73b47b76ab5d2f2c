// A thread that runs jobs in order: blocking work (journal syncs, the register's file) away from the loop.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace mainstay::io {

/// post() from any thread. The destructor runs what is queued, then joins.
class Worker {
 public:
  Worker();
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  void post(std::function<void()> job);
  /// Every job posted by the calling thread has ended, and what it did is visible here.
  [[nodiscard]] bool idle() const { return unfinished_.load(std::memory_order_acquire) == 0; }

 private:
  void run();

  std::atomic<std::size_t> unfinished_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_
  bool stopping_ = false;                   // guarded by mutex_
  std::thread thread_;                      // last: starts when the rest is there
};

}  // namespace mainstay::io
