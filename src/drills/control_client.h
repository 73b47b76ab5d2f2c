// A client for a node's control listener: health, status, metrics, commands (HTTP/1.1, loopback).
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace mainstay::drills {

struct HttpReply {
  int status{};
  std::string body;  ///< up to 16 MiB
};

/// One request on a connection of its own. Fails when nobody answers completely within `timeout`.
/// @param endpoint  "127.0.0.1:8080". @param token  sent as a bearer token unless empty.
[[nodiscard]] Result<HttpReply, Failure> http_request(const std::string& method, const std::string& endpoint,
                                                      const std::string& target, const std::string& token,
                                                      const std::string& body, Duration timeout);

}  // namespace mainstay::drills
