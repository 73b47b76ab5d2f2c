// Mainstay: `mainstay serve` with its defaults, a client made for load (amqp_client.h).
#include <thread>

#include "io/http_client.h"
#include "io/system_clock.h"
#include "peers/amqp_client.h"
#include "peers/server.h"

namespace mainstay::bench {
namespace {

/// Takes all there is out of the queue.
void drain(std::uint16_t port) {
  const auto consumer = amqp_consumer(port, "bench");
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

  void empty_queue() override { drain(port_); }

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

class MainstayPair final : public Peer {
 public:
  explicit MainstayPair(std::string program) : program_(std::move(program)) {}
  [[nodiscard]] std::string name() const override { return "pair"; }
  [[nodiscard]] std::string title() const override { return "Mainstay, a pair"; }
  [[nodiscard]] std::string version() const override { return MAINSTAY_VERSION; }
  [[nodiscard]] std::string note() const override {
    return "two nodes, each message synced on both before it is confirmed; AMQP 1.0, a client on the "
           "broker's codec, "
           "frames of many messages per write";
  }

  void start(const Place& place) override {
    const std::vector<std::uint16_t> ports = own_ports(6);  // of each: AMQP, control, group
    for (std::size_t i = 0; i < 2; ++i) {
      const std::string number = std::to_string(i + 1), other = std::to_string(2 - i);
      const auto endpoint = [&](std::size_t node, std::size_t which) {
        return "\"127.0.0.1:" + std::to_string(ports[3 * node + which]) + "\"\n";
      };
      const std::string config = place.directory + "/n" + number + ".toml";
      write_file(
          config,
          "[node]\nname = \"n" + number + "\"\nregion = \"bench\"\ndata = \"n" + number +
              "\"\ncluster = \"6f1c2f3e-6a52-4b8e-9d0e-2f7f5a1c0b77\"\n[amqp]\nlisten = " + endpoint(i, 0) +
              "anonymous = true\n[control]\nlisten = " + endpoint(i, 1) + "[register]\nfile = \"" +
              place.directory + "/register.db\"\n[group]\nlisten = " + endpoint(i, 2) +
              "create = true\nmin_copies = 1\nallow_unsafe_layout = \"a benchmark on one machine\"\n"
              "[[group.node]]\nname = \"n" +
              other + "\"\naddress = " + endpoint(1 - i, 2) +
              "[[queue]]\nname = \"bench\"\n[log]\nlevel = \"warn\"\n");
      amqp_[i] = ports[3 * i];
      control_[i] = ports[3 * i + 1];
      servers_[i] = std::make_unique<Server>("mainstay n" + number, place.environment,
                                             std::vector<std::string>{program_, "serve", "--config", config},
                                             place.directory + "/log" + number);
    }
    for (std::size_t i = 0; i < 2; ++i) servers_[i]->wait_for_port(control_[i], seconds(20));
    for (int turn = 0; turn < 1000; ++turn) {
      for (std::size_t i = 0; i < 2; ++i) {
        servers_[i]->check_alive();
        if (!both_count(i)) continue;
        leader_ = i;
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    throw Trouble{"the nodes of the pair are not in sync after 20 s"};
  }
  void stop() override {
    for (auto& server : servers_) server.reset();
  }
  void empty_queue() override {
    if (!both_count(leader_)) throw Trouble{"the pair is not what it was: one node does not count any more"};
    drain(port());
  }
  [[nodiscard]] std::unique_ptr<Publisher> publisher(Eagerness) override {
    return amqp_publisher(port(), "bench");
  }
  [[nodiscard]] std::unique_ptr<Consumer> consumer() override { return amqp_consumer(port(), "bench"); }
  [[nodiscard]] std::uint16_t port() const override { return amqp_[leader_]; }
  [[nodiscard]] std::vector<int> processes() const override {
    std::vector<int> all = servers_[leader_]->processes();
    const std::vector<int> others = servers_[1 - leader_]->processes();
    all.insert(all.end(), others.begin(), others.end());
    return all;
  }

 private:
  [[nodiscard]] bool both_count(std::size_t node) const {
    const auto status = io::http_request({"127.0.0.1", control_[node]}, "GET", "/status", "", "", seconds(2));
    return status && status->status == 200 && status->body.find("\"role\":\"leader\"") != std::string::npos &&
           status->body.find("\"in_sync\":[\"n1\",\"n2\"]") != std::string::npos;
  }
  std::string program_;
  std::uint16_t amqp_[2]{}, control_[2]{};
  std::size_t leader_ = 0;
  std::unique_ptr<Server> servers_[2];
};

}  // namespace

std::unique_ptr<Peer> make_mainstay_pair(const std::string& program) {
  return std::make_unique<MainstayPair>(program);
}
std::unique_ptr<Peer> make_mainstay(const std::string& program) {
  return std::make_unique<Mainstay>(program);
}

}  // namespace mainstay::bench
