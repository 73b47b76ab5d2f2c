#include "io/stop_requests.h"

#include <gtest/gtest.h>

#include <csignal>
#include <thread>

namespace mainstay::io {
namespace {

void wait_until_pending(const StopRequests& requests) {
  while (!requests.pending()) std::this_thread::yield();
}

TEST(StopRequests, EveryOneIsHeardByWhoeverListens) {
  StopRequests requests;
  Loop loop;
  int heard = 0;
  const StopRequests::Listener listener(requests, loop, [&] {
    if (++heard == 2) return loop.stop();
    EXPECT_EQ(raise(SIGINT), 0);
  });
  EXPECT_EQ(raise(SIGTERM), 0);
  loop.run();
  EXPECT_EQ(heard, 2);
  EXPECT_FALSE(requests.pending());
}

TEST(StopRequests, OneThatComesWhileNobodyListensIsForTheNextListener) {
  StopRequests requests;
  EXPECT_EQ(raise(SIGTERM), 0);
  wait_until_pending(requests);
  Loop loop;
  const StopRequests::Listener listener(requests, loop, [&] { loop.stop(); });
  loop.run();
  EXPECT_FALSE(requests.pending());
}

TEST(StopRequests, OneThatALoopHadNoTimeForIsForTheNextListener) {
  StopRequests requests;
  {
    Loop ends;
    const StopRequests::Listener listener(requests, ends,
                                          [] { ADD_FAILURE() << "the loop was stopped before"; });
    ends.post([&] {
      EXPECT_EQ(raise(SIGTERM), 0);
      wait_until_pending(requests);
      ends.stop();
    });
    ends.run();
  }
  Loop next;
  bool heard = false;
  const StopRequests::Listener listener(requests, next, [&] {
    heard = true;
    next.stop();
  });
  next.run();
  EXPECT_TRUE(heard);
  EXPECT_FALSE(requests.pending());
}

}  // namespace
}  // namespace mainstay::io
