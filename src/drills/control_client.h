// Asking a node's control listener by the text of its endpoint, as the drills' workspace names it.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "io/http_client.h"

namespace mainstay::drills {

/// io::http_request() to "127.0.0.1:8080". Fails when nobody answers completely within `timeout`.
/// @param token  sent as a bearer token unless empty.
[[nodiscard]] Result<io::HttpAnswer, Failure> http_request(const std::string& method,
                                                           const std::string& endpoint,
                                                           const std::string& target,
                                                           const std::string& token, const std::string& body,
                                                           Duration timeout);

}  // namespace mainstay::drills
