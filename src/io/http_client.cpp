#include "io/http_client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <memory>
#include <optional>

namespace mainstay::io {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::uint64_t kAnswerBytesMax = 256U << 20;

// Runs the three steps on a private io_context; tcp_stream's expiry bounds all of them together.
class Exchange {
 public:
  Exchange(const HostPort& to, Duration most) : stream_(context_), to_(to) {
    stream_.expires_after(std::chrono::nanoseconds(most.ns));
    parser_.body_limit(kAnswerBytesMax);
  }

  Result<HttpAnswer, Failure> run(http::request<http::string_body> request) {
    error_code bad_address;
    const auto address =
        boost::asio::ip::make_address(to_.host == "localhost" ? "127.0.0.1" : to_.host, bad_address);
    if (bad_address) return Failure{"'" + to_.host + "' is not a numeric IP address"};
    request.prepare_payload();
    stream_.async_connect({address, to_.port}, [&](const error_code& error) {
      if (error) return fail("cannot connect", error);
      http::async_write(stream_, request, [&](const error_code& failed, std::size_t) {
        if (failed) return fail("cannot send the request", failed);
        http::async_read(stream_, buffer_, parser_, [&](const error_code& broken, std::size_t) {
          if (broken) return fail("no answer", broken);
          done_ = true;
        });
      });
    });
    context_.run();
    if (!done_) {
      return Failure{std::string(request.method_string()) + " http://" + to_.host + ":" +
                     std::to_string(to_.port) + std::string(request.target()) + ": " + problem_};
    }
    return HttpAnswer{static_cast<int>(parser_.get().result_int()), std::move(parser_.get().body())};
  }

 private:
  void fail(const char* step, const error_code& error) {
    problem_ = std::string(step) + ": " + (error == beast::error::timeout ? "timed out" : error.message());
  }

  boost::asio::io_context context_{1};
  beast::tcp_stream stream_;
  HostPort to_;
  beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
  bool done_ = false;
  std::string problem_;
};

}  // namespace

Result<HttpAnswer, Failure> http_request(const HostPort& to, const std::string& method,
                                         const std::string& target, const std::string& body,
                                         const std::string& token, Duration most) {
  http::request<http::string_body> request;
  request.version(11);
  request.method_string(method);
  request.target(target);
  request.set(http::field::host, to.host + ":" + std::to_string(to.port));
  request.set(http::field::user_agent, "mainstay");
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  if (!token.empty()) request.set(http::field::authorization, "Bearer " + token);
  request.body() = body;
  request.keep_alive(false);
  return Exchange(to, most).run(std::move(request));
}

}  // namespace mainstay::io
