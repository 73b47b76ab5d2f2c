#include "node/control_listener.h"

#include <utility>

namespace mainstay::node {

Result<ControlListener, Failure> open_control_listener(const NodeOptions& options, io::Loop& loop,
                                                       http::ControlBackend& backend,
                                                       std::uint64_t body_bytes_max,
                                                       std::function<void()> served) {
  ControlListener opened;
  opened.server = std::make_unique<io::HttpServer>(
      loop,
      [&backend, token = options.control_token, served = std::move(served)](
          const io::HttpRequest& request, const io::HttpServer::Respond& respond) {
        http::handle({request.method, request.target, request.body, request.authorization}, backend, token,
                     [respond](http::Response response) {
                       respond({response.status, std::move(response.content_type), std::move(response.body)});
                     });
        if (served) served();
      },
      body_bytes_max);
  const auto port = opened.server->listen(options.control.host, options.control.port);
  if (!port) return Failure{"[control] " + port.error().what};
  opened.port = *port;
  return opened;
}

}  // namespace mainstay::node
