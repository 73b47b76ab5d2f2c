// Mainstay: `mainstay serve` with its defaults, a client made for load (amqp_client.h).
#include <thread>

#include "io/http_client.h"
#include "io/system_clock.h"
#include "peers/amqp_client.h"
#include "peers/server.h"

namespace mainstay::bench {
namespace {

class Mainstay final : public Peer {
 public:
  explicit Mainstay(std::string program) : program_(std::move(program)) {}
  [[nodiscard]] std::string name() const override { return "mainstay"; }
  [[nodiscard]] std::string title() const override { return "Mainstay"; }
  [[nodiscard]] std::string version() const override { return MAINSTAY_VERSION; }
  [[nodiscard]] std::string note() const override {
    return "AMQP 1.0, a client on the broker's codec, frames of many messages per write; prefetch 1000 under "
           "peek-lock, completed in ranges, each message's completion answered after its sync";
  }

  void start(const Place& place) override {
    const std::vector<std::uint16_t> ports = own_ports(2);
    port_ = ports[0];
    const std::uint16_t control = ports[1];
    const std::string config = place.directory + "/broker.toml";
    write_file(config,
               "[node]\nname = \"bench-1\"\nregion = \"bench\"\ndata = \"data\"\n"
               "[amqp]\nlisten = \"127.0.0.1:" +
                   std::to_string(port_) +
                   "\"\nanonymous = true\n"
                   "[control]\nlisten = \"127.0.0.1:" +
                   std::to_string(control) +
                   "\"\n"
                   "[register]\nfile = \"register.db\"\ninitial_region = \"bench\"\n"
                   "[[queue]]\nname = \"bench\"\n[log]\nlevel = \"warn\"\n");
    server_ = std::make_unique<Server>("mainstay", place.environment,
                                       std::vector<std::string>{program_, "serve", "--config", config},
                                       place.directory + "/log");
    server_->wait_for_port(control, seconds(20));
    for (int turn = 0; turn < 500; ++turn) {
      const auto ready = io::http_request({"127.0.0.1", control}, "GET", "/readyz", "", "", seconds(1));
      if (ready && ready->status == 200) return;
      server_->check_alive();
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    throw Trouble{"mainstay did not become ready in 10 s"};
  }

  void stop() override { server_.reset(); }

  void empty_queue() override {
    const auto consumer = amqp_consumer(port_, "bench");
    std::vector<std::uint64_t> stamps;
    io::SystemClock clock;
    Instant last = clock.now();
    while (clock.now() - last < milliseconds(300)) {
      stamps.clear();
      consumer->poll(milliseconds(50), stamps);
      if (stamps.empty()) continue;
      consumer->acknowledge();
      last = clock.now();
    }
  }

  [[nodiscard]] std::unique_ptr<Publisher> publisher(Eagerness) override {
    return amqp_publisher(port_, "bench");
  }
  [[nodiscard]] std::unique_ptr<Consumer> consumer() override { return amqp_consumer(port_, "bench"); }
  [[nodiscard]] std::uint16_t port() const override { return port_; }
  [[nodiscard]] std::vector<int> processes() const override { return server_->processes(); }

 private:
  std::string program_;
  std::uint16_t port_ = 0;
  std::unique_ptr<Server> server_;
};

}  // namespace

std::unique_ptr<Peer> make_mainstay(const std::string& program) {
  return std::make_unique<Mainstay>(program);
}

}  // namespace mainstay::bench
