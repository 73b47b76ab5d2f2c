// Where something listens, as configuration writes it.
#pragma once

#include <cstdint>
#include <string>

namespace mainstay::config {

/// A TCP endpoint, "host:port"; "[::1]:5672" for IPv6. Port 0 when listening: any free one.
struct Endpoint {
  std::string host;
  std::uint16_t port{};
  [[nodiscard]] std::string text() const;
  friend bool operator==(const Endpoint&, const Endpoint&) = default;
};

}  // namespace mainstay::config
