// The listener that operators and their tools ask: http/control_api.h behind an HTTP server.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "base/result.h"
#include "http/control_api.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "node/options.h"

namespace mainstay::node {

struct ControlListener {
  std::unique_ptr<io::HttpServer> server;
  std::uint16_t port{};  ///< what it listens on, also where `options` say 0
};
/// Listens where `options.control` says. Everything is called on the loop's thread.
/// @param backend  outlives the server
/// @param body_bytes_max  of a request; a longer one is answered with 413
/// @param served  called when the backend has been asked; may be empty
[[nodiscard]] Result<ControlListener, Failure> open_control_listener(const NodeOptions& options,
                                                                     io::Loop& loop,
                                                                     http::ControlBackend& backend,
                                                                     std::uint64_t body_bytes_max,
                                                                     std::function<void()> served = {});

}  // namespace mainstay::node
