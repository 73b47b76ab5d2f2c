// A small HTTP/1.1 server on the loop (Boost.Beast), for health, metrics and control: not for bulk data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "io/loop.h"

namespace mainstay::io {

struct HttpRequest {
  std::string method, target, body, authorization;
};
struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

class HttpServer {
 public:
  using Respond = std::function<void(HttpResponse)>;
  /// Called on the loop's thread; answers by calling `respond` once, at once or later, on the same thread.
  using Handler = std::function<void(const HttpRequest& request, Respond respond)>;

  /// @param body_bytes_max  a longer request body is answered with 413.
  HttpServer(Loop& loop, Handler handler, std::uint64_t body_bytes_max);
  ~HttpServer();
  [[nodiscard]] Result<std::uint16_t, Failure> listen(const std::string& host, std::uint16_t port);

  struct Impl;

 private:
  std::shared_ptr<Impl> impl_;
};

}  // namespace mainstay::io
