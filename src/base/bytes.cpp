#include "base/bytes.h"

#include <bit>

namespace mainstay {

static_assert(std::endian::native == std::endian::little,
              "load_le and store_le assume a little-endian machine");

BytesView ByteReader::bytes(std::size_t count) {
  if (!ok_ || bytes_.size() - at_ < count) {
    ok_ = false;
    return {};
  }
  const BytesView out = bytes_.subspan(at_, count);
  at_ += count;
  return out;
}

std::string hex(BytesView bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    out.push_back(kDigits[std::to_integer<unsigned>(b) >> 4]);
    out.push_back(kDigits[std::to_integer<unsigned>(b) & 15]);
  }
  return out;
}

std::string hex(std::uint64_t value) {
  std::array<std::byte, 8> raw{};
  store_be(raw.data(), value);
  return hex(BytesView(raw));
}

}  // namespace mainstay
