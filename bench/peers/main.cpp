// Question: beside the brokers people use today, on the same disk and the same two cores, what does Mainstay
// give, with each message synced before it is confirmed?
//
// Every system runs as its own process, one at a time, in rounds whose order rotates. In a round each is
// started afresh on an empty directory, warmed up, measured and ended, so that a machine that gets slower for
// a while hits all of them; ratios are made of one round's figures, and their medians count. Sizes and
// numbers in flight are the same for all, or the better of those tried before the first round, or of
// one connection where the rounds say that this is better.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <optional>
#include <thread>

#include "environment.h"
#include "io/system_clock.h"
#include "peers/best_rows.h"
#include "peers/measures.h"
#include "peers/replicated.h"
#include "peers/server.h"
#include "peers/sync_page.h"
#include "peers/sync_trace.h"

namespace mainstay::bench {
namespace {

struct Options {
  std::string program;
  std::string shim;
  std::string directory;
  std::string json;
  std::string only;
  int rounds = 5;
  double seconds = 2;
  double end_to_end_seconds = 5;
  std::uint64_t singles = 2000;
  std::uint64_t backlog = 1'000'000;
  bool activemq_backlog = false;
  bool quick = false;
  bool replicated = false;
};

constexpr Duration kSlower = milliseconds(1);
constexpr double kEndToEndRate = 200;
constexpr std::uint64_t kTraced = 40;
constexpr int kTries = 3;       // of each shape
constexpr double kQuiet = 0.1;  // share of the cores that others may take

int tries(const Options& options) {
  return options.quick ? 1 : kTries;
}

Duration of_seconds(double seconds) {
  return {static_cast<std::int64_t>(seconds * 1e9)};
}

class Progress {
 public:
  void say(const std::string& what) {
    const auto passed = static_cast<int>((clock_.now() - start_).seconds());
    std::fprintf(stderr, "[%2d:%02d] %s\n", passed / 60, passed % 60, what.c_str());
  }

 private:
  io::SystemClock clock_;
  Instant start_ = clock_.now();
};

/// A peer's server on an empty directory of its own, which goes with it.
class Running {
 public:
  Running(System& system, const Options& options, const std::string& base, bool with_shim)
      : peer_(*system.peer), directory_(base + "/" + system.name) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    Place place{directory_, {}};
    if (with_shim) {
      page_.emplace(base + "/" + system.name + ".page");
      place.environment = {"LD_PRELOAD=" + options.shim, "MAINSTAY_BENCH_SYNC_PAGE=" + page_->file()};
    }
    try {
      peer_.start(place);
    } catch (...) {
      end();
      throw;
    }
  }
  ~Running() { end(); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  [[nodiscard]] SyncPage& page() { return *page_; }

 private:
  void end() {
    peer_.stop();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  Peer& peer_;
  std::string directory_;
  std::optional<SyncPage> page_;
};

struct Best {
  Shape of_all, of_one_connection;
};
/// The shape with which `attempt` gives most, by the median of some tries that take turns: one try is as
/// noisy as the machine. A quick run tries one window only, and once.
Best best_shape(Peer& peer, const Options& options, const std::function<Throughput(Shape)>& attempt) {
  std::vector<std::uint64_t> windows = peer.windows();
  if (options.quick) windows.resize(1);
  std::vector<TriedShape> tried;
  for (const std::size_t connections : peer.connection_counts()) {
    for (const std::uint64_t window : windows) tried.push_back({{connections, window}, {}});
  }
  for (int round = 0; round < tries(options); ++round) {
    for (TriedShape& one : tried) {
      one.got.values.push_back(attempt(one.shape).per_second);
      peer.empty_queue();
    }
  }
  return {best_of(tried), best_of_one_connection(tried)};
}

void find_shapes(System& system, SyncPage& page, const Options& options) {
  Peer& peer = *system.peer;
  const Duration time = of_seconds(options.seconds / 4);
  const auto publish = [&](Shape shape) { return publish_for(peer, shape, time); };
  const auto both = [&](Shape shape) { return publish_and_consume_for(peer, shape, time); };
  const Best fast = best_shape(peer, options, publish);
  system.publish = fast.of_all;
  system.publish_one = fast.of_one_connection;
  const Best both_ways = best_shape(peer, options, both);
  system.both = both_ways.of_all;
  system.both_one = both_ways.of_one_connection;
  if (!system.shim_reaches) return;
  page.set_delay(kSlower);
  const Best slow = best_shape(peer, options, publish);
  system.slow_publish = slow.of_all;
  system.slow_publish_one = slow.of_one_connection;
  system.slow_both = best_shape(peer, options, both).of_all;
  page.set_delay({0});
}

void measure_round(System& system, int round, const Options& options, const std::string& base,
                   Progress& progress) {
  Peer& peer = *system.peer;
  Running running(system, options, base, true);
  SyncPage& page = running.page();
  const Duration time = of_seconds(options.seconds);
  const auto keep = [&](const char* measure, double value) { system.samples[measure][round] = value; };

  // Caches, allocators, just-in-time compilers.
  const Duration warm_up{time.ns * peer.warm_up_times()};
  static_cast<void>(publish_and_consume_for(peer, {peer.connection_counts().back(), 1000}, warm_up));
  peer.empty_queue();
  system.shim_reaches = page.syncs() > 0;
  if (round == 0) {
    progress.say("  " + system.title + ": trying connections and windows");
    find_shapes(system, page, options);
  }

  const std::vector<int> processes = peer.processes();
  const double cpu_before = cpu_seconds(processes);
  const std::uint64_t syncs_before = page.syncs();
  const Throughput published = publish_for(peer, system.publish, time);
  const auto messages = static_cast<double>(published.messages);
  keep("publish", published.per_second);
  keep("cpu", (cpu_seconds(processes) - cpu_before) * 1e6 / messages);
  if (system.shim_reaches) keep("syncs", static_cast<double>(page.syncs() - syncs_before) / messages);
  peer.empty_queue();
  keep("publish_one", system.publish.connections == 1
                          ? published.per_second
                          : publish_for(peer, system.publish_one, time).per_second);
  peer.empty_queue();
  const double both = publish_and_consume_for(peer, system.both, time).per_second;
  keep("both", both);
  peer.empty_queue();
  keep("both_one",
       system.both.connections == 1 ? both : publish_and_consume_for(peer, system.both_one, time).per_second);
  peer.empty_queue();

  static_cast<void>(one_in_flight(peer, options.singles / 10));
  const Latency single = one_in_flight(peer, options.singles);
  keep("single_p50", single.p50_us);
  keep("single_p99", single.p99_us);
  peer.empty_queue();
  const Latency delivered = end_to_end(peer, kEndToEndRate, of_seconds(options.end_to_end_seconds));
  keep("e2e_p50", delivered.p50_us);
  keep("e2e_p99", delivered.p99_us);

  if (!system.shim_reaches) return;
  page.set_delay(kSlower);
  peer.empty_queue();
  const double slow_publish = publish_for(peer, system.slow_publish, time).per_second;
  keep("slow_publish", slow_publish);
  page.set_delay({0});
  peer.empty_queue();
  page.set_delay(kSlower);
  keep("slow_publish_one", system.slow_publish.connections == 1
                               ? slow_publish
                               : publish_for(peer, system.slow_publish_one, time).per_second);
  page.set_delay({0});
  peer.empty_queue();
  page.set_delay(kSlower);
  keep("slow_both", publish_and_consume_for(peer, system.slow_both, time).per_second);
  keep("slow_single_p50", one_in_flight(peer, options.singles / 10 + 20).p50_us);
  page.set_delay({0});
  if (system.samples["slow_single_p50"][round] < static_cast<double>(kSlower.ns) / 1e3)
    throw Trouble{
        "a message was confirmed sooner than its sync can have taken: the slower disk is not believed"};
}

void trace(System& system, const Options& options, const std::string& base) {
  Running running(system, options, base, false);
  // The trace lies beside the peer's own directory, not in it.
  system.order = trace_sync_order(*system.peer, base, kTraced);
  if (system.shim_reaches) return;
  system.peer->empty_queue();
  const double seconds = options.seconds;
  Peer& peer = *system.peer;
  const SyncCount counted = trace_sync_count(peer, base, of_seconds(seconds));
  system.samples["syncs"][0] = static_cast<double>(counted.syncs) / static_cast<double>(counted.messages);
}

void measure_backlog(System& system, const Options& options, const std::string& base) {
  Running running(system, options, base, false);
  Peer& peer = *system.peer;
  constexpr std::uint64_t kWarmUp = 2000;
  publish_count(peer, {}, kWarmUp);
  consume_count(peer, kWarmUp);
  peer.empty_queue();
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const auto idle = static_cast<double>(resident_bytes(peer.processes()));
  publish_count(peer, system.publish, options.backlog);
  std::this_thread::sleep_for(std::chrono::seconds(2));
  system.samples["rss"][0] = (static_cast<double>(resident_bytes(peer.processes())) - idle) / (1 << 20);
}

bool asked_for(const Options& options, const std::string& name) {
  if (options.only.empty() || name == "mainstay") return true;
  return ("," + options.only + ",").find("," + name + ",") != std::string::npos;
}

std::vector<System> make_systems(const Options& options) {
  std::vector<System> systems;
  const auto add = [&](const char* name, std::unique_ptr<Peer> peer, const char* library) {
    if (!asked_for(options, name)) return;
    System system;
    system.name = system.title = name;
    if (peer) {
      system.title = peer->title();
      system.note = peer->note();
      try {
        system.version = peer->version();
        if (system.version == "not installed") system.trouble = "its Debian package is not installed";
      } catch (const Trouble& trouble) {
        system.version = "of no known version";
        system.trouble = trouble.what;
      }
      system.peer = std::move(peer);
    } else {
      system.version = "not measured";
      system.trouble = std::string("this program was built without ") + library;
    }
    systems.push_back(std::move(system));
  };
  add("mainstay", make_mainstay(options.program), "");
#ifdef MAINSTAY_PEER_RABBITMQ
  add("rabbitmq", make_rabbitmq(), "");
#else
  add("rabbitmq", nullptr, "librabbitmq-dev");
#endif
#ifdef MAINSTAY_PEER_REDIS
  add("redis", make_redis(), "");
#else
  add("redis", nullptr, "libhiredis-dev");
#endif
#ifdef MAINSTAY_PEER_NATS
  add("nats", make_nats(), "");
#else
  add("nats", nullptr, "libnats-dev");
#endif
  add("activemq", make_activemq(), "");
  return systems;
}

/// Runs `work` for a system that has had no trouble yet; what goes wrong is told and kept.
void attempt(System& system, Progress& progress, const std::string& what, const std::function<void()>& work) {
  if (!system.trouble.empty()) return;
  progress.say(what + ": " + system.title);
  try {
    work();
  } catch (const Trouble& trouble) {
    system.trouble = trouble.what;
  } catch (const std::exception& error) {
    system.trouble = error.what();
  }
  if (!system.trouble.empty())
    progress.say("  " + system.title + " is left out from here: " + system.trouble);
}

double expected_minutes(const Options& options, const std::vector<System>& systems) {
  double total = 0;
  for (const System& system : systems) {
    if (!system.trouble.empty()) continue;
    const auto shapes =
        static_cast<double>(system.peer->connection_counts().size() * system.peer->windows().size());
    total += options.rounds * (8 * options.seconds + options.end_to_end_seconds + 8);
    total += options.rounds * options.seconds * (system.peer->warm_up_times() - 1);
    total += tries(options) * shapes * 4 * (options.seconds / 4 + 0.5) + 10;
    if (options.backlog > 0 && system.name != "activemq")
      total += static_cast<double>(options.backlog) / 60'000 + 6;
  }
  if (options.activemq_backlog) total += static_cast<double>(options.backlog) / 4'000;
  return total / 60;
}

int run(const Options& options, const std::string& command) {
  const std::string base = options.directory + "/mainstay-bench-peers-" + std::to_string(getpid());
  std::filesystem::create_directories(base);
  std::vector<System> systems = make_systems(options);
  Record identity;
  identity.environment = environment_text(base);
  for (const System& system : systems)
    identity.environment += "peer      " + system.title + " " + system.version + ": " + system.note + "\n";
  std::cout << identity.environment << std::flush;

  std::vector<double> busy;  // with what is not ours
  Progress progress;
  // Written again after each turn: what was measured must not be lost with what comes next.
  const auto record_of = [&](const std::string& unfinished) {
    Record record =
        to_record(systems, "backlog of " + std::to_string(options.backlog) + " messages of 1 KiB");
    record.figures.push_back({"peers.machine_busy",
                              "the machine's cores busy with other things, before each turn",
                              "share",
                              {busy},
                              {},
                              {},
                              "above 0.1 the figures do not count: run it again when it is quiet"});
    record.command = command;
    record.environment = identity.environment;
    prefer_better_rows(record);
    if (!unfinished.empty()) record.trouble += (record.trouble.empty() ? "" : "; ") + unfinished;
    return record;
  };
  const auto keep = [&](const std::string& done) {
    if (!options.json.empty()) write_file(options.json, to_json({record_of("ended after " + done)}));
  };
  char expected[128];
  std::snprintf(expected, sizeof expected, "%d rounds over %zu systems: about %.0f minutes", options.rounds,
                systems.size(), std::max(1.0, expected_minutes(options, systems)));
  progress.say(expected);
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < systems.size(); ++i) {
      System& system = systems[(i + static_cast<std::size_t>(round)) % systems.size()];
      busy.push_back(machine_busy(milliseconds(500)));
      attempt(system, progress,
              "round " + std::to_string(round + 1) + " of " + std::to_string(options.rounds),
              [&] { measure_round(system, round, options, base, progress); });
      keep("round " + std::to_string(round + 1) + ", " + system.title);
    }
  }
  for (System& system : systems) {
    attempt(system, progress, "order of sync and confirm (strace)", [&] { trace(system, options, base); });
    keep("the order of sync and confirm, " + system.title);
  }
  for (System& system : systems) {
    if (options.backlog == 0 || (system.name == "activemq" && !options.activemq_backlog)) continue;
    attempt(system, progress, "memory with a backlog of " + std::to_string(options.backlog),
            [&] { measure_backlog(system, options, base); });
    keep("memory with a backlog, " + system.title);
  }
  std::error_code ignored;
  std::filesystem::remove_all(base, ignored);

  const Record record = record_of("");
  const double busy_median = record.figures.back().samples.median();
  std::cout
      << "\nMedian (low–high) of " << options.rounds << " rounds, messages of 1 KiB\n\n"
      << comparison(systems)
      << "\nBelow, the first row of a system's saturated work is that of one connection where this has the "
         "higher median.\n\n";
  for (const System& system : systems) {
    if (system.name == "activemq" && system.trouble.empty() && !options.activemq_backlog &&
        options.backlog > 0)
      std::cout << system.title << ": memory with a backlog takes minutes and was not asked for "
                << "(--activemq-backlog)\n";
    if (!system.trouble.empty()) std::cout << system.title << ": " << system.trouble << "\n";
  }
  Record verdicts = record;
  std::erase_if(verdicts.figures, [](const Figure& figure) {
    return figure.id.find(".over_") == std::string::npos && !figure.at_least && !figure.at_most;
  });
  std::cout << "\n" << table({verdicts});
  if (busy_median > kQuiet)
    std::cout << "\nThe machine was busy with other things (" << readable(100 * busy_median)
              << " % of its cores): these figures do not count.\n";
  if (options.quick) std::cout << "\nA quick run: for trying, not for quoting.\n";
  if (!options.json.empty()) write_file(options.json, to_json({record}));
  return exit_status({record});
}

}  // namespace
}  // namespace mainstay::bench

int main(int argc, char** argv) {
  using namespace mainstay::bench;
  Options options;
  CLI::App app{
      "Mainstay beside RabbitMQ (quorum queue), NATS JetStream, Redis (stream) and ActiveMQ Classic, all "
      "from "
      "Debian's packages: the same work, 1 KiB messages, taking turns in one run.\n"
      "Each server runs as a process of its own on a free loopback port with its data in --directory; "
      "nothing "
      "else on the machine is touched."};
  app.add_option("--rounds", options.rounds, "each system once per round, in rotating order")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--only", options.only,
                 "peers to compare with, e.g. rabbitmq,redis (of rabbitmq, redis, nats, activemq)");
  auto* seconds = app.add_option("--seconds", options.seconds, "of load per measurement")
                      ->check(CLI::PositiveNumber)
                      ->capture_default_str();
  auto* backlog =
      app.add_option("--backlog", options.backlog, "messages for the measurement of memory; 0: none")
          ->capture_default_str();
  app.add_flag("--activemq-backlog", options.activemq_backlog, "ActiveMQ's memory as well: minutes longer");
  app.add_flag("--quick", options.quick, "one round of short measurements, a backlog of 100,000: for trying");
  app.add_flag(
      "--replicated", options.replicated,
      "only this: publishing through a pair of Mainstay nodes, a quorum queue on three RabbitMQ nodes and a "
      "stream with three NATS replicas (a part of ./dev bench pair)");
  app.add_option("--json", options.json, "also write the figures to this file");
  app.add_option("--directory", options.directory, "on the disk to measure")->default_str("a temporary one");
  app.add_option("--program", options.program, "the mainstay binary")->default_str("beside this one");
  app.footer(
      "Exit status: 0 all targets reached, 1 a target missed, 2 a system could not be measured: it is named "
      "with its reason, and the figures of the others (and its own so far) are kept.\n"
      "A full run takes about 15 minutes. Figures count only from a release build on a quiet machine.\n"
      "Example: ./dev bench peers --only redis --rounds 7 --json peers.json");
  CLI11_PARSE(app, argc, argv);
  std::string names = options.only + ",";
  for (std::size_t at = 0, end = 0; !options.only.empty() && (end = names.find(',', at)) != std::string::npos;
       at = end + 1) {
    const std::string name = names.substr(at, end - at);
    if (name != "rabbitmq" && name != "redis" && name != "nats" && name != "activemq" && name != "mainstay") {
      std::cerr << "--only: there is no peer \"" << name << "\"; they are rabbitmq, redis, nats, activemq\n";
      return 2;
    }
  }
  if (options.quick) {
    options.rounds = 1;
    if (seconds->count() == 0) options.seconds = 0.8;
    if (backlog->count() == 0) options.backlog = 100'000;
    options.end_to_end_seconds = 2;
    options.singles = 500;
  }
  const auto own = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  if (options.program.empty()) options.program = own / "mainstay";
  options.shim = own / "libmainstay_sync_shim.so";
  if (options.directory.empty()) options.directory = std::filesystem::temp_directory_path();
  std::string command = "./dev bench peers";
  for (int i = 1; i < argc; ++i) command += std::string(" ") + argv[i];
  end_servers_on_signals();
  try {
    if (options.replicated) {
      if (options.rounds < 1) options.rounds = 1;
      return run_replicated(
          {options.program, options.directory, options.json, options.rounds, options.seconds}, command);
    }
    return run(options, command);
  } catch (const Trouble& trouble) {
    std::cerr << "bench peers: " << trouble.what << "\n";
  } catch (const std::exception& error) {
    std::cerr << "bench peers: " << error.what() << "\n";
  }
  return 2;
}
