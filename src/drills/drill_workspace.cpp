#include "drills/drill_workspace.h"

#include <fmt/format.h>

#include <filesystem>

#include "drills/tsv.h"
#include "lab/processes.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;

constexpr const char* user = "drill";
constexpr const char* password = "drill-on-loopback";
constexpr const char* group = "payments";

std::string broker_config(const Workspace& workspace, const RegionPaths& region, const RegionPaths& other) {
  return fmt::format(R"([node]
name = "{0}-1"
region = "{0}"
data = "{1}"

[amqp]
listen = "{13}:{2}"

[control]
listen = "{13}:{3}"
token = "{4}"

[replication]
listen = "{13}:{5}"
peers = ["{14}:{6}"]

[register]
file = "{7}"
group = "{8}"
initial_region = "{9}"

[[user]]
name = "{10}"
password = "{11}"

[[queue]]
name = "{12}"
requires_session = true
duplicate_detection = true
duplicate_window_s = 86400
lock_duration_s = 30
max_delivery_count = 10
)",
                     region.name, region.journal(), region.ports.amqp, region.ports.control,
                     workspace.control_token, region.ports.replication, other.ports.replication,
                     workspace.region_register(), group, workspace.east.name, user, password, drill_queue,
                     region.host, other.host);
}

std::string pipeline_config(const Workspace& workspace, const RegionPaths& region, std::string_view role) {
  return fmt::format(R"([pipeline]
region = "{0}"
worker = "{0}-{1}"
role = "{1}"

[amqp]
endpoints = ["{16}:{2}"]
user = "{3}"
password = "{4}"
queue = "{5}"

[register]
file = "{6}"
group = "{7}"

[source]
directory = "{8}"

[spool]
directory = "{9}/spool"

[archive]
directory = "{10}"

[ledger]
file = "{11}"

[destination]
directory = "{12}"
parked = "{13}"

[status]
file = "{9}/{1}.json"

[control]
endpoint = "{16}:{14}"
token = "{15}"
)",
                     region.name, role, region.ports.amqp, user, password, drill_queue,
                     workspace.region_register(), group, workspace.source(), region.directory,
                     workspace.archive(), workspace.ledger(), workspace.destination(), workspace.parked(),
                     region.ports.control, workspace.control_token, region.host);
}

}  // namespace

Result<Workspace, Failure> make_workspace(const std::string& directory, const std::string& east_host,
                                          const std::string& west_host) {
  Workspace workspace;
  workspace.directory = directory;
  workspace.control_token = "drill-control";
  const auto ports = lab::free_loopback_ports(6);
  if (!ports) return ports.error();
  workspace.east = {"east", directory + "/east", east_host, {(*ports)[0], (*ports)[1], (*ports)[2]}};
  workspace.west = {"west", directory + "/west", west_host, {(*ports)[3], (*ports)[4], (*ports)[5]}};

  std::error_code error;
  if (fs::exists(directory, error) && !fs::is_empty(directory, error))
    return Failure{directory + " is not empty: a drill needs a directory of its own"};
  for (const std::string& path :
       {workspace.east.journal(), workspace.west.journal(), workspace.east.directory + "/spool",
        workspace.west.directory + "/spool", workspace.inbox(), workspace.claimed(), workspace.quarantine(),
        workspace.parked_at_source(), workspace.archive(), workspace.destination(), workspace.parked()}) {
    fs::create_directories(path, error);
    if (error) return Failure{"cannot create " + path + ": " + error.message()};
  }
  for (const auto& [region, other] :
       {std::pair{&workspace.east, &workspace.west}, std::pair{&workspace.west, &workspace.east}})
    for (const auto& [path, content] :
         {std::pair{region->broker_config(), broker_config(workspace, *region, *other)},
          std::pair{region->builder_config(), pipeline_config(workspace, *region, "queue-builder")},
          std::pair{region->processor_config(), pipeline_config(workspace, *region, "processor")}})
      if (auto written = write_text_file(path, content); !written) return written.error();
  return workspace;
}

}  // namespace mainstay::drills
