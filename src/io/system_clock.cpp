#include "io/system_clock.h"

#include <time.h>

#include "base/assert.h"

namespace mainstay::io {
namespace {
timespec read_clock(clockid_t id) {
  timespec time{};
  MS_ASSERT(::clock_gettime(id, &time) == 0, "Linux has these clocks");
  return time;
}
}  // namespace

Instant SystemClock::now() {
  const timespec time = read_clock(CLOCK_MONOTONIC);
  return {std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec};
}

WallTime SystemClock::wall() {
  const timespec time = read_clock(CLOCK_REALTIME);
  return {std::int64_t{time.tv_sec} * 1'000 + time.tv_nsec / 1'000'000};
}

}  // namespace mainstay::io
