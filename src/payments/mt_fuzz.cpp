// Any bytes, seeded with FIN messages and their containers.
#include <cstddef>
#include <cstdint>

#include "payments/fuzz_invariants.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mainstay::payments::check_invariants(std::as_bytes(std::span(data, size)));
  return 0;
}
