#include "client/connection.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <proton/condition.h>
#include <proton/connection.h>
#include <proton/event.h>
#include <proton/link.h>
#include <proton/sasl.h>
#include <proton/session.h>
#include <proton/transport.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/assert.h"
#include "client/connection_core.h"

namespace mainstay::client {

void throw_exception_from_error(const ClientError& error, const boost::source_location& where) {
  const std::string text = error.condition + ": " + error.description;
  assertion_failed("result.has_value()", text.c_str(), where.file_name(), static_cast<int>(where.line()));
}

namespace {

/// The socket's own time: this file is the edge, no decision depends on it but waiting.
Instant now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return {std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec};
}

int poll_ms(Duration wait) {
  const std::int64_t ms = (wait.ns + 999'999) / 1'000'000;
  return static_cast<int>(std::clamp<std::int64_t>(ms, 0, 3'600'000));
}

ClientError error_of(pn_condition_t* condition, const char* otherwise, const std::string& description) {
  ClientError error{otherwise, description};
  if (condition != nullptr && pn_condition_is_set(condition)) {
    error.condition = pn_condition_get_name(condition);
    if (const char* said = pn_condition_get_description(condition))
      error.description += ": " + std::string(said);
  }
  return error;
}

}  // namespace

ConnectionCore::ConnectionCore(std::string peer) : peer_(std::move(peer)) {
  MS_ASSERT(pn_connection_driver_init(&driver_, nullptr, nullptr) == 0, "out of memory");
}

ConnectionCore::~ConnectionCore() {
  fail({condition::closed, "the connection to " + peer_ + " was closed here"});
  pn_connection_driver_destroy(&driver_);
}

void ConnectionCore::close_socket() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

void ConnectionCore::begin(const ClientOptions& options, const Endpoint& endpoint) {
  open_deadline_ = now() + options.connect_timeout;
  connect_timeout_ = options.connect_timeout;
  spin_ = options.spin;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(endpoint.port);
  if (const int rc = ::getaddrinfo(endpoint.host.c_str(), port.c_str(), &hints, &found); rc != 0) {
    fail({condition::unreachable, peer_ + ": " + ::gai_strerror(rc)});
    return;
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> addresses(found, &::freeaddrinfo);
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    const auto bytes = std::as_bytes(std::span(reinterpret_cast<const char*>(at->ai_addr), at->ai_addrlen));
    addresses_.insert(addresses_.begin(), {at->ai_family, {bytes.begin(), bytes.end()}});
  }
  pn_connection_set_container(driver_.connection, options.container_id.c_str());
  pn_connection_set_hostname(driver_.connection, endpoint.host.c_str());
  pn_sasl_t* sasl = pn_sasl(driver_.transport);
  if (options.user.empty()) {
    pn_sasl_allowed_mechs(sasl, "ANONYMOUS");
  } else {
    pn_connection_set_user(driver_.connection, options.user.c_str());
    pn_connection_set_password(driver_.connection, options.password.c_str());
    pn_sasl_allowed_mechs(sasl, "PLAIN");
    pn_sasl_set_allow_insecure_mechs(sasl, true);
  }
  pn_transport_set_idle_timeout(driver_.transport,
                                static_cast<pn_millis_t>(options.idle_timeout.milliseconds()));
  pn_connection_open(driver_.connection);
  session_ = pn_session(driver_.connection);
  pn_session_open(session_);
  connecting_ = true;
  connect_next_address();
}

void ConnectionCore::connect_next_address() {
  while (!addresses_.empty()) {
    const Address address = std::move(addresses_.back());
    addresses_.pop_back();
    close_socket();
    socket_ = ::socket(address.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (socket_ >= 0) {
      // An address that swallows everything leaves time for the others.
      const Duration left = open_deadline_ - now();
      address_deadline_ = now() + Duration{left.ns / static_cast<std::int64_t>(addresses_.size() + 1)};
      const auto* to = reinterpret_cast<const sockaddr*>(address.bytes.data());
      if (::connect(socket_, to, static_cast<socklen_t>(address.bytes.size())) == 0 || errno == EINPROGRESS)
        return;
    }
    unreachable_because_ = std::strerror(errno);
  }
  fail({condition::unreachable, peer_ + ": " + unreachable_because_});
}

void ConnectionCore::finish_connecting(bool writable) {
  int failed = ETIMEDOUT;
  if (writable) {
    socklen_t size = sizeof failed;
    if (::getsockopt(socket_, SOL_SOCKET, SO_ERROR, &failed, &size) != 0) failed = errno;
  }
  if (failed != 0) {
    unreachable_because_ = std::strerror(failed);
    connect_next_address();
    return;
  }
  const int on = 1;
  ::setsockopt(socket_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  connecting_ = false;
  addresses_.clear();
}

int ConnectionCore::wait_for(pollfd& socket, Duration most) const {
  if (const Duration spin = std::min(spin_, most); spin.ns > 0) {
    const Instant until = now() + spin;
    do {
      if (const int ready = ::poll(&socket, 1, 0); ready != 0) return ready;
    } while (now() < until);
    most = most - spin;
  }
  return ::poll(&socket, 1, poll_ms(most));
}

void ConnectionCore::write_pending() {
  while (!over_) {
    const pn_bytes_t pending = pn_connection_driver_write_buffer(&driver_);
    if (pending.size == 0) return;
    const ssize_t sent = ::send(socket_, pending.start, pending.size, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (errno == EINTR) continue;
      fail({condition::lost, "writing to " + peer_ + ": " + std::strerror(errno)});
      return;
    }
    pn_connection_driver_write_done(&driver_, static_cast<std::size_t>(sent));
  }
}

void ConnectionCore::read_available() {
  // Bounded, so that a peer that never pauses cannot keep the caller here.
  for (int round = 0; round < 64 && !over_; ++round) {
    const pn_rwbytes_t space = pn_connection_driver_read_buffer(&driver_);
    if (space.size == 0) return;
    const ssize_t got = ::recv(socket_, space.start, space.size, 0);
    if (got < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return;
      if (errno == EINTR) continue;
      fail({condition::lost, "reading from " + peer_ + ": " + std::strerror(errno)});
      return;
    }
    if (got == 0) {
      fail({condition::lost, peer_ + " ended the connection"});
      return;
    }
    pn_connection_driver_read_done(&driver_, static_cast<std::size_t>(got));
    dispatch();
    if (static_cast<std::size_t>(got) < space.size) return;
  }
}

void ConnectionCore::dispatch() {
  while (!over_) {
    pn_event_t* event = pn_connection_driver_next_event(&driver_);
    if (event == nullptr) return;
    handle(event);
  }
}

void ConnectionCore::handle(pn_event_t* event) {
  switch (pn_event_type(event)) {
    case PN_CONNECTION_REMOTE_OPEN:
      remote_open_ = true;
      break;
    case PN_CONNECTION_REMOTE_CLOSE:
      if (closing_) {
        fail({condition::closed, "the connection to " + peer_ + " was closed here"});
      } else {
        const ClientError why = error_of(pn_connection_remote_condition(driver_.connection), condition::lost,
                                         peer_ + " closed the connection");
        pn_connection_close(driver_.connection);
        write_pending();
        fail(why);
      }
      break;
    case PN_SESSION_REMOTE_CLOSE:
      fail(error_of(pn_session_remote_condition(pn_event_session(event)), condition::lost,
                    peer_ + " ended the session"));
      break;
    case PN_TRANSPORT_ERROR:
      fail(error_of(pn_transport_condition(driver_.transport), condition::lost, peer_));
      break;
    case PN_TRANSPORT_CLOSED:
      fail({closing_ ? condition::closed : condition::lost, "the connection to " + peer_ + " is closed"});
      break;
    case PN_LINK_REMOTE_OPEN:
      if (auto* core = static_cast<LinkCore*>(pn_link_get_context(pn_event_link(event))))
        core->on_remote_open();
      break;
    case PN_LINK_REMOTE_CLOSE:
    case PN_LINK_REMOTE_DETACH: {
      pn_link_t* link = pn_event_link(event);
      if (auto* core = static_cast<LinkCore*>(pn_link_get_context(link))) {
        core->end(error_of(pn_link_remote_condition(link), "amqp:link:detach-forced",
                           peer_ + " detached the link to " + core->address));
      }
      break;
    }
    case PN_DELIVERY:
      if (auto* core = static_cast<LinkCore*>(pn_link_get_context(pn_event_link(event)))) {
        core->on_delivery(pn_event_delivery(event));
      }
      break;
    default:
      break;
  }
}

Result<void, ClientError> ConnectionCore::poll(Duration wait) {
  if (!over_) dispatch();
  if (!over_ && !connecting_) write_pending();
  if (over_) return error_;
  const Instant at = now();
  if (!remote_open_) wait = std::min(wait, std::max(open_deadline_ - at, Duration{0}));
  if (connecting_) {
    wait = std::min(wait, std::max(address_deadline_ - at, Duration{0}));
    pollfd waiting{socket_, POLLOUT, 0};
    const bool writable = wait_for(waiting, wait) > 0;
    if (writable || now() >= address_deadline_) finish_connecting(writable);
  } else {
    const std::int64_t at_ms = at.ns / 1'000'000;
    const std::int64_t tick_ms = pn_transport_tick(driver_.transport, at_ms);
    if (tick_ms > 0) wait = std::min(wait, milliseconds(std::max<std::int64_t>(tick_ms - at_ms, 0)));
    const bool writing = pn_connection_driver_write_buffer(&driver_).size > 0;
    pollfd waiting{socket_, static_cast<short>(writing ? POLLIN | POLLOUT : POLLIN), 0};
    if (wait_for(waiting, wait) > 0) {
      if (waiting.revents & POLLOUT) write_pending();
      if (!over_ && (waiting.revents & (POLLIN | POLLHUP | POLLERR))) read_available();
    }
    if (!over_) pn_transport_tick(driver_.transport, now().ns / 1'000'000);
  }
  if (!over_ && !connecting_) dispatch();
  if (!over_ && !connecting_) write_pending();
  if (!over_ && !remote_open_ && now() >= open_deadline_) {
    fail({condition::timeout, peer_ +
                                  (connecting_ ? ": no TCP connection within " : ": no AMQP open within ") +
                                  std::to_string(connect_timeout_.milliseconds()) + " ms"});
  }
  if (over_) return error_;
  return {};
}

void ConnectionCore::fail(const ClientError& why) {
  if (over_) return;
  over_ = true;
  error_ = why;
  close_socket();
  // Links that stay open when Proton's connection is freed leave dangling references: end every one.
  for (pn_link_t* link = pn_link_head(driver_.connection, 0); link != nullptr;) {
    pn_link_t* next = pn_link_next(link, 0);
    if (auto* core = static_cast<LinkCore*>(pn_link_get_context(link))) {
      core->end(why);
    } else {
      pn_link_free(link);
    }
    link = next;
  }
  if (session_ != nullptr) {
    pn_session_free(session_);
    session_ = nullptr;
  }
}

void ConnectionCore::close(Duration most) {
  if (over_) return;
  closing_ = true;
  pn_connection_close(driver_.connection);
  const Instant deadline = now() + most;
  do {
    static_cast<void>(poll(std::max(deadline - now(), Duration{0})));
  } while (!over_ && now() < deadline);
  fail({condition::closed, "the connection to " + peer_ + " was closed here"});
}

pn_link_t* ConnectionCore::new_sender() {
  const std::string name = "sender-" + std::to_string(next_link_++);
  return pn_sender(session_, name.c_str());
}

pn_link_t* ConnectionCore::new_receiver() {
  const std::string name = "receiver-" + std::to_string(next_link_++);
  return pn_receiver(session_, name.c_str());
}

std::unique_ptr<Connection> Connection::begin(const ClientOptions& options, std::size_t endpoint) {
  MS_ASSERT(endpoint < options.endpoints.size(), "an endpoint of the list");
  const Endpoint& to = options.endpoints[endpoint];
  auto core = std::make_shared<ConnectionCore>(to.host + ":" + std::to_string(to.port));
  core->endpoint_index = endpoint;
  core->begin(options, to);
  return std::unique_ptr<Connection>(new Connection(std::move(core)));
}

Result<std::unique_ptr<Connection>, ClientError> Connection::connect(const ClientOptions& options) {
  MS_ASSERT(!options.endpoints.empty(), "a client needs an endpoint");
  ClientError failure;
  for (std::size_t i = 0; i < options.endpoints.size(); ++i) {
    auto connection = begin(options, (options.first_endpoint + i) % options.endpoints.size());
    while (connection->is_open() && !connection->is_ready())
      static_cast<void>(connection->poll(options.connect_timeout));
    if (connection->is_open()) return connection;
    failure.condition = connection->error().condition;
    failure.description += (i == 0 ? "" : "; ") + connection->error().description;
  }
  return failure;
}

Connection::~Connection() {
  core_->close({0});
}

Result<void, ClientError> Connection::poll(Duration wait) {
  return core_->poll(wait);
}

Result<bool, ClientError> Connection::poll_until(const std::function<bool()>& ready, Duration most) {
  const Instant deadline = now() + most;
  while (true) {
    if (ready()) return true;
    const Duration left = deadline - now();
    if (left.ns <= 0) return false;
    if (const auto polled = core_->poll(left); !polled) {
      if (ready()) return true;
      return polled.error();
    }
  }
}

bool Connection::is_ready() const {
  return !core_->over() && core_->remote_open();
}
bool Connection::is_open() const {
  return !core_->over();
}
const ClientError& Connection::error() const {
  return core_->error();
}
std::size_t Connection::endpoint_index() const {
  return core_->endpoint_index;
}
int Connection::descriptor() const {
  return core_->descriptor();
}
void Connection::close(Duration most) {
  core_->close(most);
}

}  // namespace mainstay::client
