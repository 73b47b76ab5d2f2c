// Any bytes, seeded with ISO 20022 documents and headers.
#include <cstddef>
#include <cstdint>

#include "payments/fuzz_invariants.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  mainstay::payments::check_invariants(std::as_bytes(std::span(data, size)));
  return 0;
}
