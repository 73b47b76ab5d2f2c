// `mainstay capacity`: what a load needs, from what benchmarks measured.
#include "capacity/capacity.h"

#include <fstream>
#include <iostream>
#include <iterator>

#include "cli/commands.h"
#include "cli/exit_codes.h"

namespace mainstay::cli {
namespace {

struct CapacityArguments {
  std::vector<std::string> records;
  capacity::Load load;
  double disk_mb = 0;
  bool json = false;
};

int plan_capacity(CapacityArguments arguments) {
  std::vector<capacity::RecordFile> files;
  for (const std::string& name : arguments.records) {
    std::ifstream stream(name, std::ios::binary);
    if (!stream) {
      std::cerr << "mainstay capacity: cannot read " << name << "\n";
      return kCouldNotRun;
    }
    files.push_back({name, {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()}});
  }
  const auto measured = capacity::read_measurements(files);
  if (!measured) {
    std::cerr << "mainstay capacity: " << measured.error().what << "\n";
    return kCouldNotRun;
  }
  if (arguments.disk_mb != 0) arguments.load.disk_bytes_per_second = arguments.disk_mb * 1e6;
  const auto plan = capacity::plan(arguments.load, *measured);
  if (!plan) {
    std::cerr << "mainstay capacity: " << plan.error().what << "\n";
    return kUsage;
  }
  std::cout << (arguments.json ? capacity::to_json(*plan, arguments.load)
                               : capacity::to_text(*plan, arguments.load));
  return plan->fits ? kOk : kNotClean;
}

}  // namespace

void add_capacity(CLI::App& app, int& status) {
  auto arguments = std::make_shared<CapacityArguments>();
  capacity::Load& load = arguments->load;
  CLI::App* command = app.add_subcommand(
      "capacity", "what a load needs (groups, nodes, disk, memory), from what benchmarks measured");
  command
      ->add_option("--record", arguments->records,
                   "files of ./dev bench NAME --json FILE, measured on such a machine")
      ->required();
  command->add_option("--message-bytes", load.message_bytes, "average body, bytes")->required();
  command->add_option("--peak-rate", load.peak_rate, "messages a second at the peak, in and out")->required();
  command->add_option("--headroom", load.headroom, "part of each limit that stays free at the peak")
      ->capture_default_str();
  command->add_option("--nodes-lost", load.nodes_lost, "nodes of a region that may be away at the peak")
      ->capture_default_str();
  command->add_option("--regions", load.regions, "2: with a standby region")->capture_default_str();
  command
      ->add_option("--backlog-hours", load.backlog_hours, "how long consumers may be away, at the peak rate")
      ->capture_default_str();
  command->add_option("--queues", load.queues)->capture_default_str();
  command->add_option("--connections", load.connections)->capture_default_str();
  command->add_option("--network-mbit", load.network_mbit, "of one node, each way")->capture_default_str();
  command->add_option("--node-memory-mib", load.node_memory_mib, "of one node; absent: no limit made of it");
  command->add_option("--disk-mb-per-s", arguments->disk_mb,
                      "write + sync of a node's disk, when it is another than the measured one");
  command->add_option("--cores", load.cores, "of a node, when they are others than the measured ones");
  command->add_flag("--json", arguments->json, "the plan as one JSON object");
  command->footer(
      "Sizes between two measured ones are interpolated and the plan says so; measure more sizes with\n"
      "./dev bench publish --bytes N --json FILE.\n"
      "Exit status: 0 the plan is printed; 1 it is, but a node's memory does not suffice; 2 a record cannot "
      "be used;\n"
      "             64 wrong command line or numbers.\n"
      "Examples:\n"
      "  ./dev bench all --json figures.json\n"
      "  mainstay capacity --record figures.json --message-bytes 4096 --peak-rate 20000\n"
      "  mainstay capacity --record figures.json --record 16k.json --message-bytes 12000 --peak-rate 2000 "
      "\\\n"
      "    --headroom 0.4 --backlog-hours 12 --queues 500 --connections 2000 --json");
  command->callback([arguments, &status] { status = plan_capacity(*arguments); });
}

}  // namespace mainstay::cli
