#include "io/worker.h"

#include <gtest/gtest.h>

#include <future>
#include <vector>

namespace mainstay::io {
namespace {

TEST(Worker, RunsJobsInOrderAndWhatIsQueuedBeforeItEnds) {
  std::vector<int> order;
  {
    Worker worker;
    for (int i = 0; i < 100; ++i) worker.post([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100U);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(WorkerIdle, IsFalseWhileAJobRunsOrWaits) {
  Worker worker;
  EXPECT_TRUE(worker.idle());
  std::promise<void> started, go_on;
  worker.post([&] {
    started.set_value();
    go_on.get_future().wait();
  });
  EXPECT_FALSE(worker.idle());
  worker.post([] {});
  started.get_future().wait();
  EXPECT_FALSE(worker.idle());
  go_on.set_value();
  while (!worker.idle()) std::this_thread::yield();
}

// What the journal's state does: written by a job, then, when the worker is idle, by the poster's own
// thread, and by a job again. Nothing but idle() and post() orders that; ThreadSanitizer would tell.
TEST(WorkerIdle, HandsWhatJobsTouchedOverToThePoster) {
  Worker worker;
  std::vector<std::uint64_t> state;
  constexpr std::uint64_t kTurns = 3000;
  for (std::uint64_t turn = 0; turn < kTurns; ++turn) {
    worker.post([&state] { state.push_back(state.size()); });
    while (!worker.idle()) std::this_thread::yield();
    state.push_back(state.size());
  }
  ASSERT_EQ(state.size(), 2 * kTurns);
  for (std::uint64_t i = 0; i < state.size(); ++i) ASSERT_EQ(state[i], i);
}

// A job's captures go before the worker is idle: they may own what the poster is about to end.
TEST(WorkerIdle, MeansThatTheJobsCapturesAreGone) {
  Worker worker;
  for (int i = 0; i < 200; ++i) {
    const auto owned = std::make_shared<int>(i);
    worker.post([owned] {});
    while (!worker.idle()) std::this_thread::yield();
    ASSERT_EQ(owned.use_count(), 1);
  }
}

}  // namespace
}  // namespace mainstay::io
