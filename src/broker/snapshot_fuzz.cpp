// Any bytes as a snapshot: refused, or a state that holds together and can be written and restored again.
#include <cstdint>

#include "base/assert.h"
#include "broker/state.h"

using namespace mainstay;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const BytesView bytes = std::as_bytes(std::span(data, size));
  const auto restored = broker::State::restore(bytes);
  if (restored.has_value()) {
    restored->check_invariants();
    const auto again = broker::State::restore(restored->snapshot());
    MS_ASSERT(again.has_value() && again->hash() == restored->hash(), "an equal state restores again");
  }
  return 0;
}
