// One HTTP request, blocking, with a bound on the time it may take: for commands and drills that ask a
// control listener.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "io/stream_hub.h"

namespace mainstay::io {

struct HttpAnswer {
  int status{};
  std::string body;
};

/// @param token  sent as `Authorization: Bearer …` unless empty. @param most  for connect, request and answer
/// together. A failure names method, address and reason; an answer with an error status is an answer.
[[nodiscard]] Result<HttpAnswer, Failure> http_request(const HostPort& to, const std::string& method,
                                                       const std::string& target, const std::string& body,
                                                       const std::string& token, Duration most);

}  // namespace mainstay::io
