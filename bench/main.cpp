// `mainstay-bench NAME …`: every benchmark behind one name. `./dev bench NAME` builds it for release and runs
// it.
#include <iostream>
#include <string>

#include "bench.h"

namespace {

struct Entry {
  const char* name;
  int (*run)(const mainstay::bench::Arguments&);
  const char* what;
};

using namespace mainstay::bench;
constexpr Entry kEntries[] = {
    {"journal", run_journal_bench, "the journal's group commit against a bare loop of write and sync"},
    {"publish", run_publish_bench,
     "publish with confirm; publish + receive + complete; syncs and CPU of each"},
    {"e2e", run_e2e_bench, "publish to delivered at 200/s; the same way saturated"},
    {"latency", run_latency_bench, "one message in flight against sync + one AMQP turn"},
    {"backlog", run_backlog_bench, "memory and throughput with 1 M and 10 M messages in the queue"},
    {"restart", run_restart_bench,
     "until ready again, after a stop and after kill -9, 1 M and 10 M in the queue"},
    {"many-queues", run_many_queues_bench, "10,000 queues, 1,000 connections, 100 sessions in each queue"},
    {"large", run_large_bench, "messages of 1 MiB against the bare sequential write rate"},
    {"longrun", run_longrun_bench, "200 M small messages through a queue of at most 1,000"},
    {"pair", run_pair_bench, "two nodes that keep one log: takeover, a longer way between them, return"},
    {"all", run_all, "all of them and `peers`, one table with every target"},
};

void usage(std::ostream& out) {
  out << "Usage: mainstay-bench NAME [options]\n\n";
  for (const Entry& entry : kEntries) {
    out << "  " << entry.name << std::string(13 - std::string(entry.name).size(), ' ') << entry.what << "\n";
  }
  out << "\n`mainstay-bench NAME --help` lists the options, with examples. Figures count only from a "
         "release\n"
         "build on a quiet machine. The comparison with other brokers is a program of its own: ./dev bench "
         "peers\n"
         "Exit status: 0 every target reached, 1 at least one missed, 2 could not run.\n";
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argc >= 2 ? argv[1] : "";
  for (const Entry& entry : kEntries) {
    if (name == entry.name) return entry.run({argv + 2, argv + argc});
  }
  const bool asked = name.empty() || name == "--help" || name == "-h" || name == "help";
  if (!asked) std::cerr << "There is no benchmark \"" << name << "\".\n\n";
  usage(asked ? std::cout : std::cerr);
  return asked ? 0 : 2;
}
