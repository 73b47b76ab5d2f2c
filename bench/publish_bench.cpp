// Question: how many 1 KiB messages a second does a broker take with confirm (each synced before its
// accepted), and how many go all the way (publish, peek-lock, complete, at once), over AMQP on loopback,
// client and server on this machine? And what does one message alone cost?
//
// The server is `mainstay serve` in its own process with default durability; the clients are ours
// (client/connection.h).
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "amqp/message.h"
#include "bench.h"
#include "client/connection.h"
#include "io/http_client.h"
#include "io/system_clock.h"

extern char** environ;

namespace mainstay::bench {
namespace {

struct Arguments {
  std::string program;
  std::uint64_t messages = 300'000;
  std::size_t message_bytes = 1024;
  std::uint32_t window = 1000;
  int rounds = 3;
  std::string directory;
  bool json = false;
  std::uint64_t publish_floor = 100'000;
};

class Broker {
 public:
  Broker(const Arguments& arguments, const std::string& directory) : directory_(directory) {
    amqp_port = free_port();
    control_port = free_port();
    std::filesystem::create_directories(directory + "/data");
    std::ofstream(directory + "/broker.toml")
        << "[node]\nname = \"bench-1\"\nregion = \"bench\"\ndata = \"data\"\n"
        << "[amqp]\nlisten = \"127.0.0.1:" << amqp_port << "\"\nanonymous = true\n"
        << "[control]\nlisten = \"127.0.0.1:" << control_port << "\"\n"
        << "[register]\nfile = \"register.db\"\ninitial_region = \"bench\"\n"
        << "[[queue]]\nname = \"bench\"\n[log]\nlevel = \"warn\"\n";
    const std::string config = directory + "/broker.toml";
    const char* argv[] = {arguments.program.c_str(), "serve", "--config", config.c_str(), nullptr};
    if (posix_spawn(&pid_, arguments.program.c_str(), nullptr, nullptr, const_cast<char**>(argv), environ) !=
        0) {
      std::cerr << "cannot start " << arguments.program << "\n";
      std::exit(2);
    }
    for (int i = 0; i < 500; ++i) {
      const auto ready = io::http_request({"127.0.0.1", control_port}, "GET", "/readyz", "", "", seconds(1));
      if (ready && ready->status == 200) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    std::cerr << "the broker did not become ready in 10 s\n";
    std::exit(2);
  }
  ~Broker() {
    kill(pid_, SIGTERM);
    int status = 0;
    waitpid(pid_, &status, 0);
    std::filesystem::remove_all(directory_);
  }
  Broker(const Broker&) = delete;
  Broker& operator=(const Broker&) = delete;

  struct Sample {
    std::uint64_t syncs{}, records{};
    double cpu_seconds{};
  };
  Sample sample() const {
    Sample out;
    const auto answer = io::http_request({"127.0.0.1", control_port}, "GET", "/status", "", "", seconds(5));
    if (answer) {
      const auto status = boost::json::parse(answer->body);
      out.syncs = status.at("journal").at("syncs").to_number<std::uint64_t>();
      out.records = status.at("journal").at("records").to_number<std::uint64_t>();
    }
    std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
    std::string field;
    for (int i = 1; i <= 15 && stat >> field; ++i) {
      if (i == 14 || i == 15) out.cpu_seconds += std::stod(field) / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
    return out;
  }

  std::uint16_t amqp_port = 0, control_port = 0;

 private:
  std::string directory_;
  pid_t pid_ = 0;
};

struct Figures {
  double per_second = 0;
  double p50_us = 0, p99_us = 0;
  double syncs_per_message = 0;
  double server_cpu_us = 0;
};

[[noreturn]] void give_up(const std::string& what) {
  std::cerr << "bench publish: " << what << "\n";
  std::exit(2);
}

std::unique_ptr<client::Connection> connect(const Broker& broker) {
  client::ClientOptions options;
  options.endpoints = {{"127.0.0.1", broker.amqp_port}};
  auto connection = client::Connection::connect(options);
  if (!connection) give_up(connection.error().description);
  return std::move(*connection);
}

void publish(const Broker& broker, const Arguments& arguments, std::uint64_t count, std::uint32_t window,
             std::vector<float>& latencies_us) {
  io::SystemClock clock;
  auto connection = connect(broker);
  auto sender = connection->open_sender("bench");
  auto opened = connection->poll_until(
      [&] { return sender.credit() > 0 || sender.state() == client::LinkState::closed; }, seconds(5));
  if (!opened || !*opened || sender.state() == client::LinkState::closed) give_up(sender.error().description);
  Buffer body(arguments.message_bytes, std::byte{'x'});
  amqp::SimpleMessage simple;
  simple.message_id = "bench";
  simple.body = body;
  const Buffer message = amqp::encode_message(simple);
  std::vector<Instant> sent_at(count);
  std::vector<client::SendOutcome> outcomes;
  std::uint64_t sent = 0;
  std::uint64_t done = 0;
  latencies_us.reserve(latencies_us.size() + count);
  while (done < count) {
    const Instant now = clock.now();
    while (sent < count && sent - done < window && sender.credit() > 0) {
      sent_at[sent] = now;
      if (!sender.send(sent, message)) break;
      ++sent;
    }
    const auto polled = connection->poll(milliseconds(1000));
    if (!polled) give_up(polled.error().description);
    sender.take_outcomes(outcomes);
    const Instant arrived = clock.now();
    for (const client::SendOutcome& outcome : outcomes) {
      if (outcome.kind != client::SendOutcome::Kind::accepted)
        give_up("not accepted: " + outcome.error.description);
      latencies_us.push_back(static_cast<float>((arrived - sent_at[outcome.tag]).ns) / 1e3F);
      ++done;
    }
  }
  connection->close(seconds(1));
}

void consume(const Broker& broker, std::uint64_t count) {
  auto connection = connect(broker);
  auto receiver = connection->open_receiver("bench");
  auto opened =
      connection->poll_until([&] { return receiver.state() != client::LinkState::opening; }, seconds(5));
  if (!opened || receiver.state() != client::LinkState::open) give_up(receiver.error().description);
  receiver.add_credit(1000);
  std::vector<client::Received> received;
  std::vector<client::Settlement> settlements;
  std::uint64_t settled = 0;
  while (settled < count) {
    const auto polled = connection->poll(milliseconds(1000));
    if (!polled) give_up(polled.error().description);
    receiver.take(received);
    for (const client::Received& message : received) receiver.complete(message.handle);
    receiver.take_settlements(settlements);
    for (const client::Settlement& settlement : settlements) {
      if (!settlement.ok) give_up("complete refused: " + settlement.error.description);
      ++settled;
    }
    if (receiver.credit() < 500) receiver.add_credit(static_cast<std::uint32_t>(1000 - receiver.credit()));
  }
  connection->close(seconds(1));
}

float quantile(std::vector<float>& of, double q) {
  if (of.empty()) return 0;
  const auto at = of.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(of.size() - 1));
  std::nth_element(of.begin(), at, of.end());
  return *at;
}

template <class Work>
Figures measure(const Broker& broker, std::uint64_t count, std::vector<float>& latencies, Work work) {
  io::SystemClock clock;
  const auto before = broker.sample();
  const Instant start = clock.now();
  work();
  const double took = (clock.now() - start).seconds();
  const auto after = broker.sample();
  Figures out;
  const auto n = static_cast<double>(count);
  out.per_second = n / took;
  out.p50_us = quantile(latencies, 0.50);
  out.p99_us = quantile(latencies, 0.99);
  out.syncs_per_message = static_cast<double>(after.syncs - before.syncs) / n;
  out.server_cpu_us = (after.cpu_seconds - before.cpu_seconds) / n * 1e6;
  return out;
}

Figures median_by_rate(std::vector<Figures> rounds) {
  std::sort(rounds.begin(), rounds.end(),
            [](const Figures& a, const Figures& b) { return a.per_second < b.per_second; });
  return rounds[rounds.size() / 2];
}

}  // namespace

int run_publish_bench(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{
      "AMQP publish with confirm, publish + receive + complete, and one message in flight; 1 KiB, synced "
      "before accepted"};
  app.add_option("--program", arguments.program, "the mainstay binary")->default_str("beside this one");
  app.add_option("--messages", arguments.messages, "per round")->capture_default_str();
  app.add_option("--bytes", arguments.message_bytes, "body bytes")->capture_default_str();
  app.add_option("--window", arguments.window, "unconfirmed messages in flight")->capture_default_str();
  app.add_option("--rounds", arguments.rounds, "interleaved; medians are printed")->capture_default_str();
  app.add_option("--directory", arguments.directory, "where the broker's journal goes")
      ->default_str("a temporary one");
  app.add_option("--floor", arguments.publish_floor, "exit 1 below this many confirmed publishes/s")
      ->capture_default_str();
  app.add_flag("--json", arguments.json, "print figures as JSON");
  CLI11_PARSE(app, argc, argv);
  if (arguments.program.empty()) {
    arguments.program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "mainstay";
  }
  const std::string base =
      arguments.directory.empty() ? std::filesystem::temp_directory_path().string() : arguments.directory;
  const std::string directory = base + "/mainstay-bench-" + std::to_string(getpid());
  std::filesystem::create_directories(directory);
  if (!arguments.json) std::cout << environment_header(directory) << "\n";

  std::vector<Figures> publishes, both, singles;
  {
    Broker broker(arguments, directory);
    std::vector<float> latencies;
    publish(broker, arguments, 20'000, arguments.window, latencies);  // warm-up
    consume(broker, 20'000);
    for (int round = 0; round < arguments.rounds; ++round) {
      std::cerr << "\rround " << round + 1 << " of " << arguments.rounds << " …" << std::flush;
      latencies.clear();
      publishes.push_back(measure(broker, arguments.messages, latencies, [&] {
        publish(broker, arguments, arguments.messages, arguments.window, latencies);
      }));
      consume(broker, arguments.messages);  // the next round starts with an empty queue
      latencies.clear();
      const std::uint64_t half = arguments.messages / 2;
      both.push_back(measure(broker, half, latencies, [&] {
        std::thread consumer([&] { consume(broker, half); });
        publish(broker, arguments, half, arguments.window, latencies);
        consumer.join();
      }));
      latencies.clear();
      const std::uint64_t few = std::max<std::uint64_t>(arguments.messages / 50, 100);
      singles.push_back(
          measure(broker, few, latencies, [&] { publish(broker, arguments, few, 1, latencies); }));
      consume(broker, few);
    }
    std::cerr << "\r                      \r";
  }
  const Figures p = median_by_rate(publishes);
  const Figures b = median_by_rate(both);
  const Figures s = median_by_rate(singles);
  const bool ok = p.per_second >= static_cast<double>(arguments.publish_floor);
  if (arguments.json) {
    const auto object = [](const Figures& f) {
      return boost::json::object{{"per_second", f.per_second},
                                 {"p50_us", f.p50_us},
                                 {"p99_us", f.p99_us},
                                 {"syncs_per_message", f.syncs_per_message},
                                 {"server_cpu_us_per_message", f.server_cpu_us}};
    };
    std::cout << boost::json::serialize(boost::json::object{{"publish_confirm", object(p)},
                                                            {"publish_receive_complete", object(b)},
                                                            {"one_in_flight", object(s)},
                                                            {"ok", ok}})
              << "\n";
  } else {
    std::printf("%-34s %12s %10s %10s %14s %14s\n", "", "messages/s", "p50 us", "p99 us", "syncs/message",
                "server us/msg");
    const auto row = [](const char* name, const Figures& f) {
      std::printf("%-34s %12.0f %10.0f %10.0f %14.4f %14.2f\n", name, f.per_second, f.p50_us, f.p99_us,
                  f.syncs_per_message, f.server_cpu_us);
    };
    row("publish with confirm", p);
    row("publish + receive + complete", b);
    row("one message in flight", s);
    std::printf("%s: %.0f confirmed publishes/s, at least %llu wanted\n", ok ? "ok" : "BELOW THE FLOOR",
                p.per_second, static_cast<unsigned long long>(arguments.publish_floor));
  }
  return ok ? 0 : 1;
}

}  // namespace mainstay::bench
