// `mainstay drill …` and `mainstay audit`: failures on purpose, and the proof of what became of every
// message.
#include <climits>
#include <filesystem>
#include <iostream>

#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/version.h"
#include "drills/audit_command.h"
#include "drills/region_outage.h"

namespace mainstay::cli {

void add_drill(CLI::App& app, int& status) {
  CLI::App* drill = app.add_subcommand(
      "drill", "break something on purpose, on this machine, and audit what became of every message");
  drill->require_subcommand(1);
  auto options = std::make_shared<drills::RegionOutageOptions>();
  auto seeds = std::make_shared<std::string>("1");
  CLI::App* outage = drill->add_subcommand(
      "region-outage", "kill every process of the active region in mid-flow, promote the other");
  outage->add_option("--messages", options->messages, "payments to generate")->capture_default_str();
  outage->add_option("--source", options->source, "feed the files of this directory instead");
  outage->add_option("--seed", *seeds, "N, or A..B: one drill per seed")->capture_default_str();
  outage->add_option("--rate", options->rate_per_s, "messages a second into the source")
      ->capture_default_str();
  outage->add_option("--report", options->report, "directory for reports; one is made in it per drill")
      ->capture_default_str();
  outage
      ->add_option("--stuck-after", options->stuck_after_s, "seconds without any progress that end the drill")
      ->capture_default_str();
  outage->add_flag("--keep", options->keep, "keep logs and data of clean drills too");
  outage->add_flag("--json", options->json, "print the reports as JSON, one per line");
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
    const auto range = drills::parse_seeds(*seeds);
    if (!range) {
      std::cerr << "mainstay drill region-outage: " << range.error().what << "\n";
      status = kUsage;
      return;
    }
    options->seed_first = range->first;
    options->seed_last = range->second;
    options->program = std::filesystem::read_symlink("/proc/self/exe");
    options->version = std::string("mainstay ") + kVersion;
    status = drills::run_region_outage(*options);
  });
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
