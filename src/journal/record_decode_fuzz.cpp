// Arbitrary bytes as a record: never read outside, and whatever decodes encodes to the same bytes.
#include <cstdint>

#include "base/assert.h"
#include "journal/record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mainstay;
  const BytesView bytes = std::as_bytes(std::span(data, size));
  journal::Record record;
  if (journal::decode_record(bytes, record) == journal::DecodeStatus::ok) {
    Buffer again;
    const BytesView body = record.body;
    journal::encode_record(again, record.header.lsn, record.header.epoch, record.header.previous,
                           record.header.type, std::span(&body, 1));
    MS_ASSERT(as_text(again) == as_text(record.raw), "a record has one encoding");
  }
  return 0;
}
