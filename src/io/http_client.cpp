#include "io/http_client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <chrono>
#include <memory>
#include <optional>

#include "base/assert.h"

namespace mainstay::io {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::uint64_t kAnswerBytesMax = 256U << 20;

// Runs the steps of one request on a private io_context; the stream's expiry bounds all of them together.
class Exchange {
 public:
  explicit Exchange(const HttpCall& wanted) : wanted_(wanted) { parser_.body_limit(kAnswerBytesMax); }

  Result<HttpAnswer, HttpFailure> run() {
    request_.version(11);
    request_.method_string(wanted_.method);
    request_.target(wanted_.target);
    request_.set(http::field::host, wanted_.to.host + ":" + std::to_string(wanted_.to.port));
    request_.set(http::field::user_agent, "mainstay");
    if (!wanted_.body.empty()) request_.set(http::field::content_type, "application/json");
    if (!wanted_.authorization.empty()) request_.set(http::field::authorization, wanted_.authorization);
    request_.body() = wanted_.body;
    request_.keep_alive(false);
    request_.prepare_payload();
    if (make_stream()) {
      look_up();
      context_.run();
    }
    if (done_)
      return HttpAnswer{static_cast<int>(parser_.get().result_int()), std::move(parser_.get().body())};
    return HttpFailure{std::string(request_.method_string()) + (wanted_.tls ? " https://" : " http://") +
                           wanted_.to.host + ":" + std::to_string(wanted_.to.port) +
                           std::string(request_.target()) + ": " + problem_,
                       sent_};
  }

 private:
  bool make_stream() {
    if (!wanted_.tls) {
      plain_.emplace(context_);
      return true;
    }
    const TlsFiles& files = *wanted_.tls;
    error_code error;
    const auto failed = [&](const std::string& doing) {
      if (error) fail(doing.c_str(), error);
      return static_cast<bool>(error);
    };
    tls_.set_options(asio::ssl::context::no_tlsv1 | asio::ssl::context::no_tlsv1_1, error);
    if (failed("TLS")) return false;
    if (files.ca.empty()) {
      tls_.set_default_verify_paths(error);
    } else {
      tls_.load_verify_file(files.ca, error);
    }
    if (failed("cannot use the authority's certificate " + files.ca)) return false;
    if (!files.certificate.empty()) {
      tls_.use_certificate_chain_file(files.certificate, error);
      if (failed("cannot use the certificate " + files.certificate)) return false;
      tls_.use_private_key_file(files.key, asio::ssl::context::pem, error);
      if (failed("cannot use the key " + files.key)) return false;
    }
    secure_.emplace(context_, tls_);
    secure_->set_verify_mode(asio::ssl::verify_peer);
    secure_->set_verify_callback(asio::ssl::host_name_verification(wanted_.to.host));
    // SSL_set_tlsext_host_name(), a macro with a cast of C's.
    std::string name = wanted_.to.host;
    SSL_ctrl(secure_->native_handle(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
    return true;
  }
  beast::tcp_stream& lowest() { return secure_ ? secure_->next_layer() : *plain_; }

  void look_up() {
    lowest().expires_after(std::chrono::nanoseconds(wanted_.most.ns));
    error_code not_numeric;
    const auto address =
        asio::ip::make_address(wanted_.to.host == "localhost" ? "127.0.0.1" : wanted_.to.host, not_numeric);
    if (!not_numeric) {
      lowest().async_connect(tcp::endpoint(address, wanted_.to.port),
                             [this](const error_code& error) { connected(error); });
      return;
    }
    resolver_.async_resolve(
        wanted_.to.host, std::to_string(wanted_.to.port),
        [this](const error_code& error, const tcp::resolver::results_type& found) {
          if (error) return fail("unknown host", error);
          lowest().async_connect(
              found, [this](const error_code& failed, const tcp::endpoint&) { connected(failed); });
        });
  }
  void connected(const error_code& error) {
    if (error) return fail("cannot connect", error);
    if (!secure_) return send(*plain_);
    secure_->async_handshake(asio::ssl::stream_base::client, [this](const error_code& refused) {
      if (refused) return fail("no TLS", refused);
      send(*secure_);
    });
  }
  template <class Stream>
  void send(Stream& stream) {
    sent_ = true;
    http::async_write(stream, request_, [this, &stream](const error_code& failed, std::size_t) {
      if (failed) return fail("cannot send the request", failed);
      http::async_read(stream, buffer_, parser_, [this](const error_code& broken, std::size_t) {
        if (broken) return fail("no answer", broken);
        done_ = true;
      });
    });
  }
  void fail(const char* step, const error_code& error) {
    problem_ = std::string(step) + ": " + (error == beast::error::timeout ? "timed out" : error.message());
  }

  const HttpCall& wanted_;
  asio::io_context context_{1};
  asio::ssl::context tls_{asio::ssl::context::tls_client};
  tcp::resolver resolver_{context_};
  std::optional<beast::tcp_stream> plain_;
  std::optional<asio::ssl::stream<beast::tcp_stream>> secure_;
  http::request<http::string_body> request_;
  beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
  bool sent_ = false, done_ = false;
  std::string problem_;
};

}  // namespace

Result<HttpAnswer, HttpFailure> http_exchange(const HttpCall& request) {
  return Exchange(request).run();
}

Result<HttpAnswer, Failure> http_request(const HostPort& to, const std::string& method,
                                         const std::string& target, const std::string& body,
                                         const std::string& token, Duration most) {
  HttpCall request{to, method, target, body, token.empty() ? "" : "Bearer " + token, std::nullopt, most};
  auto answer = http_exchange(request);
  if (!answer) return Failure{answer.error().what};
  return std::move(*answer);
}

}  // namespace mainstay::io
