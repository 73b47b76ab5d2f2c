#include "peers/replicated.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iostream>

#include "environment.h"
#include "peers/measures.h"
#include "peers/server.h"

namespace mainstay::bench {
namespace {

constexpr int kTries = 3;

struct Replicated {
  std::string name, title, version, note, trouble;
  std::unique_ptr<Peer> peer;
  Shape shape, one;
  Samples publish, publish_one, cpu;
  std::optional<double> target;  ///< ours over it, at least
};

Duration of_seconds(double seconds) {
  return {static_cast<std::int64_t>(seconds * 1e9)};
}

void find_shapes(Replicated& system, double seconds) {
  std::vector<TriedShape> tried;
  for (const std::size_t connections : system.peer->connection_counts()) {
    for (const std::uint64_t window : system.peer->windows()) tried.push_back({{connections, window}, {}});
  }
  for (int i = 0; i < kTries; ++i) {
    for (TriedShape& each : tried) {
      each.got.values.push_back(publish_for(*system.peer, each.shape, of_seconds(seconds / 4)).per_second);
      system.peer->empty_queue();
    }
  }
  system.shape = best_of(tried);
  system.one = best_of_one_connection(tried);
}

void measure(Replicated& system, int round, const ReplicatedOptions& options, const std::string& base) {
  const std::string directory = base + "/" + system.name;
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  struct Ended {
    Peer& peer;
    const std::string& directory;
    ~Ended() {
      peer.stop();
      std::error_code ignored;
      std::filesystem::remove_all(directory, ignored);
    }
  } const ended{*system.peer, directory};
  system.peer->start({directory, {}});
  const Duration time = of_seconds(options.seconds);
  static_cast<void>(publish_for(*system.peer, {system.peer->connection_counts().back(), 1000}, time));
  system.peer->empty_queue();
  if (round == 0) find_shapes(system, options.seconds);
  const double before = cpu_seconds(system.peer->processes());
  const Throughput published = publish_for(*system.peer, system.shape, time);
  system.cpu.values.push_back((cpu_seconds(system.peer->processes()) - before) * 1e6 /
                              static_cast<double>(published.messages));
  system.publish.values.push_back(published.per_second);
  system.peer->empty_queue();
  system.publish_one.values.push_back(publish_for(*system.peer, system.one, time).per_second);
  system.peer->empty_queue();
}

Figure ratio(const Replicated& ours, const Replicated& theirs, bool one) {
  Figure out;
  out.id = std::string("pair.publish") + (one ? "_one" : "") + ".over_" + theirs.name;
  out.what = std::string("publish + confirm") + (one ? ", one connection each" : "") + ": a pair over " +
             theirs.title;
  out.unit = "ratio";
  out.at_least = theirs.target;
  const std::vector<double>&a = (one ? ours.publish_one : ours.publish).values,
        &b = (one ? theirs.publish_one : theirs.publish).values;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) out.samples.values.push_back(a[i] / b[i]);
  return out;
}

std::string shape_text(const Shape& shape) {
  return std::to_string(shape.connections) + (shape.connections == 1 ? " connection, " : " connections, ") +
         std::to_string(shape.window) + " in flight";
}

Record record_of(const std::vector<Replicated>& systems, const std::vector<double>& busy) {
  Record record;
  record.benchmark = "pair";
  for (const Replicated& system : systems) {
    if (!system.trouble.empty())
      record.trouble += (record.trouble.empty() ? "" : "; ") + (system.title + ": " + system.trouble);
    if (system.publish.values.empty()) continue;
    const std::string id = "pair.peers." + system.name;
    record.figures.push_back({id + ".publish",
                              system.title + ": publish + confirm, saturated",
                              "messages/s",
                              system.publish,
                              {},
                              {},
                              shape_text(system.shape) + "; " + system.note});
    record.figures.push_back({id + ".publish_one",
                              system.title + ": the same, one connection",
                              "messages/s",
                              system.publish_one,
                              {},
                              {},
                              shape_text(system.one)});
    record.figures.push_back(
        {id + ".cpu", system.title + ": CPU of all nodes per message", "µs", system.cpu, {}, {}, ""});
  }
  for (std::size_t i = 1; i < systems.size(); ++i) {
    for (const bool one : {false, true}) record.figures.push_back(ratio(systems[0], systems[i], one));
  }
  record.figures.push_back({"pair.peers.machine_busy",
                            "the machine's cores busy with other things, before each turn",
                            "share",
                            {busy},
                            {},
                            {},
                            "above 0.1 the figures do not count: run it again when it is quiet"});
  return record;
}

}  // namespace

int run_replicated(const ReplicatedOptions& options, const std::string& command) {
  const std::string base = options.directory + "/mainstay-bench-replicated-" + std::to_string(getpid());
  std::filesystem::create_directories(base);
  std::vector<Replicated> systems;
  const auto add = [&](const char* name, std::unique_ptr<Peer> peer, std::optional<double> target,
                       const char* library) {
    Replicated system;
    system.name = system.title = name;
    system.target = target;
    if (!peer) system.trouble = std::string("this program was built without ") + library;
    if (peer) {
      system.title = peer->title();
      system.note = peer->note();
      try {
        system.version = peer->version();
        if (system.version == "not installed") system.trouble = "its Debian package is not installed";
      } catch (const Trouble& trouble) {
        system.trouble = trouble.what;
      }
      system.peer = std::move(peer);
    }
    systems.push_back(std::move(system));
  };
  add("mainstay", make_mainstay_pair(options.program), {}, "");
#ifdef MAINSTAY_PEER_RABBITMQ
  add("rabbitmq", make_rabbitmq(3), 6, "");
#else
  add("rabbitmq", nullptr, 6, "librabbitmq-dev");
#endif
#ifdef MAINSTAY_PEER_NATS
  add("nats", make_nats(3), 3, "");
#else
  add("nats", nullptr, 3, "libnats-dev");
#endif
  const std::string environment = environment_text(base);
  std::vector<double> busy;
  for (int round = 0; round < options.rounds; ++round) {
    for (std::size_t i = 0; i < systems.size(); ++i) {
      Replicated& system = systems[(i + static_cast<std::size_t>(round)) % systems.size()];
      if (!system.trouble.empty()) continue;
      std::fprintf(stderr, "round %d of %d: %s\n", round + 1, options.rounds, system.title.c_str());
      busy.push_back(machine_busy(milliseconds(500)));
      try {
        measure(system, round, options, base);
      } catch (const Trouble& trouble) {
        system.trouble = trouble.what;
      } catch (const std::exception& error) {
        system.trouble = error.what();
      }
      if (!system.trouble.empty()) std::fprintf(stderr, "  left out from here: %s\n", system.trouble.c_str());
    }
  }
  std::error_code ignored;
  std::filesystem::remove_all(base, ignored);
  Record record = record_of(systems, busy);
  record.command = command;
  record.environment = environment;
  for (const Replicated& system : systems)
    record.environment += "peer      " + system.title + " " + system.version + "\n";
  std::cout << table({record});
  if (!options.json.empty()) write_file(options.json, to_json({record}));
  return exit_status({record});
}

}  // namespace mainstay::bench
