#include "io/loop.h"

#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <csignal>

#include "io/loop_impl.h"

namespace mainstay::io {

Loop::Loop() : impl_(std::make_unique<Impl>()) {}
Loop::~Loop() = default;

void Loop::spin_before_sleep(Duration most) {
  impl_->spin = most;
}

void Loop::run() {
  using std::chrono::steady_clock;
  auto& context = impl_->context;
  while (!context.stopped()) {
    context.run_one();  // sleeps when nothing is due
    while (impl_->spin.ns > 0 && !context.stopped()) {
      context.poll();  // what is due, without waiting
      if (context.stopped() || impl_->spin.ns <= 0 || !impl_->spin_policy.worthwhile()) break;
      const auto until = steady_clock::now() + std::chrono::nanoseconds(impl_->spin.ns);
      bool found = false;
      do {
        found = context.poll_one() > 0;
      } while (!found && steady_clock::now() < until);
      impl_->spin_policy.spun(found);
      if (!found) break;
    }
  }
}
void Loop::stop() {
  impl_->context.stop();
}
void Loop::post(std::function<void()> work) {
  boost::asio::post(impl_->context, std::move(work));
}

namespace {
void wait_for_signal(boost::asio::signal_set& signals, std::function<void(int)> handler) {
  signals.async_wait(
      [&signals, handler = std::move(handler)](const boost::system::error_code& error, int signal) {
        if (error) return;
        handler(signal);
        wait_for_signal(signals, handler);
      });
}
}  // namespace

void Loop::on_signals(std::function<void(int)> handler) {
  impl_->signals.add(SIGTERM);
  impl_->signals.add(SIGINT);
  wait_for_signal(impl_->signals, std::move(handler));
}

struct Timer::Impl {
  explicit Impl(boost::asio::io_context& context) : timer(context) {}
  boost::asio::steady_timer timer;
};

Timer::Timer(Loop& loop) : impl_(std::make_unique<Impl>(loop.impl().context)) {}
Timer::~Timer() = default;

void Timer::at(Instant at, std::function<void()> work) {
  // std::chrono::steady_clock is CLOCK_MONOTONIC in libstdc++, the clock of SystemClock::now().
  impl_->timer.expires_at(std::chrono::steady_clock::time_point(std::chrono::nanoseconds(at.ns)));
  impl_->timer.async_wait([work = std::move(work)](const boost::system::error_code& error) {
    if (!error) work();
  });
}

void Timer::cancel() {
  impl_->timer.cancel();
}

}  // namespace mainstay::io
