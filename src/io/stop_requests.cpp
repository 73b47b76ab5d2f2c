#include "io/stop_requests.h"

#include <utility>

#include "base/assert.h"

namespace mainstay::io {

StopRequests::StopRequests() {
  signals_.on_signals([this](int) { arrived(); });
  thread_ = std::thread([this] { signals_.run(); });
}

StopRequests::~StopRequests() {
  signals_.stop();
  thread_.join();
}

void StopRequests::arrived() {
  const std::lock_guard guard(mutex_);
  ++waiting_;
  if (loop_ != nullptr) loop_->post([this] { hand_over(); });
}

/// What was posted to a loop that stopped before it ran this is still waiting: the next listener gets it.
void StopRequests::hand_over() {
  std::function<void()> handler;
  {
    const std::lock_guard guard(mutex_);
    if (loop_ == nullptr || waiting_ == 0) return;
    --waiting_;
    handler = handler_;
  }
  handler();
}

bool StopRequests::pending() const {
  const std::lock_guard guard(mutex_);
  return waiting_ > 0;
}

StopRequests::Listener::Listener(StopRequests& requests, Loop& loop, std::function<void()> handler)
    : requests_(requests) {
  const std::lock_guard guard(requests_.mutex_);
  MS_ASSERT(requests_.loop_ == nullptr, "one listener at a time");
  requests_.loop_ = &loop;
  requests_.handler_ = std::move(handler);
  for (int i = 0; i < requests_.waiting_; ++i) loop.post([&requests] { requests.hand_over(); });
}

StopRequests::Listener::~Listener() {
  const std::lock_guard guard(requests_.mutex_);
  requests_.loop_ = nullptr;
  requests_.handler_ = nullptr;
}

}  // namespace mainstay::io
