#include "io/listen.h"

#include <netinet/tcp.h>

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <utility>

#include "io/loop_impl.h"

namespace mainstay::io {

using boost::asio::ip::tcp;
using boost::system::error_code;

namespace {

constexpr std::chrono::seconds kConnectMax{3};

}  // namespace

Result<std::uint16_t, Failure> open_listener(boost::asio::ip::tcp::acceptor& acceptor,
                                             const std::string& host, std::uint16_t port) {
  const std::string name = host + ":" + std::to_string(port);
  error_code error;
  const auto address = boost::asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error) return Failure{"cannot listen on " + name + ": '" + host + "' is not a numeric IP address"};
  const tcp::endpoint endpoint(address, port);
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(1024, error);
  if (error) {
    std::string what = "cannot listen on " + name + ": " + error.message();
    if (error == boost::asio::error::address_in_use) {
      what +=
          "; another process has the port: end it, or give this listener another port in the configuration "
          "(`ss -ltnp` shows who has it)";
    }
    acceptor.close(error);
    return Failure{what};
  }
  return acceptor.local_endpoint().port();
}

struct SocketSource::State : std::enable_shared_from_this<State> {
  State(Loop& of, Opened to) : loop(of), opened(std::move(to)), acceptor(of.impl().context) {}

  void accept() {
    acceptor.async_accept([self = shared_from_this()](const error_code& error, tcp::socket socket) {
      if (self->stopped || error == boost::asio::error::operation_aborted) return;
      if (!error) self->hand_over(std::move(socket), false);
      // Other errors (too many open files) pass: the listener stays.
      self->accept();
    });
  }

  void hand_over(tcp::socket socket, bool outgoing) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    // Where little is under way a packet that is lost again is sent again after the same time, not after
    // twice as long each: on a bad link an answer is late, not away for many seconds.
    using ThinLinearTimeouts =
        boost::asio::detail::socket_option::boolean<IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS>;
    socket.set_option(ThinLinearTimeouts(true), ignored);
    const auto remote = socket.remote_endpoint(ignored);
    opened(std::move(socket), remote.address().to_string() + ":" + std::to_string(remote.port()), outgoing);
  }

  Loop& loop;
  Opened opened;
  tcp::acceptor acceptor;
  bool stopped = false;
};

SocketSource::SocketSource(Loop& loop, Opened opened)
    : state_(std::make_shared<State>(loop, std::move(opened))) {}

SocketSource::~SocketSource() {
  stop();
}

void SocketSource::stop() {
  state_->stopped = true;
  stop_listening();
}

void SocketSource::stop_listening() {
  error_code ignored;
  state_->acceptor.close(ignored);
}

Result<std::uint16_t, Failure> SocketSource::listen(const std::string& host, std::uint16_t port) {
  auto bound = open_listener(state_->acceptor, host, port);
  if (bound) state_->accept();
  return bound;
}

void SocketSource::connect(const std::string& host, std::uint16_t port,
                           std::function<void(const std::string& why)> failed) {
  error_code error;
  const auto address = boost::asio::ip::make_address(host == "localhost" ? "127.0.0.1" : host, error);
  if (error) {
    state_->loop.post([failed, host] { failed("'" + host + "' is not a numeric IP address"); });
    return;
  }
  // A host that answers nothing would otherwise keep whoever wants to connect waiting for minutes.
  auto socket = std::make_shared<tcp::socket>(state_->loop.impl().context);
  auto limit = std::make_shared<boost::asio::steady_timer>(state_->loop.impl().context, kConnectMax);
  limit->async_wait([socket](const error_code& cancelled) {
    error_code ignored;
    if (!cancelled) socket->close(ignored);
  });
  socket->async_connect(
      tcp::endpoint(address, port),
      [self = state_, socket, limit, failed = std::move(failed), host, port](const error_code& outcome) {
        limit->cancel();
        if (self->stopped) return;
        if (outcome == boost::asio::error::operation_aborted || !socket->is_open())
          return failed(host + ":" + std::to_string(port) + ": no answer");
        if (outcome) return failed(host + ":" + std::to_string(port) + ": " + outcome.message());
        self->hand_over(std::move(*socket), true);
      });
}

}  // namespace mainstay::io
