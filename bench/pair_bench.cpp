// Question: what do two nodes that keep one log cost, and what do they give: how long is it from kill -9 of
// the one that leads until the other confirms, what does the way between them take off the throughput and add
// to one confirm, and how soon does a node that was away count again while the other goes on?
//
// Both nodes, their clients and the relay that makes the way between them longer share the machine. Ratios
// are made of figures of one run that took turns. The comparison with replicated queues of other brokers is a
// part of mainstay-bench-peers and is run from here when that program is built.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "pair_parts.h"

extern char** environ;

namespace mainstay::bench {
namespace {

/// The rows of mainstay-bench-peers --replicated.
void compare(const Common& common, const PairSizes& sizes, Record& record) {
  const auto program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "mainstay-bench-peers";
  const auto missing = [&](const std::string& why) {
    record.trouble +=
        (record.trouble.empty() ? "" : "; ") + ("the comparison with replicated queues: " + why);
  };
  if (!std::filesystem::exists(program))
    return missing("mainstay-bench-peers is not built (./dev bench pair builds it)");
  const std::string json = common.directory + "/peers.json";
  std::vector<std::string> arguments{program,       "--replicated",
                                     "--program",   common.program,
                                     "--directory", common.directory,
                                     "--json",      json,
                                     "--rounds",    std::to_string(std::max(1, common.rounds)),
                                     "--seconds",   readable(sizes.peer_seconds)};
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (const int failed = posix_spawn(&pid, program.c_str(), nullptr, nullptr, argv.data(), environ);
      failed != 0)
    return missing(std::strerror(failed));
  int status = 0;
  waitpid(pid, &status, 0);
  std::ifstream in(json);
  std::stringstream text;
  text << in.rdbuf();
  const auto found = from_json(text.str());
  if (!found || found->empty()) return missing("it ended without figures; its words are above");
  record.figures.insert(record.figures.end(), found->front().figures.begin(), found->front().figures.end());
  if (!found->front().trouble.empty()) missing(found->front().trouble);
}

}  // namespace

int run_pair_bench(const Arguments& arguments) {
  PairSizes sizes;
  std::vector<std::string> only;
  bool quick = false;
  const std::vector<std::string> parts = {"latency", "delay", "rejoin", "failover", "peers"};
  return run_benchmark(
      {"pair",
       "Two nodes that keep one log: takeover after kill -9, throughput over a longer way, one confirm, "
       "return of a node "
       "that was away, and replicated queues of other brokers.",
       "  ./dev bench pair --quick                    some minutes, small numbers: does everything run?\n"
       "  ./dev bench pair                            about an hour, 40 GB of disk\n"
       "  ./dev bench pair --only failover --runs 20 --resident 1000000\n"
       "  ./dev bench pair --only delay,latency --rounds 9 --json pair.json\n"},
      arguments,
      [&](CLI::App& app) {
        app.add_flag("--quick", quick, "small numbers instead of those that the targets are for");
        app.add_option("--only", only, "these parts: latency, delay, rejoin, failover, peers")
            ->delimiter(',')
            ->check(CLI::IsMember(parts));
        app.add_option("--runs", sizes.runs, "takeovers, with default and with fast settings each")
            ->capture_default_str()
            ->check(CLI::Range(1, 10'000));
        app.add_option("--resident", sizes.resident, "messages that wait in the pair meanwhile")
            ->capture_default_str()
            ->check(CLI::Range(0ULL, 1'000'000'000ULL));
        app.add_option("--settings", sizes.settings, "takeovers with these settings only: default or fast")
            ->check(CLI::IsMember({"default", "fast"}));
        app.add_option("--voters", sizes.voters,
                       "etcd members that hold the register of the takeovers; 0: a file")
            ->capture_default_str()
            ->check(CLI::IsMember({0, 1, 3, 5, 7}));
        app.add_option("--away", sizes.away_seconds, "seconds that a node is away")
            ->capture_default_str()
            ->check(CLI::Range(2, 3600));
        app.add_option("--messages", sizes.messages, "of each measurement of throughput")
            ->capture_default_str()
            ->check(CLI::Range(1000ULL, 1'000'000'000ULL));
        app.add_option("--singles", sizes.singles, "messages one by one, per round")
            ->capture_default_str()
            ->check(CLI::Range(100ULL, 100'000'000ULL));
        app.add_option("--connections", sizes.connections,
                       "that publish at once, 1,000 messages in flight on each")
            ->capture_default_str()
            ->check(CLI::Range(1, 64));
      },
      [&](const Common& given, Record& record) {
        Common common = given;
        if (quick) {
          sizes.runs = std::min(sizes.runs, 5);
          sizes.resident = std::min<std::uint64_t>(sizes.resident, 50'000);
          sizes.away_seconds = std::min(sizes.away_seconds, 8);
          sizes.messages = std::min<std::uint64_t>(sizes.messages, 40'000);
          sizes.singles = std::min<std::uint64_t>(sizes.singles, 500);
          sizes.peer_seconds = 0.8;
          common.rounds = std::min(common.rounds, 3);
        }
        const auto wanted = [&](const char* part) {
          return only.empty() || std::find(only.begin(), only.end(), part) != only.end();
        };
        // What one part has is kept when the next one fails.
        const auto attempt = [&](const char* part, auto measure) {
          if (!wanted(part)) return;
          std::cerr << "pair: " << part << "\n";
          try {
            measure();
          } catch (const std::exception& error) {
            record.trouble +=
                (record.trouble.empty() ? "" : "; ") + (std::string(part) + ": " + error.what());
            std::cerr << "pair: " << part << ": " << error.what() << "\n";
          }
        };
        attempt("latency", [&] { pair_latency(common, sizes, record); });
        attempt("delay", [&] { pair_delay(common, sizes, record); });
        attempt("rejoin", [&] { pair_rejoin(common, sizes, record); });
        attempt("failover", [&] { pair_failover(common, sizes, record); });
        attempt("peers", [&] { compare(common, sizes, record); });
      });
}

}  // namespace mainstay::bench
