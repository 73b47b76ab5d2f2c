// `mainstay region …`: who leads, and changing it. Talks to the control listener named in a node's
// configuration.
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdio>
#include <iostream>

#include "cli/commands.h"
#include "cli/control_client.h"
#include "cli/exit_codes.h"
#include "cli/not_empty.h"
#include "cli/operator_name.h"

namespace mainstay::cli {
namespace {

namespace json = boost::json;

struct RegionArguments {
  std::string config, reason, by;
  bool force = false;
  bool json = false;
};

int status(const RegionArguments& arguments) {
  const auto node = control_of(arguments.config);
  if (!node) return node.error().exit_status;
  const auto answer = ask(*node, "GET", "/status", "", seconds(5));
  if (!answer) {
    std::cerr << "mainstay region status: " << answer.error().what << "\n";
    return kCouldNotRun;
  }
  if (arguments.json) {
    std::cout << json::serialize(*answer) << "\n";
    return kOk;
  }
  const json::object& s = answer->as_object();
  const json::object& active = s.at("active_region").as_object();
  const json::object& replication = s.at("replication").as_object();
  const auto text = [](const json::value& v) { return std::string(v.as_string()); };
  const auto number = [](const json::value& v) { return std::to_string(v.to_number<std::uint64_t>()); };
  std::cout << "active region   " << text(active.at("region")) << "  (term " << number(active.at("term"))
            << ", " << text(active.at("phase")) << ")\n"
            << "this node       " << text(s.at("node")) << " of region " << text(s.at("region")) << ", "
            << text(s.at("role"))
            << (s.at("ready").as_bool() ? ", ready" : ", not ready: " + text(s.at("why"))) << "\n"
            << "highest term    " << number(s.at("term")) << " has this node seen\n"
            << "log             LSN " << number(s.at("durable_lsn")) << " durable, "
            << number(s.at("committed_lsn")) << " committed, hash " << text(s.at("log_hash")) << "\n"
            << "state           hash " << text(s.at("state_hash")) << " at LSN "
            << number(s.at("applied_lsn")) << "\n";
  if (replication.at("connected").as_bool()) {
    char lag[96];
    std::snprintf(lag, sizeof lag, "%s records, %s bytes, %.3f s behind",
                  number(replication.at("lag_records")).c_str(), number(replication.at("lag_bytes")).c_str(),
                  replication.at("lag_seconds").to_number<double>());
    std::cout << "other region    " << text(replication.at("peer_region")) << " ("
              << text(replication.at("peer_node")) << "), LSN " << number(replication.at("peer_durable_lsn"))
              << " durable there; " << lag << "\n";
  } else {
    std::cout << "other region    not connected";
    if (!text(replication.at("last_problem")).empty())
      std::cout << ": " << text(replication.at("last_problem"));
    std::cout << "\n";
  }
  if (!text(active.at("problem")).empty())
    std::cout << "REGISTER        " << text(active.at("problem")) << "\n";
  const json::object& flow = s.at("flow").as_object();
  for (const json::value& stall : flow.at("stalls").as_array()) {
    if (stall.at("links").to_number<std::uint64_t>() == 0) continue;
    std::cout << "waiting         " << number(stall.at("links")) << " links (" << text(stall.at("reason"))
              << ")\n";
  }
  if (flow.at("confirms_waiting").to_number<std::uint64_t>() != 0)
    std::cout << "waiting         " << number(flow.at("confirms_waiting"))
              << " confirms until the other region has their messages\n";
  for (const json::value& queue : s.at("queues").as_array()) {
    std::cout << "queue           " << text(queue.at("name")) << ": " << number(queue.at("active"))
              << " messages, " << number(queue.at("locked")) << " unacked, "
              << number(queue.at("dead_letter")) << " dead-lettered\n";
  }
  return kOk;
}

int command(const RegionArguments& arguments, const char* name, const char* target) {
  const auto node = control_of(arguments.config);
  if (!node) return node.error().exit_status;
  const std::string by = arguments.by.empty() ? operator_name() : arguments.by;
  if (isatty(STDERR_FILENO) != 0)
    std::cerr << "asking " << node->endpoint.host << ":" << node->endpoint.port << " …\n";
  const auto answer =
      ask(*node, "POST", target,
          json::serialize(json::object{{"by", by}, {"reason", arguments.reason}, {"force", arguments.force}}),
          seconds(60));
  if (!answer) {
    std::cerr << "mainstay region " << name << ": " << answer.error().what << "\n";
    return kCouldNotRun;
  }
  if (arguments.json) {
    std::cout << json::serialize(*answer) << "\n";
  } else {
    std::cout << std::string(answer->at("note").as_string()) << " (term "
              << answer->at("term").to_number<std::uint64_t>() << ")\n";
  }
  return kOk;
}

std::shared_ptr<RegionArguments> add_common(CLI::App* to, bool changes) {
  auto arguments = std::make_shared<RegionArguments>();
  to->add_option("--config", arguments->config, "configuration of the node to ask")->required();
  to->add_flag("--json", arguments->json, "print the answer as JSON");
  if (changes) {
    to->add_option("--reason", arguments->reason, "kept in the register and in the log")
        ->required()
        ->check(not_empty());
    to->add_option("--by", arguments->by, "who does it; default: user and host");
  }
  return arguments;
}

}  // namespace

void add_region(CLI::App& app, int& out) {
  CLI::App* region = app.add_subcommand("region", "who leads, how far behind is the other region; change it");
  region->require_subcommand(1);
  region->footer(
      "Exit status: 0 done, 2 refused or not reachable (the reason is told), 78 wrong configuration.");

  CLI::App* show = region->add_subcommand("status", "who leads, replication lag, queues");
  auto show_arguments = add_common(show, false);
  show->footer("Example: mainstay region status --config west-1.toml");
  show->callback([show_arguments, &out] { out = status(*show_arguments); });

  CLI::App* change =
      region->add_subcommand("switch", "planned: hand over to the standby region, losing nothing");
  auto change_arguments = add_common(change, true);
  change->footer(
      "Ask the node of the region that is active now. It turns clients away, seals its log, waits until the "
      "standby\n"
      "has the same hash at the same LSN, then hands over. If the standby does not confirm, nothing "
      "changes.\n"
      "Example: mainstay region switch --config east-1.toml --reason 'maintenance'");
  change->callback(
      [change_arguments, &out] { out = command(*change_arguments, "switch", "/region/switch"); });

  CLI::App* promote = region->add_subcommand("promote", "make this node's region the active one");
  auto promote_arguments = add_common(promote, true);
  promote->add_flag("--force", promote_arguments->force,
                    "the active region is gone; its unshipped tail is recovered later");
  promote->footer(
      "Ask a node of the region that is to lead. With --force producers wait until `mainstay archive replay "
      "--missing`\n"
      "has brought in what the lost region had not shipped. Refused while the active region is connected.\n"
      "When the register was lost or put back to an older state, nobody decides anything from it: --force on "
      "the node of\n"
      "the region that led last (`region status` of each node: the highest term) writes it again. A node "
      "that "
      "still leads\n"
      "just leads on.\n"
      "Example: mainstay region promote --force --config west-1.toml --reason 'region east lost power'");
  promote->callback(
      [promote_arguments, &out] { out = command(*promote_arguments, "promote", "/region/promote"); });

  CLI::App* admit = region->add_subcommand("admit-producers", "end the recovery after a forced promotion");
  auto admit_arguments = add_common(admit, true);
  admit->footer(
      "`mainstay archive replay --missing` does this by itself when it has sent everything; use it alone "
      "only when there is\n"
      "no archive to replay.\n"
      "Example: mainstay region admit-producers --config west-1.toml --reason 'no archive in this set-up'");
  admit->callback([admit_arguments, &out] {
    out = command(*admit_arguments, "admit-producers", "/region/admit-producers");
  });
}

}  // namespace mainstay::cli
