#include "cli/control_client.h"

#include <boost/json.hpp>
#include <iostream>

#include "cli/exit_codes.h"
#include "config/broker_config.h"
#include "io/http_client.h"

namespace mainstay::cli {

Result<ControlEndpoint, CommandFailure> control_of(const std::string& config_file) {
  const auto config = config::load_broker_config(config_file);
  if (!config) {
    std::cerr << config.error().what << "\n";
    return CommandFailure{kConfiguration};
  }
  return ControlEndpoint{{config->control.listen.host, config->control.listen.port}, config->control.token};
}

Result<boost::json::value, Failure> ask(const ControlEndpoint& node, const std::string& method,
                                        const std::string& target, const std::string& body, Duration most) {
  const auto answer = io::http_request(node.endpoint, method, target, body, node.token, most);
  if (!answer)
    return Failure{"the node does not answer: " + answer.error().what + ". Is `mainstay serve` running?"};
  boost::system::error_code failed;
  boost::json::value value = boost::json::parse(answer->body, failed);
  if (failed)
    return Failure{"the node answered with something that is not JSON (status " +
                   std::to_string(answer->status) + ")"};
  if (answer->status == 401) {
    return Failure{
        node.token.empty()
            ? "the node takes commands only with its token, and the configuration given by --config "
              "has no token under [control]: give the file that the node was started with"
            : "the node does not take the token under [control] of the configuration given by "
              "--config: give the file that the node was started with, or restart the node if its "
              "token was changed since"};
  }
  if (answer->status != 200) {
    const auto* error = value.is_object() ? value.as_object().if_contains("error") : nullptr;
    return Failure{error != nullptr && error->is_string()
                       ? std::string(error->as_string())
                       : "the node answered with status " + std::to_string(answer->status)};
  }
  return value;
}

}  // namespace mainstay::cli
