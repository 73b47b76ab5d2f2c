// `mainstay group reload`, `mainstay group remove`, and what a running node tells of the others.
#include "cli/group_members.h"

#include <boost/json.hpp>
#include <cmath>
#include <iomanip>
#include <iostream>

#include "cli/commands.h"
#include "cli/control_client.h"
#include "cli/exit_codes.h"
#include "cli/not_empty.h"
#include "cli/operator_name.h"

namespace mainstay::cli {
namespace {

namespace json = boost::json;

struct MemberArguments {
  std::string config, node, reason, by;
  bool force = false;
  bool json = false;
};

int command(const char* name, const MemberArguments& arguments, const std::string& target,
            json::object body) {
  const auto node = control_of(arguments.config);
  if (!node) return node.error().exit_status;
  body["by"] = arguments.by.empty() ? operator_name() : arguments.by;
  body["force"] = arguments.force;
  const auto answer = ask(*node, "POST", target, json::serialize(body), seconds(60));
  if (!answer) {
    std::cerr << "mainstay group " << name << ": " << answer.error().what << "\n";
    return kCouldNotRun;
  }
  if (arguments.json) {
    std::cout << json::serialize(*answer) << "\n";
  } else {
    std::cout << answer->at("note").as_string().c_str() << "\n";
  }
  return kOk;
}

void add_common(CLI::App& to, MemberArguments& arguments) {
  to.add_option("--by", arguments.by, "who does it; default: user and host");
  to.add_flag("--force", arguments.force, "also when fewer nodes than min_copies would be left in sync");
  to.add_flag("--json", arguments.json, "print the answer as JSON");
}

std::string mebibytes(const json::value& bytes) {
  return std::to_string(bytes.to_number<std::uint64_t>() >> 20);
}

}  // namespace

json::value live_group(const config::BrokerConfig& config) {
  const ControlEndpoint node{{config.control.listen.host, config.control.listen.port}, config.control.token};
  const auto answer = ask(node, "GET", "/status", "", seconds(3));
  if (!answer || !answer->is_object()) return nullptr;
  // Where several nodes run on one machine, another one may have the address.
  const auto* name = answer->as_object().if_contains("node");
  if (name == nullptr || !name->is_string() || name->as_string() != config.node.name) return nullptr;
  const auto* group = answer->as_object().if_contains("group");
  if (group == nullptr || !group->is_object() || !group->as_object().contains("nodes")) return nullptr;
  return *group;
}

void print_live_group(const json::value& live) {
  if (!live.is_object()) {
    std::cout << "nodes           (this node does not run: nothing is known of the others)\n";
    return;
  }
  const json::object& group = live.as_object();
  if (const auto* pace = group.if_contains("publish_pace_per_s");
      pace != nullptr && pace->to_number<double>() > 0)
    std::cout << "publishers      slowed to " << std::llround(pace->to_number<double>())
              << " messages/s while a node catches up (catch_up_publish_percent)\n";
  if (const auto* waits = group.if_contains("waits_for_operator");
      waits != nullptr && waits->is_bool() && waits->as_bool())
    std::cout
        << "PROMOTION       nothing is heard of the leader, and an operator promotes here: `mainstay group "
           "promote`\n";
  for (const json::value& node : group.at("nodes").as_array()) {
    std::cout << "node            " << node.at("name").as_string().c_str() << ": "
              << node.at("state").as_string().c_str();
    const auto lsn = node.at("lsn").to_number<std::uint64_t>();
    if (lsn != 0) std::cout << ", has the log up to LSN " << lsn;
    const json::value& copy = group.at("copy");
    const bool taking = copy.is_object() && copy.at("way").as_string() == "taking";
    if (copy.is_object() && node.at("state").as_string() == "copying") {
      std::cout << ", full copy " << (taking ? "from " : "by this node: ")
                << (taking ? std::string(copy.at("node").as_string()) + ": " : std::string())
                << copy.at("phase").as_string().c_str() << ", " << mebibytes(copy.at("bytes_done")) << " of "
                << mebibytes(copy.at("bytes_total")) << " MiB";
    }
    std::cout << "\n";
  }
}

void add_group_members(CLI::App& group, int& out) {
  auto reload_arguments = std::make_shared<MemberArguments>();
  CLI::App* reload = group.add_subcommand(
      "reload", "have a running node read [[group.node]] of its file anew, and go by it");
  reload->add_option("--config", reload_arguments->config, "the file that the node was started with")
      ->required();
  add_common(*reload, *reload_arguments);
  reload->footer(
      "The node checks the whole file as at a start and refuses it with the reasons, or takes the list of "
      "nodes "
      "over. To be\n"
      "done for every node that runs. The one that leads drops a node that is not listed any more, and takes "
      "one "
      "that was\n"
      "removed in again when it is listed. The rest of the file is read at a start.\n"
      "Exit status: 0 taken over, 2 refused (the reason is told) or the node does not answer, 78 wrong "
      "configuration.\n"
      "Example: mainstay group reload --config east-1.toml");
  reload->callback([reload_arguments, &out] {
    out = command("reload", *reload_arguments, "/group/reload", json::object{});
  });

  auto remove_arguments = std::make_shared<MemberArguments>();
  CLI::App* remove =
      group.add_subcommand("remove", "take a node out of the group: its copy no longer counts");
  remove->add_option("--config", remove_arguments->config, "configuration of the node that leads")
      ->required();
  remove->add_option("--node", remove_arguments->node, "name of the node that goes")
      ->required()
      ->check(not_empty());
  remove->add_option("--reason", remove_arguments->reason, "kept in the node's log")
      ->required()
      ->check(not_empty());
  add_common(*remove, *remove_arguments);
  remove->footer(
      "Asks the node that leads, which has the register say so: whoever leads later does not take it in "
      "either, until "
      "`mainstay\n"
      "group reload` on the node that leads, with a file that lists it. Take it out of the files of the "
      "others and "
      "reload them,\n"
      "so that no log is kept for it.\n"
      "Exit status: 0 removed, 2 refused (the reason is told) or the node does not answer, 78 wrong "
      "configuration.\n"
      "Example: mainstay group remove --config east-1.toml --node east-3 --reason 'dc-lake closes'");
  remove->callback([remove_arguments, &out] {
    out = command("remove", *remove_arguments, "/group/remove",
                  json::object{{"node", remove_arguments->node}, {"reason", remove_arguments->reason}});
  });
}

}  // namespace mainstay::cli
