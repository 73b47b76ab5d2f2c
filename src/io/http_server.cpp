#include "io/http_server.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>

#include "io/listen.h"
#include "io/loop_impl.h"

namespace mainstay::io {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr auto kSilence = std::chrono::seconds(60);

class HttpSession : public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(tcp::socket socket, std::shared_ptr<HttpServer::Handler> handler, std::uint64_t body_bytes_max)
      : stream_(std::move(socket)), handler_(std::move(handler)), body_bytes_max_(body_bytes_max) {}

  void read() {
    parser_.emplace();
    parser_->body_limit(body_bytes_max_);
    stream_.expires_after(kSilence);
    http::async_read(
        stream_, buffer_, *parser_, [self = shared_from_this()](const error_code& error, std::size_t) {
          if (error == http::error::body_limit) {
            self->write({413, "application/json", "{\"error\":\"the request body is too long\"}\n"}, false);
            return;
          }
          if (error) return;  // gone, silent or not HTTP: nothing to tell
          self->handle();
        });
  }

 private:
  void handle() {
    const auto& message = parser_->get();
    HttpRequest request{std::string(message.method_string()), std::string(message.target()), message.body(),
                        std::string(message[http::field::authorization])};
    const bool keep = message.keep_alive();
    stream_.expires_never();  // the answer may take as long as a planned switch
    (*handler_)(request, [self = shared_from_this(), keep](HttpResponse response) {
      self->write(std::move(response), keep);
    });
  }

  void write(HttpResponse response, bool keep) {
    auto out =
        std::make_shared<http::response<http::string_body>>(static_cast<http::status>(response.status), 11);
    out->set(http::field::server, "mainstay");
    out->set(http::field::content_type, response.content_type);
    out->set(http::field::cache_control, "no-store");
    out->keep_alive(keep);
    out->body() = std::move(response.body);
    out->prepare_payload();
    stream_.expires_after(kSilence);
    http::async_write(stream_, *out,
                      [self = shared_from_this(), out, keep](const error_code& error, std::size_t) {
                        if (error) return;
                        if (keep) return self->read();
                        error_code ignored;
                        self->stream_.socket().shutdown(tcp::socket::shutdown_send, ignored);
                      });
  }

  beast::tcp_stream stream_;
  std::shared_ptr<HttpServer::Handler> handler_;
  std::uint64_t body_bytes_max_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
};

}  // namespace

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(Loop& of, Handler call, std::uint64_t bytes_max)
      : loop(of),
        handler(std::make_shared<Handler>(std::move(call))),
        body_bytes_max(bytes_max),
        acceptor(of.impl().context) {}
  Loop& loop;
  std::shared_ptr<Handler> handler;
  std::uint64_t body_bytes_max;
  tcp::acceptor acceptor;
  bool stopped = false;

  void accept() {
    acceptor.async_accept([self = shared_from_this()](const error_code& error, tcp::socket socket) {
      if (self->stopped || error == boost::asio::error::operation_aborted) return;
      if (!error)
        std::make_shared<HttpSession>(std::move(socket), self->handler, self->body_bytes_max)->read();
      self->accept();
    });
  }
};

HttpServer::HttpServer(Loop& loop, Handler handler, std::uint64_t body_bytes_max)
    : impl_(std::make_shared<Impl>(loop, std::move(handler), body_bytes_max)) {}

HttpServer::~HttpServer() {
  impl_->stopped = true;
  error_code ignored;
  impl_->acceptor.close(ignored);
}

Result<std::uint16_t, Failure> HttpServer::listen(const std::string& host, std::uint16_t port) {
  auto bound = open_listener(impl_->acceptor, host, port);
  if (bound) impl_->accept();
  return bound;
}

}  // namespace mainstay::io
