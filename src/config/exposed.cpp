#include "config/exposed.h"

#include <arpa/inet.h>

#include <array>
#include <cstdint>

namespace mainstay::config {

std::string_view exposed(const std::string& host) {
  constexpr std::string_view every = "every address of the machine", open = "a public address";
  std::array<std::uint8_t, 16> b{};
  if (inet_pton(AF_INET, host.c_str(), b.data()) == 1) {
    if (b[0] == 0) return every;
    const bool is_private = b[0] == 10 || b[0] == 127 || (b[0] == 172 && b[1] >= 16 && b[1] < 32) ||
                            (b[0] == 192 && b[1] == 168) || (b[0] == 169 && b[1] == 254) ||
                            (b[0] == 100 && b[1] >= 64 && b[1] < 128);  // RFC 1918, 1122, 3927, 6598
    return is_private ? std::string_view() : open;
  }
  if (inet_pton(AF_INET6, host.c_str(), b.data()) != 1) return {};
  std::array<std::uint8_t, 16> loopback{};
  if (b == loopback) return every;
  loopback.back() = 1;
  const bool is_private =
      b == loopback || (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80);  // RFC 4291, 4193
  return is_private ? std::string_view() : open;
}

}  // namespace mainstay::config
