// `mainstay group …`: who leads among a region's nodes, as the register and the disks say. Needs no running
// node.
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <iostream>

#include "cli/commands.h"
#include "cli/control_client.h"
#include "cli/exit_codes.h"
#include "cli/group_members.h"
#include "cli/member_reports.h"
#include "cli/not_empty.h"
#include "cli/operator_name.h"
#include "cli/register_place.h"
#include "config/broker_config.h"
#include "etcd/alive_keys.h"
#include "io/system_clock.h"

namespace mainstay::cli {
namespace {

namespace json = boost::json;
using coordination::GroupRecord;
using coordination::MemberReport;
using coordination::Stored;

struct GroupArguments {
  std::string config, leader, reason, by, to;
  std::vector<std::string> data, reports, without;
  bool yes = false;
  bool json = false;
};

std::string time_text(WallTime at) {
  const std::time_t seconds = static_cast<std::time_t>(at.ms / 1000);
  std::tm parts{};
  char text[32] = "?";
  if (gmtime_r(&seconds, &parts) != nullptr) std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string members_text(const std::set<coordination::Member>& members) {
  std::string out;
  for (const coordination::Member& member : members) out += (out.empty() ? "" : ", ") + member.text();
  return out;
}

void print_record(const GroupRecord& record) {
  std::cout << "record          epoch " << record.epoch.value << ", "
            << (record.mode == coordination::GroupMode::draining ? "draining" : "serving") << ", region term "
            << record.region_term.value << "\nleader          " << record.leader.text()
            << "\nin-sync set     " << members_text(record.isr) << "\nchanged         "
            << time_text(record.at) << " by " << record.by
            << (record.reason.empty() ? "" : ": " + record.reason) << "\n";
  for (const std::string& node : record.removed) std::cout << "removed         " << node << "\n";
}

/// The register of the configuration's group.
struct Place {
  etcd::RegisterPlace place;
  std::string group;  ///< "payments in east"
  /// A file that is not there: looking must not make it.
  bool file_is_missing = false;
  std::unique_ptr<coordination::GroupRegister> open;
};

/// A register's file that is not there may never have been made; one whose directory is not there, or cannot
/// be looked into, says nothing of the kind.
Result<bool, Failure> is_missing(const std::string& file) {
  std::error_code failed;
  const std::filesystem::file_status there = std::filesystem::status(file, failed);
  if (there.type() == std::filesystem::file_type::none)
    return Failure{"the register " + file + " cannot be looked at (" + failed.message() +
                   "); check that this user may read its directory"};
  if (std::filesystem::exists(there)) return false;
  const std::string directory = std::filesystem::path(file).parent_path().string();
  if (!std::filesystem::is_directory(directory, failed))
    return Failure{"the register " + file + " is not there, nor is its directory " + directory +
                   "; check `file` under [register], and that its file system is mounted"};
  return true;
}

Result<Place, Failure> open_place(const config::BrokerConfig& config, Clock& clock, bool may_make) {
  Place out;
  out.place = register_place(config.region_register);
  out.group = out.place.group + " in " + config.node.region;
  if (!out.place.etcd) {
    // In full: whoever compares it with another node's file need not know from where this one counts.
    std::error_code failed;
    const std::filesystem::path full = std::filesystem::absolute(out.place.file, failed);
    if (!failed) out.place.file = full.lexically_normal().string();
    auto missing = is_missing(out.place.file);
    if (!missing) return missing.error();
    out.file_is_missing = *missing;
  }
  if (out.file_is_missing && !may_make) return out;
  auto opened = etcd::open_group_register(out.place, config.node.region, clock);
  if (!opened) return Failure{opened.error().what};
  out.open = std::move(*opened);
  return out;
}

Result<Stored, Failure> look(Place& place) {
  if (place.open == nullptr) return Stored{};
  auto stored = place.open->read_raw();
  if (!stored) return Failure{stored.error().what};
  return std::move(*stored);
}

std::set<std::string> nodes_of(const config::BrokerConfig& config) {
  std::set<std::string> nodes = {config.node.name};
  if (config.group)
    for (const auto& other : config.group->others) nodes.insert(other.name);
  return nodes;
}

bool shared(const config::BrokerConfig& config) {
  return config.group && config.group->mode == config::GroupMode::shared_store;
}

std::string mode_text(const config::BrokerConfig& config) {
  return shared(config) ? "shared-store" : "replicated";
}

json::array texts(const std::vector<std::string>& from) {
  json::array out;
  for (const std::string& text : from) out.push_back(json::value(text));
  return out;
}

int no_group(const std::string& file, const char* instead) {
  std::cerr << file << ": has no [group]: this node keeps its log alone, and its region's register is "
            << instead << " by `mainstay region`\n";
  return kConfiguration;
}

json::value alive_json(const std::map<std::string, etcd::Alive>& alive) {
  json::object out;
  for (const auto& [node, it] : alive) out[node] = json::parse(etcd::encode_alive(it));
  return out;
}

int status(const GroupArguments& arguments) {
  const auto config = config::load_broker_config(arguments.config);
  if (!config) {
    std::cerr << config.error().what << "\n";
    return kConfiguration;
  }
  if (!config->group) return no_group(arguments.config, "shown");
  io::SystemClock clock;
  auto place = open_place(*config, clock, false);
  Result<Stored, Failure> there = place ? look(*place) : Result<Stored, Failure>(place.error());
  const std::string directory = arguments.data.empty() ? config->node.data : arguments.data.front();
  std::error_code ignored;
  Result<std::optional<DirectoryReport>, Failure> disk = std::optional<DirectoryReport>();
  if (!arguments.data.empty() || std::filesystem::exists(directory, ignored))
    disk = read_member_directory(directory, clock);

  std::vector<MemberReport> reports;
  if (disk && *disk) reports.push_back((*disk)->report);
  const std::string group = config->region_register.group + " in " + config->node.region;
  std::optional<GroupRecord> record;
  std::string problem;
  if (!there) {
    problem = "the register does not answer: " + there.error().what;
  } else {
    problem = coordination::register_health(*there, group, reports).what;
    if (!problem.empty())
      problem += ". Nodes decide nothing from it: see `mainstay group repair-register --help`";
    if (auto decoded = coordination::decode_group_record(there->value); there->revision != 0 && decoded)
      record = std::move(*decoded);
  }
  std::string disk_problem = disk ? std::string() : disk.error().what;
  // What a node that is started there raises its alarm over: the group has a log, and it is not here.
  if (disk && !*disk && record && shared(*config))
    disk_problem = directory + " has no log of this group, and the register holds its epoch " +
                   std::to_string(record->epoch.value) + ": is the shared storage mounted?";
  // For whoever looks; a lease that has run out proves nothing.
  std::optional<std::map<std::string, etcd::Alive>> alive;
  std::string alive_problem;
  if (auto keys = etcd::AliveKeys::of(register_place(config->region_register), config->node.region, clock);
      keys && there) {
    if (auto read = keys->read())
      alive = std::move(*read);
    else
      alive_problem = read.error().what;
  }
  const std::vector<std::string> warnings = config::layout_warnings(*config->group);
  const int exit_status = !there ? kCouldNotRun : !problem.empty() || !disk_problem.empty() ? kNotClean : kOk;

  const json::value live = live_group(*config);
  if (arguments.json) {
    json::array nodes;
    for (const std::string& node : nodes_of(*config)) nodes.push_back(json::value(node));
    std::cout
        << json::serialize(json::object{
               {"group", config->region_register.group},
               {"region", config->node.region},
               {"mode", mode_text(*config)},
               {"nodes", std::move(nodes)},
               {"register",
                {{"place", register_place(config->region_register).text()},
                 {"revision", there ? there->revision : 0},
                 {"record", record ? json::parse(coordination::encode_group_record(*record)) : json::value()},
                 {"problem", problem}}},
               {"report", reports.empty() ? json::value()
                                          : json::parse(coordination::encode_member_report(reports.front()))},
               {"report_problem", disk_problem},
               {"alive", alive ? alive_json(*alive) : json::value()},
               {"alive_problem", alive_problem},
               {"live", live},
               {"layout_warnings", texts(warnings)}})
        << "\n";
    return exit_status;
  }
  std::cout << "group           " << group << ", " << register_place(config->region_register).text() << "\n";
  std::cout << "mode            " << mode_text(*config)
            << (shared(*config) ? ": the nodes share one store, in " + config->node.data : "") << "\n";
  if (record) {
    print_record(*record);
  } else if (there && there->revision == 0) {
    std::cout << "record          none was ever written\n";
  }
  if (alive) {
    std::cout << "alive           ";
    if (alive->empty()) std::cout << "no node has told the voters so within 15 s";
    for (const auto& [node, it] : *alive)
      std::cout << (node == alive->begin()->first ? "" : ", ") << node << " (" << it.role << ", epoch "
                << it.epoch << ")";
    std::cout << "\n";
  } else if (!alive_problem.empty()) {
    std::cout << "alive           not known: " << alive_problem << "\n";
  }
  if (!disk_problem.empty()) {
    std::cout << "DISK            " << disk_problem << "\n";
  } else if (!*disk) {
    std::cout << "this disk       " << directory << " has no superblock of a group\n";
  } else {
    const MemberReport& it = (*disk)->report;
    std::cout << (shared(*config) ? "this store      " : "this disk       ") << it.member.text()
              << ": promised epoch " << it.promised.value << ", seen epoch " << it.seen.value << ", LSN "
              << (*disk)->committed.value << " committed at least";
    if (record)
      std::cout << (record->leader == it.member       ? "; the record lets it lead"
                    : record->isr.contains(it.member) ? "; in the in-sync set"
                                                      : "; not in the in-sync set");
    std::cout << "\n";
    if (!(*disk)->damaged.empty()) std::cout << "DISK            " << (*disk)->damaged << "\n";
  }
  print_live_group(live);
  for (const std::string& warning : warnings) std::cout << "LAYOUT          " << warning << "\n";
  if (!problem.empty()) std::cout << "REGISTER        " << problem << "\n";
  return exit_status;
}

bool confirmed(const coordination::RepairPlan& plan) {
  if (isatty(STDIN_FILENO) == 0) {
    std::cerr << "mainstay group repair-register: nobody is there to ask; say --yes to write it. Nothing was "
                 "changed\n";
    return false;
  }
  const std::string word = std::to_string(plan.next.epoch.value);
  std::cerr << "Write it? Type the new epoch, " << word << ", to do so: ";
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == word) return true;
  std::cerr << "Nothing was changed.\n";
  return false;
}

int refuse(const std::string& why) {
  std::cerr << "mainstay group repair-register: " << why << "\n";
  return kCouldNotRun;
}

/// The disks that were named, and this configuration's own when it is here.
Result<std::vector<MemberReport>, Failure> gather(const GroupArguments& arguments,
                                                  const config::BrokerConfig& config, Clock& clock) {
  std::vector<MemberReport> reports;
  for (const std::string& directory : arguments.data) {
    auto disk = read_member_directory(directory, clock);
    if (!disk) return disk.error();
    if (!*disk)
      return Failure{
          directory +
          " has no superblock of a group: it remembers nothing. Give the directory that the node runs with; "
          "if its disk is new, say --without with the node's name instead"};
    reports.push_back((*disk)->report);
  }
  for (const std::string& file : arguments.reports) {
    auto report = read_member_report(file);
    if (!report) return report.error();
    constexpr std::int64_t kHourMs = 3'600'000;
    if (clock.wall().ms - report->at.ms > kHourMs)
      return Failure{file + " was written at " + time_text(report->at) +
                     ", more than an hour ago: the node may have seen more since; make a new one"};
    reports.push_back(std::move(*report));
  }
  std::error_code ignored;
  if (std::filesystem::exists(config.node.data, ignored)) {
    auto own = read_member_directory(config.node.data, clock);
    if (!own) return own.error();
    if (*own) reports.push_back((*own)->report);
  }
  return reports;
}

/// What the node of the configuration, if it runs, lets suspect: that the nodes use another register than
/// this file names. Nodes that lack their register's newest state refuse it and wait for a repair. Empty:
/// nothing.
std::string served_by_another(const config::BrokerConfig& config, const etcd::RegisterPlace& place) {
  const json::value live = live_group(config);
  if (!live.is_object()) return {};
  const json::object& group = live.as_object();
  const auto text = [&](const char* key) {
    const auto* value = group.if_contains(key);
    return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
  };
  const auto* refused = group.if_contains("register_refused");
  const bool refuses = refused == nullptr || !refused->is_bool() || refused->as_bool();
  if (refuses || text("leader").empty()) return {};
  const std::string problem = text("problem");
  return "a leader is serving: node " + config.node.name + " runs, says that node " + text("leader") +
         " leads, and does not refuse its register. If that one still answers, it is another one than " +
         place.text() + ": check that " + (place.etcd ? "`address` of each [[register.voter]]" : "`file`") +
         " under [register] is the same " + (place.etcd ? "" : "path ") +
         "in every node's file before this is written" +
         (problem.empty() ? "" : " (the last problem that the node tells: " + problem + ")");
}

int repair(const GroupArguments& arguments) {
  const auto config = config::load_broker_config(arguments.config);
  if (!config) {
    std::cerr << config.error().what << "\n";
    return kConfiguration;
  }
  if (!config->group) return no_group(arguments.config, "changed");
  io::SystemClock clock;
  coordination::RepairRequest request;
  auto reports = gather(arguments, *config, clock);
  if (!reports) return refuse(reports.error().what);
  request.reports = std::move(*reports);
  // Only a repair that was not refused may make a register's file: look first.
  auto place = open_place(*config, clock, false);
  if (!place) return refuse(place.error().what);
  const auto there = look(*place);
  if (!there) return refuse(there.error().what + ". Repair needs a register that answers");
  request.group = place->group;
  request.there = *there;
  request.nodes = nodes_of(*config);
  request.one_store = shared(*config);
  request.without = {arguments.without.begin(), arguments.without.end()};
  request.leader = arguments.leader;
  request.by = arguments.by.empty() ? operator_name() : arguments.by;
  request.reason = arguments.reason;
  request.now = clock.wall();
  auto plan = coordination::plan_repair(request);
  if (!plan) return refuse(plan.error().what);
  if (place->file_is_missing)
    plan->findings.push_back("there is no file " + place->place.file +
                             ": it would be made, and is the register only of nodes that name the same one");
  if (std::string warning = served_by_another(*config, place->place); !warning.empty())
    plan->warnings.push_back(std::move(warning));

  if (!arguments.json) {
    std::cout << "group           " << place->group << ", " << place->place.text() << "\n";
    for (const MemberReport& it : request.reports)
      std::cout << "looked at       " << it.member.text() << " in " << it.from << ": promised epoch "
                << it.promised.value << ", seen epoch " << it.seen.value << " (" << time_text(it.at) << ")\n";
    for (const std::string& node : request.without)
      std::cout << "gone            " << node << ", by your word\n";
    for (const std::string& finding : plan->findings) std::cout << "found           " << finding << "\n";
    std::cout << "highest         epoch " << plan->highest.value << "; this will be written to "
              << place->place.text() << ":\n";
    print_record(plan->next);
    for (const std::string& warning : plan->warnings) std::cout << "WARNING         " << warning << "\n";
    std::cout << std::flush;
  }
  if (!arguments.yes && !confirmed(*plan)) return kCouldNotRun;
  if (place->open == nullptr) {
    auto made = open_place(*config, clock, true);
    if (!made) return refuse(made.error().what);
    *place = std::move(*made);
  }
  const auto done = place->open->repair(plan->revision, plan->next);
  if (!done) return refuse(done.error().what + ". Nothing was changed");
  coordination::CasOutcome outcome = *done;
  if (outcome == coordination::CasOutcome::unknown) {
    const auto now = look(*place);
    if (now && now->value == coordination::encode_group_record(plan->next))
      outcome = coordination::CasOutcome::won;
  }
  if (outcome == coordination::CasOutcome::unknown)
    return refuse(
        "the register did not say whether it was written: it may be, or may still become so. Run `mainstay "
        "group status`, and repair again if epoch " +
        std::to_string(plan->next.epoch.value) + " is not there");
  if (outcome == coordination::CasOutcome::lost)
    return refuse(
        "somebody changed the register meanwhile. Nothing was changed; look with `mainstay group status`");
  if (arguments.json) {
    std::cout << json::serialize(
                     json::object{{"record", json::parse(coordination::encode_group_record(plan->next))},
                                  {"highest_epoch", plan->highest.value},
                                  {"place", place->place.text()},
                                  {"findings", texts(plan->findings)},
                                  {"warnings", texts(plan->warnings)}})
              << "\n";
  } else {
    std::cout << "written: epoch " << plan->next.epoch.value << ". The nodes go on by themselves\n";
  }
  return kOk;
}

/// Asks the node of the configuration, with who and why added to `body`, and tells its answer.
int command_node(const GroupArguments& arguments, const std::string& command, json::object body,
                 const std::function<std::string(const json::value&)>& in_words) {
  const auto node = control_of(arguments.config);
  if (!node) return node.error().exit_status;
  body["by"] = arguments.by.empty() ? operator_name() : arguments.by;
  body["reason"] = arguments.reason;
  const auto answer = ask(*node, "POST", "/group/" + command, json::serialize(body), seconds(60));
  if (!answer) {
    std::cerr << "mainstay group " << command << ": " << answer.error().what << "\n";
    return kCouldNotRun;
  }
  std::cout << (arguments.json ? json::serialize(*answer) : in_words(*answer)) << "\n";
  return kOk;
}

int move_lead(const GroupArguments& arguments) {
  return command_node(arguments, "switch", {{"to", arguments.to}}, [&](const json::value& answer) {
    return "node " + arguments.to + " leads: everything up to LSN " +
           std::to_string(answer.at("lsn").to_number<std::uint64_t>()) + " was confirmed and on its disk";
  });
}

int promote(const GroupArguments& arguments) {
  return command_node(arguments, "promote", {}, [](const json::value& answer) {
    return std::string(answer.at("note").as_string()) + ", with everything that was ever confirmed";
  });
}

}  // namespace

void add_group(CLI::App& app, int& out) {
  CLI::App* group = app.add_subcommand("group", "which node of a region leads, and whose copies count");
  group->require_subcommand(1);
  group->footer(
      "Exit status: 0 done, 1 register or disk is not well (told), 2 refused, or the register does not "
      "answer,\n"
      "             78 wrong configuration.");

  auto show_arguments = std::make_shared<GroupArguments>();
  CLI::App* show =
      group->add_subcommand("status", "what the register says, and what this node's disk remembers");
  show->add_option("--config", show_arguments->config, "configuration of a node of the group")->required();
  show->add_option("--data", show_arguments->data, "data directory to look at; default: the configuration's")
      ->expected(1);
  show->add_flag("--json", show_arguments->json, "print one JSON object");
  show->footer(
      "Asks the register, reads the disk, and asks the node itself when it runs (who is in sync, catching "
      "up, "
      "copying,\n"
      "away); needs no running node and changes nothing.\n"
      "Exit status: 0 well; 1 the register is behind what the disk has seen or holds what is no record, the\n"
      "             disk's superblock is damaged, or the shared store has no log and the register has a "
      "record;\n"
      "             2 the register does not answer, or the directory of its file is not there (what the disk "
      "says is\n"
      "             shown all the same); 78 wrong configuration, or one without [group].\n"
      "Examples:\n"
      "  mainstay group status --config east-1.toml\n"
      "  mainstay group status --config east-2.toml --json > east-2.json     a report for repair-register");
  show->callback([show_arguments, &out] { out = status(*show_arguments); });

  auto move_arguments = std::make_shared<GroupArguments>();
  CLI::App* move = group->add_subcommand("switch", "planned: give the lead to another node that is in sync");
  move->add_option("--config", move_arguments->config, "configuration of the node that leads now")
      ->required();
  move->add_option("--to", move_arguments->to, "name of the node that is to lead")
      ->required()
      ->check(not_empty());
  move->add_option("--reason", move_arguments->reason, "kept in the node's log");
  move->add_option("--by", move_arguments->by, "who does it; default: user and host");
  move->add_flag("--json", move_arguments->json, "print the answer as JSON");
  move->footer(
      "Asks the node that leads. It sends its clients on, waits until everything it took is confirmed and on "
      "the\n"
      "other node's disk, and tells that one to take over. If it does not, this node leads on.\n"
      "Exit status: 0 moved; 2 refused (the reason is told), the lead stayed, or the node does not answer; "
      "78 wrong\n"
      "             configuration.\n"
      "Example: mainstay group switch --config east-1.toml --to east-2 --reason 'kernel update'");
  move->callback([move_arguments, &out] { out = move_lead(*move_arguments); });

  auto promote_arguments = std::make_shared<GroupArguments>();
  CLI::App* promotion =
      group->add_subcommand("promote", "unplanned: a backup leads in the place of a leader that is gone");
  promotion->add_option("--config", promote_arguments->config, "configuration of the node that is to lead")
      ->required();
  promotion
      ->add_option("--reason", promote_arguments->reason,
                   "what happened: kept in the node's log, and in the register until the next change")
      ->required()
      ->check(not_empty());
  promotion->add_option("--by", promote_arguments->by, "who does it; default: user and host");
  promotion->add_flag("--json", promote_arguments->json, "print the answer as JSON");
  promotion->footer(
      "For groups with promotion = \"operator\"; in others a backup does by itself what this asks of it. The "
      "node must run,\n"
      "hear nothing of its leader, and be in the in-sync set by the register: then it has everything that "
      "was "
      "ever\n"
      "confirmed, and the former leader, should it live, can confirm nothing more. It needs the register.\n"
      "Exit status: 0 it leads; 2 refused (the reason is told), another node leads, or it is not known yet; "
      "78 wrong\n"
      "             configuration.\n"
      "Example: mainstay group promote --config east-2.toml --reason 'dc-north has no power'");
  promotion->callback([promote_arguments, &out] { out = promote(*promote_arguments); });
  add_group_members(*group, out);

  auto arguments = std::make_shared<GroupArguments>();
  CLI::App* mend = group->add_subcommand(
      "repair-register", "write the record anew after the register was lost or put back to an older copy");
  mend->add_option("--config", arguments->config, "configuration of a node of the group")->required();
  mend->add_option("--data", arguments->data,
                   "data directories of nodes that are here; the configuration's own is read by itself");
  mend->add_option("--report", arguments->reports,
                   "for the other nodes: output of `mainstay group status --json` on their machines");
  mend->add_option("--without", arguments->without,
                   "this node's disk, as the record names it, is gone for good: what only it had is lost");
  mend->add_option("--leader", arguments->leader, "who shall lead; needed only when it says so");
  mend->add_option("--reason", arguments->reason, "kept in the register: what happened to it")
      ->required()
      ->check(not_empty());
  mend->add_option("--by", arguments->by, "who does it; default: user and host");
  mend->add_flag("--yes", arguments->yes, "write without asking");
  mend->add_flag("--json", arguments->json, "print the result as JSON; with --yes");
  mend->footer(
      "Nodes that have seen a higher epoch than the register holds decide nothing from it. Find out first "
      "what happened\n"
      "to it; if its newest data can still be put back, do that instead. Else this looks at every node's "
      "disk, shows the\n"
      "highest epoch found, the record it would write and where, asks, and writes it under the epoch after "
      "(with "
      "--without far\n"
      "above: that disk may have used epochs nobody else has heard of). A register that is\n"
      "as new as everything seen, or newer, is left alone. A WARNING says when this configuration's node "
      "runs, knows a\n"
      "leader and does not refuse its register: this file may name another one than the nodes use. "
      "docs/groups.md\n"
      "explains each refusal.\n"
      "Exit status: 0 written; 2 refused or not confirmed, and nothing changed (or: the outcome is unknown, "
      "told); 64\n"
      "             wrong command line; 78 wrong configuration.\n"
      "Examples:\n"
      "  mainstay group repair-register --config east-1.toml --report east-2.json --reason 'etcd restored "
      "from noon'\n"
      "  mainstay group repair-register --config east-2.toml --without east-1 --reason 'fire in dc-north' "
      "--yes");
  mend->callback([arguments, &out] {
    if (arguments->json && !arguments->yes) {
      std::cerr << "mainstay group repair-register: --json asks nobody: give --yes with it\n";
      out = kUsage;
      return;
    }
    out = repair(*arguments);
  });
}

}  // namespace mainstay::cli
