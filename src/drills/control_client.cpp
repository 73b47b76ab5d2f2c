#include "drills/control_client.h"

#include "io/stream_hub.h"

namespace mainstay::drills {

Result<io::HttpAnswer, Failure> http_request(const std::string& method, const std::string& endpoint,
                                             const std::string& target, const std::string& token,
                                             const std::string& body, Duration timeout) {
  const auto to = io::parse_host_port(endpoint);
  if (!to) return to.error();
  return io::http_request(*to, method, target, body, token, timeout);
}

}  // namespace mainstay::drills
