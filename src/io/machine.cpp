#include "io/machine.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

namespace mainstay::io {
namespace {

/// The rest of the first line that begins with `name`, without separators.
std::string value_of(const std::string& path, const std::string& name) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(name)) continue;
    const std::size_t at = line.find_first_not_of(" \t:", name.size());
    return at == std::string::npos ? std::string() : line.substr(at);
  }
  return {};
}

/// " (QEMU HARDDISK)", or nothing.
std::string model_of(const std::string& directory) {
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) return {};
  const std::string device =
      "/sys/dev/block/" + std::to_string(major(status.st_dev)) + ":" + std::to_string(minor(status.st_dev));
  for (const char* where : {"/device/model", "/../device/model"}) {
    std::ifstream in(device + where);
    std::string model;
    if (!std::getline(in, model)) continue;
    model.erase(model.find_last_not_of(' ') + 1);
    if (!model.empty()) return " (" + model + ")";
  }
  return {};
}

}  // namespace

Machine this_machine() {
  Machine out;
  const std::string model = value_of("/proc/cpuinfo", "model name");
  out.cpu = std::to_string(std::thread::hardware_concurrency()) + " × " +
            (model.empty() ? "unknown processor" : model);
  out.memory_bytes = std::strtoull(value_of("/proc/meminfo", "MemTotal").c_str(), nullptr, 10) * 1024;
  utsname names{};
  if (uname(&names) == 0) out.kernel = std::string(names.sysname) + " " + names.release + " " + names.machine;
  return out;
}

std::string file_system_of(const std::string& directory) {
  std::error_code error;
  const std::string path = std::filesystem::weakly_canonical(directory, error).string();
  std::ifstream mounts("/proc/self/mounts");
  std::string best_point, best_type, best_device;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, point, type;
    if (!(fields >> device >> point >> type)) continue;
    const bool above = point == "/" || path == point || path.starts_with(point + "/");
    // The longest mount point above it; of equal ones the last, which hides the others.
    if (!above || point.size() < best_point.size()) continue;
    best_point = point;
    best_type = type;
    best_device = device;
  }
  if (best_type.empty()) return "unknown file system";
  const bool in_memory = best_type == "tmpfs" || best_type == "ramfs";
  return best_type + " on " + best_device + model_of(directory) +
         (in_memory ? ", memory: syncs cost nothing there" : "");
}

}  // namespace mainstay::io
