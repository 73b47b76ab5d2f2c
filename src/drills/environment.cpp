#include <fmt/format.h>
#include <sys/statvfs.h>

#include <boost/json.hpp>

#include "drills/report.h"
#include "io/machine.h"

namespace mainstay::drills {

Environment describe_environment(const std::string& directory, const std::string& version) {
  const io::Machine machine = io::this_machine();
  Environment environment;
  environment.cpu = machine.cpu;
  environment.kernel = machine.kernel;
  if (machine.memory_bytes > 0)
    environment.memory =
        fmt::format("{:.1f} GiB", static_cast<double>(machine.memory_bytes) / (1024.0 * 1024.0 * 1024.0));
  environment.disk = io::file_system_of(directory);
  struct statvfs space {};
  if (::statvfs(directory.c_str(), &space) == 0)
    environment.disk += fmt::format(", {:.1f} GiB free", static_cast<double>(space.f_bavail) *
                                                             static_cast<double>(space.f_frsize) / (1 << 30));
  environment.version = version;
  return environment;
}

boost::json::object json_of(const Environment& environment) {
  return {{"cpu", environment.cpu},
          {"memory", environment.memory},
          {"kernel", environment.kernel},
          {"disk", environment.disk},
          {"version", environment.version}};
}

}  // namespace mainstay::drills
