#include <fmt/format.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include <filesystem>
#include <thread>

#include "drills/report.h"
#include "drills/tsv.h"

namespace mainstay::drills {
namespace {

/// The rest of the first line that begins with `name`, without separators.
std::string value_of(const std::string& path, std::string_view name) {
  const auto text = read_text_file(path);
  if (!text) return {};
  for (std::size_t at = 0; at < text->size();) {
    const std::size_t end = std::min(text->find('\n', at), text->size());
    const std::string_view line = std::string_view(*text).substr(at, end - at);
    if (line.starts_with(name)) {
      const std::size_t from = line.find_first_not_of(" \t:", name.size());
      return from == std::string_view::npos ? std::string{} : std::string(line.substr(from));
    }
    at = end + 1;
  }
  return {};
}

/// Device and type of the file system that holds `directory`: the longest mount point above it.
std::string file_system_of(const std::string& directory) {
  std::error_code error;
  const std::string path = std::filesystem::weakly_canonical(directory, error).string();
  const auto mounts = read_text_file("/proc/self/mounts");
  if (!mounts) return "unknown file system";
  std::string best_point, best;
  for (std::size_t at = 0; at < mounts->size();) {
    const std::size_t end = std::min(mounts->find('\n', at), mounts->size());
    const std::string line = mounts->substr(at, end - at);
    at = end + 1;
    const std::size_t device_end = line.find(' '), point_end = line.find(' ', device_end + 1),
                      type_end = line.find(' ', point_end + 1);
    if (device_end == std::string::npos || point_end == std::string::npos || type_end == std::string::npos)
      continue;
    const std::string point = line.substr(device_end + 1, point_end - device_end - 1);
    const bool above = point == "/" || path == point || path.starts_with(point + "/");
    if (!above || point.size() < best_point.size()) continue;
    best_point = point;
    best = line.substr(point_end + 1, type_end - point_end - 1) + " on " + line.substr(0, device_end);
  }
  return best;
}

}  // namespace

Environment describe_environment(const std::string& directory, const std::string& version) {
  Environment environment;
  std::string cpu = value_of("/proc/cpuinfo", "model name");
  if (cpu.empty()) cpu = "unknown processor";
  environment.cpu = fmt::format("{} × {}", std::thread::hardware_concurrency(), cpu);
  const std::string memory = value_of("/proc/meminfo", "MemTotal");
  if (const auto kib = parse_number(std::string_view(memory).substr(0, memory.find(' '))))
    environment.memory = fmt::format("{:.1f} GiB", static_cast<double>(*kib) / 1048576.0);
  utsname names{};
  if (::uname(&names) == 0)
    environment.kernel = fmt::format("{} {} {}", names.sysname, names.release, names.machine);
  environment.disk = file_system_of(directory);
  struct statvfs space {};
  if (::statvfs(directory.c_str(), &space) == 0)
    environment.disk += fmt::format(", {:.1f} GiB free", static_cast<double>(space.f_bavail) *
                                                             static_cast<double>(space.f_frsize) / (1 << 30));
  environment.version = version;
  return environment;
}

}  // namespace mainstay::drills
