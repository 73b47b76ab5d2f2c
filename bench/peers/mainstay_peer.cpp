// Mainstay: `mainstay serve` with its defaults, our own client (client/connection.h).
#include <algorithm>
#include <optional>
#include <thread>

#include "amqp/message.h"
#include "client/connection.h"
#include "io/http_client.h"
#include "io/system_clock.h"
#include "peers/load.h"
#include "peers/server.h"

namespace mainstay::bench {
namespace {

constexpr std::uint32_t kPrefetch = 1000;

std::unique_ptr<client::Connection> connect(std::uint16_t port) {
  client::ClientOptions options;
  options.endpoints = {{"127.0.0.1", port}};
  auto connection = client::Connection::connect(options);
  if (!connection) throw Trouble{connection.error().description};
  return std::move(*connection);
}

class MainstayPublisher final : public Publisher {
 public:
  explicit MainstayPublisher(std::uint16_t port)
      : connection_(connect(port)), sender_(connection_->open_sender("bench")) {
    const auto opened = connection_->poll_until(
        [&] { return sender_.credit() > 0 || sender_.state() == client::LinkState::closed; }, seconds(10));
    if (!opened || !*opened || sender_.state() == client::LinkState::closed)
      throw Trouble{"no sender: " + sender_.error().description};
  }

  bool send(BytesView body) override {
    if (sender_.credit() == 0) return false;
    if (encoded_.empty() || body.size() != body_bytes_) {
      amqp::SimpleMessage simple;
      simple.message_id = "bench";
      simple.body = body;
      encoded_ = amqp::encode_message(simple);
      body_bytes_ = body.size();
    } else {
      std::copy(body.begin(), body.end(),
                encoded_.end() - static_cast<std::ptrdiff_t>(body.size()));  // the data section ends it
    }
    return sender_.send(tag_++, encoded_);
  }

  std::uint64_t poll(Duration most) override {
    const auto polled = connection_->poll(most);
    if (!polled) throw Trouble{polled.error().description};
    sender_.take_outcomes(outcomes_);
    for (const client::SendOutcome& outcome : outcomes_) {
      if (outcome.kind != client::SendOutcome::Kind::accepted)
        throw Trouble{"a message was not accepted: " + outcome.error.description};
    }
    return outcomes_.size();
  }

 private:
  std::unique_ptr<client::Connection> connection_;
  client::Sender sender_;
  Buffer encoded_;
  std::size_t body_bytes_ = 0;
  std::uint64_t tag_ = 0;
  std::vector<client::SendOutcome> outcomes_;
};

class MainstayConsumer final : public Consumer {
 public:
  explicit MainstayConsumer(std::uint16_t port)
      : connection_(connect(port)), receiver_(connection_->open_receiver("bench")) {
    const auto opened =
        connection_->poll_until([&] { return receiver_.state() != client::LinkState::opening; }, seconds(10));
    if (!opened || receiver_.state() != client::LinkState::open)
      throw Trouble{"no receiver: " + receiver_.error().description};
    receiver_.add_credit(kPrefetch);
  }

  void poll(Duration most, std::vector<std::uint64_t>& stamps) override {
    const auto polled = connection_->poll(most);
    if (!polled) throw Trouble{polled.error().description};
    receiver_.take(received_);
    for (const client::Received& message : received_) {
      const auto view = amqp::view_message(message.message);
      if (!view || view->body.size() < kMessageBytes) throw Trouble{"a message arrived that nobody sent"};
      // The data section: descriptor and length, then the body to the section's end.
      stamps.push_back(from_stamp(reinterpret_cast<const char*>(view->body.data() + view->body.size()) -
                                  static_cast<std::ptrdiff_t>(kMessageBytes)));
      handles_.push_back(message.handle);
    }
    receiver_.take_settlements(settlements_);
    for (const client::Settlement& settlement : settlements_) {
      if (!settlement.ok) throw Trouble{"a complete was refused: " + settlement.error.description};
    }
    done_ += settlements_.size();
    if (receiver_.credit() < kPrefetch / 2)
      receiver_.add_credit(static_cast<std::uint32_t>(kPrefetch - receiver_.credit()));
  }

  void acknowledge() override {
    for (const std::uint64_t handle : handles_) receiver_.complete(handle);
    handles_.clear();
  }

  [[nodiscard]] std::uint64_t acknowledged() const override { return done_; }

 private:
  std::unique_ptr<client::Connection> connection_;
  client::Receiver receiver_;
  std::vector<client::Received> received_;
  std::vector<client::Settlement> settlements_;
  std::vector<std::uint64_t> handles_;
  std::uint64_t done_ = 0;
};

class Mainstay final : public Peer {
 public:
  explicit Mainstay(std::string program) : program_(std::move(program)) {}
  [[nodiscard]] std::string name() const override { return "mainstay"; }
  [[nodiscard]] std::string title() const override { return "Mainstay"; }
  [[nodiscard]] std::string version() const override { return MAINSTAY_VERSION; }
  [[nodiscard]] std::string note() const override {
    return "AMQP 1.0, its own client on Qpid Proton; peek-lock, each message completed on its own and each "
           "complete answered after its sync";
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
    MainstayConsumer consumer(port_);
    std::vector<std::uint64_t> stamps;
    io::SystemClock clock;
    Instant last = clock.now();
    while (clock.now() - last < milliseconds(300)) {
      stamps.clear();
      consumer.poll(milliseconds(50), stamps);
      if (stamps.empty()) continue;
      consumer.acknowledge();
      last = clock.now();
    }
  }

  [[nodiscard]] std::unique_ptr<Publisher> publisher(Eagerness) override {
    return std::make_unique<MainstayPublisher>(port_);
  }
  [[nodiscard]] std::unique_ptr<Consumer> consumer() override {
    return std::make_unique<MainstayConsumer>(port_);
  }
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
