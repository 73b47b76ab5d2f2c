// Arbitrary bytes into the packet decoder; what decodes must encode to the same bytes again.
#include "base/assert.h"
#include "base/checksum.h"
#include "group/packets.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace mainstay;
  Buffer bytes = to_buffer(std::as_bytes(std::span(data, size)));
  (void)group::packet_bytes(bytes);
  (void)group::decode(bytes);
  // Behind the checksum: put the right length and checksum in, so that the content is reached.
  if (bytes.size() >= 94) {
    store_le(bytes.data(), std::uint32_t{0x5247534d});
    store_le(bytes.data() + 4, static_cast<std::uint32_t>(bytes.size()));
    store_le(bytes.data() + 16, group::kPacketVersion);
    store_le(bytes.data() + 8, checksum64(BytesView(bytes).subspan(16)));
    if (const auto packet = group::decode(bytes)) {
      Buffer again;
      group::encode(packet->sender, packet->message, again);
      MS_ASSERT(again == bytes, "a packet has one encoding");
    }
  }
  return 0;
}
