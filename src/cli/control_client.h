// Asking a node's control listener.
#pragma once

#include <boost/json/value.hpp>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "io/stream_hub.h"

namespace mainstay::cli {

struct ControlEndpoint {
  io::HostPort endpoint;
  std::string token;
};
struct CommandFailure {
  int exit_status{};
};

/// The control listener of a broker's configuration file. A failure has been told on standard error.
[[nodiscard]] Result<ControlEndpoint, CommandFailure> control_of(const std::string& config_file);

/// The answer's JSON; an answer with an error status is a failure with its sentence.
[[nodiscard]] Result<boost::json::value, Failure> ask(const ControlEndpoint& node, const std::string& method,
                                                      const std::string& target, const std::string& body,
                                                      Duration most);

}  // namespace mainstay::cli
