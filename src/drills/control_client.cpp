#include "drills/control_client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <chrono>
#include <optional>

#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::asio::ip::tcp;

}  // namespace

Result<HttpReply, Failure> http_request(const std::string& method, const std::string& endpoint,
                                        const std::string& target, const std::string& token,
                                        const std::string& body, Duration timeout) {
  const std::size_t colon = endpoint.rfind(':');
  const auto port = colon == std::string::npos ? std::nullopt : parse_number(endpoint.substr(colon + 1));
  beast::error_code error;
  const auto address =
      boost::asio::ip::make_address(colon == std::string::npos ? endpoint : endpoint.substr(0, colon), error);
  if (error || !port || *port > 65535) return Failure{"not an address and port: " + endpoint};

  boost::asio::io_context context(1);
  beast::tcp_stream stream(context);
  stream.expires_after(std::chrono::nanoseconds(timeout.ns));  // for connecting, writing and reading together
  http::request<http::string_body> request(http::string_to_verb(method), target, 11);
  request.set(http::field::host, endpoint);
  request.keep_alive(false);
  if (!token.empty()) request.set(http::field::authorization, "Bearer " + token);
  if (!body.empty()) request.set(http::field::content_type, "application/json");
  request.body() = body;
  request.prepare_payload();
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(std::uint64_t{16} << 20);

  stream.async_connect(tcp::endpoint(address, static_cast<std::uint16_t>(*port)), [&](beast::error_code e) {
    if ((error = e)) return;
    http::async_write(stream, request, [&](beast::error_code e2, std::size_t) {
      if ((error = e2)) return;
      http::async_read(stream, buffer, parser, [&](beast::error_code e3, std::size_t) { error = e3; });
    });
  });
  context.run();
  if (error) return Failure{method + " http://" + endpoint + target + ": " + error.message()};
  return HttpReply{static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
}

}  // namespace mainstay::drills
