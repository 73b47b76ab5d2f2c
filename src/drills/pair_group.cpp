#include "drills/pair_group.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>

#include "drills/control_client.h"
#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr const char* token = "drill-control";
constexpr std::int64_t end_timeout_s = 10, command_timeout_s = 60;
constexpr std::int64_t still_away = std::int64_t{1} << 62;

}  // namespace

PairGroup::PairGroup(PairGroupOptions options, Clock& clock) : options_(std::move(options)), clock_(clock) {
  // The wall clock says milliseconds, cut off: where one begins the two can be compared.
  for (const std::int64_t first = clock_.wall().ms; clock_.wall().ms == first;) {
  }
  wall_offset_us_ = clock_.wall().ms * 1000 - clock_.now().ns / 1000;
}

Result<std::unique_ptr<PairGroup>, Failure> PairGroup::create(const PairGroupOptions& options, Clock& clock) {
  if (const std::string why = lab::Voters::why_impossible(); !why.empty()) return Failure{why};
  std::unique_ptr<PairGroup> group(new PairGroup(options, clock));
  std::error_code error;
  if (fs::exists(options.directory, error) && !fs::is_empty(options.directory, error))
    return Failure{options.directory + " is not empty: a drill needs a directory of its own"};
  std::vector<std::string> hosts(pair_nodes.begin(), pair_nodes.end());
  hosts.insert(hosts.end(), pair_voters.begin(), pair_voters.end());
  hosts.insert(hosts.end(), pair_clients.begin(), pair_clients.end());
  hosts.emplace_back(pair_seat);
  auto network = lab::Network::create(hosts, options.seed);
  if (!network) return network.error();
  group->network_ = std::move(*network);
  group->visit_.emplace(*group->network_, pair_seat);  // this thread, and all that it starts from now on
  auto voters = lab::Voters::start(*group->network_, {pair_voters.begin(), pair_voters.end()}, pair_seat,
                                   options.directory + "/voters");
  if (!voters) return voters.error();
  group->voters_ = std::move(*voters);

  SeededRandom random(options.seed);
  group->cluster_ = random.uuid().text();
  for (const char* name : pair_nodes) {
    Node& node = group->nodes_[name];
    node.directory = options.directory + "/" + name;
    const std::string data = group->data(name);
    fs::create_directories(data, error);
    if (error) return Failure{"cannot create " + data + ": " + error.message()};
    if (options.faulty_disks) {
      // On one store each node has a layer of its own: what it has not synced is what its machine would lose.
      auto disk = lab::FaultyDisk::create(data, node.directory + "-disk-notes",
                                          lab::FaultyDisk::layer_beside_this_program());
      if (!disk) return disk.error();
      node.disk = std::move(*disk);
    }
    if (auto written = write_text_file(group->config(name), group->config_text(name)); !written)
      return written.error();
  }
  return group;
}

PairGroup::~PairGroup() {
  for (auto& [name, node] : nodes_)
    if (node.disk) node.disk->repair();  // hung on a disk that stalls, a process could not end
  nodes_.clear();
}

std::string PairGroup::control(const std::string& node) const {
  return network_->address_of(node) + ":5680";
}

std::string PairGroup::config_text(const std::string& node) const {
  const std::string peer = other(node);
  const auto place = [](const std::string& host) { return host.back(); };
  std::string text =
      fmt::format(R"([node]
name = "{0}"
region = "east"
data = "{1}"
cluster = "{2}"

[amqp]
listen = "{3}:{4}"

[control]
listen = "{5}"
token = "{6}"

[journal]
segment_bytes = "{14}"

[group]
listen = "{3}:5690"
zone = "zone-{7}"
site = "site-{7}"
create = true
min_copies = {8}
{15}

[[group.node]]
name = "{9}"
address = "{10}:5690"
zone = "zone-{11}"
site = "site-{11}"

[register]
group = "payments"
initial_region = "east"

[[user]]
name = "drill"
password = "drill-in-the-lab"

[[queue]]
name = "{12}"
requires_session = true
duplicate_detection = true
duplicate_window_s = 86400
lock_duration_s = 30
max_delivery_count = 1000

[[queue]]
name = "{13}"
duplicate_detection = true
duplicate_window_s = 86400
lock_duration_s = 30
max_delivery_count = 1000
)",
                  node, data(node), cluster_, network_->address_of(node), pair_amqp_port, control(node),
                  token, place(node), options_.copies_min, peer, network_->address_of(peer), place(peer),
                  pair_session_queue, pair_plain_queue,
                  // Small, so that a full disk is met within seconds.
                  options_.faulty_disks ? "128KiB" : "1MiB",
                  !one_store() ? ""
                  : options_.store == PairGroupOptions::Store::lock_required
                      ? "mode = \"shared-store\""
                      : "mode = \"shared-store\"\nlock = \"preferred\"");
  for (const char* voter : pair_voters)
    text += fmt::format(R"(
[[register.voter]]
name = "{0}"
address = "{1}:2379"
zone = "zone-{2}"
site = "site-{2}"
region = "east"
)",
                        voter, network_->address_of(voter), place(voter));
  return text;
}

Result<void, Failure> PairGroup::start(const std::string& name) {
  Node& node = at(name);
  lab::Command command{.name = name,
                       .arguments = {options_.program, "serve", "--config", config(name)},
                       .log = node.directory + ".log",
                       .environment = {},
                       .network_namespace = network_->namespace_of(name)};
  if (node.disk) command.environment = node.disk->environment();
  auto process = lab::Process::start(command);
  if (!process) return process.error();
  node.process = std::move(*process);
  node.killed = false;
  for (Absence& absence : absences_)
    if (absence.node == name && absence.killed) absence.until_us = std::min(absence.until_us, now_us());
  return {};
}

Result<void, Failure> PairGroup::kill(const std::string& name) {
  Node& node = at(name);
  node.killed = true;
  node.process->signal(SIGKILL);
  if (!node.process->wait(seconds(end_timeout_s)))
    return Failure{fmt::format("{} is still there {} s after SIGKILL", name, end_timeout_s)};
  absences_.push_back({.node = name, .from_us = now_us(), .until_us = still_away, .killed = true});
  return {};
}

Result<void, Failure> PairGroup::lose_power(const std::vector<std::string>& nodes, Random& random,
                                            lab::TakenBack& lost) {
  std::vector<std::string> waits;
  for (const auto& [name, node] : nodes_)
    if (one_store() && node.process && !node.killed && std::ranges::find(nodes, name) == nodes.end())
      waits.push_back(name);
  for (const std::string& name : waits) pause(name);
  for (const std::string& name : nodes) {
    at(name).killed = true;
    at(name).process->signal(SIGKILL);
  }
  for (const std::string& name : nodes)
    if (auto gone = kill(name); !gone) return gone;
  for (const std::string& name : nodes) {
    const auto taken = at(name).disk->take_back({.everything = random.chance(1, 3),
                                                 .block_bytes = random.chance(1, 2) ? 512U : 4096U,
                                                 .seed = random.next()});
    if (!taken) return taken.error();
    lost.bytes += taken->bytes;
    lost.bytes_lost += taken->bytes_lost;
    lost.names += taken->names;
    lost.names_lost += taken->names_lost;
  }
  for (const std::string& name : waits) resume(name);
  return {};
}

void PairGroup::pause(const std::string& name) {
  absences_.push_back({.node = name, .from_us = now_us(), .until_us = still_away, .killed = false});
  at(name).process->signal(SIGSTOP);
}

void PairGroup::resume(const std::string& name) {
  for (Absence& absence : absences_)
    if (absence.node == name && !absence.killed) absence.until_us = std::min(absence.until_us, now_us());
  at(name).process->signal(SIGCONT);
}

std::vector<std::string> PairGroup::stop() {
  std::vector<std::string> killed;
  for (auto& [name, node] : nodes_) {
    if (node.disk) node.disk->repair();
    if (!node.process) continue;
    node.process->signal(SIGCONT);
    node.process->signal(SIGTERM);
  }
  for (auto& [name, node] : nodes_) {
    if (!node.process) continue;
    node.killed = true;
    if (node.process->wait(seconds(end_timeout_s))) continue;
    killed.push_back(name);
    node.process->signal(SIGKILL);
    static_cast<void>(node.process->wait(seconds(end_timeout_s)));
  }
  return killed;
}

std::optional<std::string> PairGroup::ended_by_itself() {
  for (auto& [name, node] : nodes_) {
    if (node.killed || !node.process) continue;
    if (const auto end = node.process->end())
      return fmt::format("{} ended by itself ({}):\n{}", name, end->text(), node.process->log_tail(15));
  }
  return {};
}

PairNodeView PairGroup::view(const std::string& node) const {
  PairNodeView view;
  if (at(node).killed) return view;
  const auto reply = http_request("GET", control(node), "/status", token, "", milliseconds(300));
  if (!reply || reply->status != 200) return view;
  // As view_node(): what another process says may be anything, and nothing leaves this function.
  try {
    const json::value status = json::parse(reply->body);
    view.ready = status.at("ready").as_bool();
    view.durable_lsn = status.at("durable_lsn").to_number<std::uint64_t>();
    view.applied_lsn = status.at("applied_lsn").to_number<std::uint64_t>();
    view.log_hash = status.at("log_hash").as_string();
    view.state_hash = status.at("state_hash").as_string();
    for (const json::value& queue : status.at("queues").as_array())
      view.in_queues += queue.at("active").to_number<std::uint64_t>() +
                        queue.at("locked").to_number<std::uint64_t>() +
                        queue.at("dead_letter").to_number<std::uint64_t>();
    const json::value& group = status.at("group");
    view.role = group.at("role").as_string();
    view.leader = group.at("leader").as_string();
    view.problem = group.at("problem").as_string();
    view.fenced = group.at("fenced").as_string();
    view.epoch = group.at("epoch").to_number<std::uint64_t>();
    for (const json::value& each : group.at("in_sync").as_array())
      view.in_sync.emplace_back(each.as_string());
    view.answered = true;
  } catch (const std::exception&) {
    view = PairNodeView{};
  }
  return view;
}

std::optional<std::string> PairGroup::leader() const {
  for (const char* node : pair_nodes)
    if (view(node).ready) return node;
  return {};
}

Result<lab::Finished, Failure> PairGroup::command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), options_.program);
  return lab::run_to_end({.name = "mainstay " + arguments[1],
                          .arguments = std::move(arguments),
                          .log = fmt::format("{}/command-{}.log", options_.directory, ++commands_)},
                         seconds(command_timeout_s));
}

std::string PairGroup::log(const std::string& node) const {
  const auto text = read_text_file(at(node).directory + ".log");
  return text ? *text : std::string();
}

std::vector<Service> PairGroup::services() const {
  std::vector<Service> all;
  for (const char* node : pair_nodes) {
    const auto own = services_of(node, log(node), absences_, now_us());
    all.insert(all.end(), own.begin(), own.end());
  }
  std::ranges::stable_sort(all, {}, &Service::begin_us);
  return all;
}

}  // namespace mainstay::drills
