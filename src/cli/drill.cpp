// `mainstay drill …` and `mainstay audit`: failures on purpose, and the proof of what became of every
// message.
#include <climits>
#include <filesystem>
#include <iostream>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/version.h"
#include "drills/audit_command.h"
#include "drills/kill_loop.h"
#include "drills/pair_drill.h"
#include "drills/partition_drill.h"
#include "drills/region_outage.h"
#include "drills/soak.h"

namespace mainstay::cli {

namespace {

/// The options that every drill with two regions takes.
void add_common_options(CLI::App& command, drills::DrillOptions& options, std::string& seeds) {
  command.add_option("--messages", options.messages, "payments to generate")->capture_default_str();
  command.add_option("--seed", seeds, "N, or A..B: one drill per seed")->capture_default_str();
  command.add_option("--rate", options.rate_per_s, "messages a second into the source")
      ->capture_default_str();
  command.add_option("--report", options.report, "directory for reports; one is made in it per drill")
      ->capture_default_str();
  command
      .add_option("--stuck-after", options.stuck_after_s, "seconds without any progress that end the drill")
      ->capture_default_str();
  command.add_flag("--keep", options.keep, "keep logs and data of clean drills too");
  command.add_flag("--json", options.json, "print the reports as JSON, one per line");
}

/// Completes `options`; false when the seeds are none, which it says.
bool complete(drills::DrillOptions& options, const std::string& name, const std::string& seeds) {
  const auto range = drills::parse_seeds(seeds);
  if (!range) {
    std::cerr << "mainstay drill " << name << ": " << range.error().what << "\n";
    return false;
  }
  options.seed_first = range->first;
  options.seed_last = range->second;
  options.program = std::filesystem::read_symlink("/proc/self/exe");
  options.version = std::string("mainstay ") + kVersion;
  return true;
}

void add_region_outage(CLI::App& drill, int& status) {
  auto options = std::make_shared<drills::RegionOutageOptions>();
  auto seeds = std::make_shared<std::string>("1");
  CLI::App* outage = drill.add_subcommand(
      "region-outage", "kill every process of the active region in mid-flow, promote the other");
  add_common_options(*outage, *options, *seeds);
  outage->add_option("--source", options->source, "feed the files of this directory instead");
  outage->footer(
      "Starts two regions (broker, QueueBuilder, Processor each) on loopback ports, feeds payments, kills "
      "the active region\n"
      "with SIGKILL, promotes the other by `region promote --force`, replays the archive, and audits ingest, "
      "ledger and\n"
      "destination against each other. Writes a self-contained HTML report.\n"
      "Exit status: 0 every audit clean, 1 an audit found something, 2 a drill could not run or got stuck.\n"
      "Examples:\n"
      "  mainstay drill region-outage\n"
      "  mainstay drill region-outage --seed 1..20 --report out\n"
      "  mainstay drill region-outage --source /data/payments --json");
  outage->callback([options, seeds, &status] {
    status = complete(*options, "region-outage", *seeds) ? drills::run_region_outage(*options) : kUsage;
  });
}

void add_kill_loop(CLI::App& drill, int& status) {
  auto options = std::make_shared<drills::KillLoopOptions>();
  options->messages = 5'000;
  options->rate_per_s = 100;
  auto seeds = std::make_shared<std::string>("1");
  CLI::App* loop = drill.add_subcommand(
      "kill-loop", "kill one process after the other at random instants, start each again at once");
  loop->add_option("--kills", options->kills, "how many, spread over the flow")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  add_common_options(*loop, *options, *seeds);
  loop->footer(
      "Starts two regions (broker, QueueBuilder, Processor each) on loopback ports and feeds payments. At "
      "random instants a\n"
      "random one of the six processes is killed with SIGKILL and started again with the same configuration. "
      "The source goes\n"
      "on until the last kill, beyond --messages if need be. Then the flow ends, ingest, ledger and "
      "destination are audited\n"
      "against each other, and the standby's log and state must have the live region's hashes.\n"
      "Exit status: 0 every drill clean, 1 a finding, 2 a drill could not run or got stuck.\n"
      "Examples:\n"
      "  mainstay drill kill-loop\n"
      "  mainstay drill kill-loop --kills 200 --messages 20000 --seed 1..5 --report out");
  loop->callback([options, seeds, &status] {
    status = complete(*options, "kill-loop", *seeds) ? drills::run_kill_loop(*options) : kUsage;
  });
}

void add_partition(CLI::App& drill, int& status) {
  auto options = std::make_shared<drills::PartitionOptions>();
  options->messages = 3'000;
  options->rate_per_s = 300;
  auto seeds = std::make_shared<std::string>("1");
  auto list = std::make_shared<bool>(false);
  CLI::App* partition = drill.add_subcommand(
      "partition",
      "cut, delay and freeze what lies between two regions, and break their disks, one way at a time");
  partition
      ->add_option(
          "--scenario", options->scenario,
          "what is broken; pair: all of one group of nodes; store: all of nodes that share one directory; "
          "all: all of every kind")
      ->capture_default_str();
  partition->add_flag("--list", *list, "do not run: name the scenarios");
  partition->add_option("--fault", options->fault_s, "seconds that a fault lasts")
      ->capture_default_str()
      ->check(CLI::Range(1, 3600));
  add_common_options(*partition, *options, *seeds);
  partition->footer(
      "Starts two regions (broker, QueueBuilder, Processor each) in network namespaces: each broker and each "
      "region's pipeline\n"
      "on a host of its own, with links that this program carries packet by packet. In mid-flow the "
      "scenario's "
      "fault is made\n"
      "and repaired; then the flow ends, ingest, ledger and destination are audited against each other, and "
      "the "
      "standby must\n"
      "be the live region's twin.\n"
      "Scenarios pair-…: two nodes of one group under three voters (etcd), each with a host of its own, and "
      "clients of theirs.\n"
      "Scenarios store-…: the same with one data directory for both nodes (shared-store mode).\n"
      "The audit also says whether two nodes ever led at one time, by their logs or by what clients saw.\n"
      "Needs root, or `unshare -Urn` before the command.\n"
      "Exit status: 0 every drill clean, 1 a finding, 2 a drill could not run or got stuck.\n"
      "Examples:\n"
      "  mainstay drill partition\n"
      "  mainstay drill partition --scenario client-deaf --seed 1..5 --fault 10 --report out\n"
      "  mainstay drill partition --scenario pair\n"
      "  mainstay drill partition --scenario store-zombie --seed 1..3\n"
      "  mainstay drill partition --scenario pair-loss-and-jitter --fault 600");
  partition->callback([options, seeds, list, &status] {
    if (*list) {
      for (const drills::PartitionScenario& scenario : drills::partition_scenarios())
        std::cout << scenario.name << "\t" << scenario.about
                  << (scenario.must_be_clean ? "" : " (never clean)") << "\n";
      for (const drills::PartitionScenario& scenario : drills::pair_scenarios())
        std::cout << scenario.name << "\t" << scenario.about << "\n";
      return;
    }
    status = complete(*options, "partition", *seeds) ? drills::run_partition(*options) : kUsage;
  });
}

void add_soak(CLI::App& drill, int& status) {
  auto options = std::make_shared<drills::SoakOptions>();
  auto history = std::make_shared<std::string>();
  CLI::App* soak = drill.add_subcommand(
      "soak", "every kind of load at once on one broker that is killed again and again, then an audit");
  soak->add_option("--minutes", options->minutes, "of load; draining and the audit come after it")
      ->capture_default_str()
      ->check(CLI::Range(0.05, 10'000.0));
  soak->add_option("--seed", options->seed, "of the clients' choices and the kills")->capture_default_str();
  soak->add_option("--rate", options->rate_per_s, "messages a second, all queues together")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1e6));
  soak->add_option("--kill-every", options->kill_every_s, "seconds between two kills, on average")
      ->capture_default_str()
      ->check(CLI::Range(0.5, 1e6));
  soak->add_option("--kills", options->kills,
                   "end the load after so many kills, when that is before the minutes are over");
  soak->add_option("--report", options->report, "directory for the report; one is made in it")
      ->capture_default_str();
  soak->add_option("--history", *history, "do not run: judge the history in this directory again");
  soak->add_flag("--power-loss", options->power_loss,
                 "each kill also takes what the broker had not synced: all of it, or half of the blocks");
  soak->add_flag("--lying-disk", options->lying_disk,
                 "power losses on a disk whose syncs do nothing: shows that the audit finds what is lost");
  soak->add_flag("--keep", options->keep, "keep the history and the data of a clean run too");
  soak->add_flag("--json", options->json, "print the report as JSON");
  soak->footer(
      "Starts one broker with small limits on loopback ports. Clients publish and receive at the same time: "
      "messages from empty\n"
      "to 1 MiB, sessions, times to live, duplicates, abandoned and dead-lettered messages, clients that "
      "read "
      "slowly, not at\n"
      "all, or vanish. The broker is killed with SIGKILL every few seconds. In the end everything is drained "
      "and audited from\n"
      "what the clients wrote down: every acknowledged message is accounted for exactly once, and nothing "
      "came "
      "back.\n"
      "Exit status: 0 clean, 1 a promise broken (each finding names the message and its history), 2 it could "
      "not be run.\n"
      "Examples:\n"
      "  mainstay drill soak\n"
      "  mainstay drill soak --minutes 1 --seed 7 --report out\n"
      "  mainstay drill soak --history out/soak-seed-7");
  soak->callback([options, history, &status] {
    options->program = std::filesystem::read_symlink("/proc/self/exe");
    options->version = std::string("mainstay ") + kVersion;
    status = history->empty() ? drills::run_soak(*options) : drills::run_soak_audit(*history, options->json);
  });
}

}  // namespace

void add_drill(CLI::App& app, int& status) {
  CLI::App* drill = app.add_subcommand(
      "drill", "break something on purpose, on this machine, and audit what became of every message");
  drill->require_subcommand(1);
  add_region_outage(*drill, status);
  add_kill_loop(*drill, status);
  add_partition(*drill, status);
  add_soak(*drill, status);
}

void add_audit(CLI::App& app, int& status) {
  auto options = std::make_shared<drills::AuditOptions>();
  CLI::App* audit = app.add_subcommand(
      "audit",
      "compare what entered, the ledger and the destination: name what is lost, repeated, reordered");
  audit->add_option("--ingest", options->ingest, "ingest record (TSV)")->required();
  audit->add_option("--ledger", options->ledger, "the ledger's file")->required();
  audit->add_option("--destination", options->destination, "the destination's directory")->required();
  audit->add_option("--arrivals", options->arrivals,
                    "an independent witness's record of the order of arrival");
  audit->add_option("--parked", options->parked, "directories with parked conflicts");
  audit->add_option("--quarantine", options->quarantine, "directory with quarantined messages");
  audit->add_flag("--json", options->json, "print everything as JSON");
  audit->footer(
      "Without --arrivals the order is judged by the ledger.\n"
      "Exit status: 0 clean, 1 not clean (every finding is named), 2 a source could not be read.\n"
      "Example: mainstay audit --ingest generated.tsv --ledger ledger.db --destination out --arrivals "
      "arrivals.tsv");
  audit->callback([options, &status] { status = drills::run_audit_command(*options); });
}

}  // namespace mainstay::cli
