// SIGTERM and SIGINT for a process that goes from one loop to the next. A loop's own Loop::on_signals forgets
// what came while the loop was being stopped, or while there was none; here a request to stop stays until a
// handler has had it.
#pragma once

#include <functional>
#include <mutex>
#include <thread>

#include "io/loop.h"

namespace mainstay::io {

/// One for a process at a time. From its making on the two signals do not end the process any more.
class StopRequests {
 public:
  StopRequests();
  ~StopRequests();
  StopRequests(const StopRequests&) = delete;
  StopRequests& operator=(const StopRequests&) = delete;

  /// Whoever hears of the requests. One at a time; the loop outlives it. Made and destroyed on the loop's
  /// thread, or while the loop does not run.
  class Listener {
   public:
    /// @param handler  on the loop, once for each request that no handler has had: also those of before
    Listener(StopRequests& requests, Loop& loop, std::function<void()> handler);
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

   private:
    StopRequests& requests_;
  };

  /// A request that no handler has had is there. Any thread.
  [[nodiscard]] bool pending() const;

 private:
  void arrived();
  void hand_over();

  mutable std::mutex mutex_;
  int waiting_ = 0;  ///< requests that no handler has had
  Loop* loop_ = nullptr;
  std::function<void()> handler_;
  Loop signals_;
  std::thread thread_;  ///< runs signals_
};

}  // namespace mainstay::io
