#include "echo_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "amqp/engine.h"
#include "harness.h"
#include "io/system_clock.h"

namespace mainstay::bench {
namespace {

constexpr Duration kSpin = microseconds(50);  // as a broker's default

class Accepting final : public amqp::EngineHandler {
 public:
  std::unique_ptr<amqp::Engine> engine;
  bool on_sasl(const amqp::SaslRequest&) override { return true; }
  void on_open(std::string_view, std::string_view) override {}
  void on_attach(amqp::LinkId link, const amqp::AttachRequest&) override {
    amqp::AttachReply reply;
    reply.credit = 1000;
    engine->accept(link, reply);
  }
  void on_transfer(const amqp::IncomingTransfer& transfer) override {
    engine->settle_incoming(transfer.delivery, accepted_);
    engine->grant_credit(transfer.link, 1000);
  }
  void on_oversize(amqp::LinkId, std::uint64_t) override {}
  void on_credit(amqp::LinkId, std::uint32_t, bool) override {}
  void on_disposition(amqp::LinkId, amqp::DeliveryRef, const amqp::Outcome&, bool) override {}
  void on_detach(amqp::LinkId, bool) override {}
  void on_closed(const std::optional<amqp::Condition>&) override {}

 private:
  amqp::Outcome accepted_ = [] {
    amqp::Outcome out;
    out.type = amqp::Outcome::Type::accepted;
    return out;
  }();
};

}  // namespace

EchoServer::EchoServer() {
  listening_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (listening_ < 0 || bind(listening_, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(listening_, 1) != 0 ||
      getsockname(listening_, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    throw CouldNotRun("cannot listen on loopback");
  port = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

EchoServer::~EchoServer() {
  stop_ = true;
  thread_.join();
  close(listening_);
}

void EchoServer::serve() {
  io::SystemClock clock;
  pollfd waiting{listening_, POLLIN, 0};
  while (!stop_ && ::poll(&waiting, 1, 50) == 0) {
  }
  if (stop_) return;
  const int peer = accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC);
  const int on = 1;
  setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  Accepting handler;
  amqp::EngineOptions options;
  options.container_id = "floor";
  handler.engine = amqp::Engine::create(options, handler, clock.now());
  Buffer in(std::size_t{1} << 18);
  Instant spin_until{};
  for (pollfd reading{peer, POLLIN, 0}; !stop_;) {
    if (::poll(&reading, 1, clock.now() < spin_until ? 0 : 50) == 0) continue;
    const ssize_t got = recv(peer, in.data(), in.size(), 0);
    if (got <= 0) break;
    handler.engine->input(BytesView(in).first(static_cast<std::size_t>(got)), clock.now());
    for (BytesView out = handler.engine->output(); !out.empty(); out = handler.engine->output()) {
      const ssize_t sent = send(peer, out.data(), out.size(), MSG_NOSIGNAL);
      if (sent <= 0) break;
      handler.engine->consumed(static_cast<std::size_t>(sent));
    }
    spin_until = clock.now() + kSpin;
  }
  close(peer);
}

}  // namespace mainstay::bench
