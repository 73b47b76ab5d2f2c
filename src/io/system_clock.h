// The machine's clocks.
#pragma once

#include "base/clock.h"

namespace mainstay::io {

/// now() is CLOCK_MONOTONIC (counts no time asleep), wall() is CLOCK_REALTIME. Thread-safe, no state.
class SystemClock final : public Clock {
 public:
  Instant now() override;
  WallTime wall() override;
};

}  // namespace mainstay::io
