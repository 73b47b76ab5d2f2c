// Arbitrary bytes into the decoder of a group's record; what decodes is valid and comes back from its own
// text.
#include <string_view>

#include "base/assert.h"
#include "coordination/group_record.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mainstay::coordination;
  const std::string_view text(static_cast<const char*>(static_cast<const void*>(data)), size);
  if (const auto record = decode_group_record(text)) {
    MS_ASSERT(invalid(*record).empty(), "what was decoded is a valid record");
    const auto again = decode_group_record(encode_group_record(*record));
    MS_ASSERT(again && *again == *record, "a record comes back from its own text");
  }
  return 0;
}
