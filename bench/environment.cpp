#include "environment.h"

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <boost/version.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <thread>

#include "figures.h"

namespace mainstay::bench {
namespace {

/// The value behind "name : value" in one of the kernel's tables.
std::string value_in(const std::string& path, const std::string& name) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (line.rfind(name, 0) != 0) continue;
    const std::size_t at = line.find_first_not_of(" \t:", name.size());
    return at == std::string::npos ? std::string() : line.substr(at);
  }
  return {};
}

std::string file_system(const std::string& directory) {
  struct statfs fs {};
  if (statfs(directory.c_str(), &fs) != 0) return "unknown file system";
  switch (static_cast<unsigned long>(fs.f_type)) {
    case 0xEF53:
      return "ext4";
    case 0x58465342:
      return "xfs";
    case 0x01021994:
      return "tmpfs (memory: syncs cost nothing here)";
    case 0x794c7630:
      return "overlay";
    case 0x9123683E:
      return "btrfs";
    default: {
      char text[32];
      std::snprintf(text, sizeof text, "type 0x%lx", static_cast<unsigned long>(fs.f_type));
      return text;
    }
  }
}

std::string block_device(const std::string& directory) {
  struct stat status {};
  if (stat(directory.c_str(), &status) != 0) return {};
  const std::string sys =
      "/sys/dev/block/" + std::to_string(major(status.st_dev)) + ":" + std::to_string(minor(status.st_dev));
  std::string name = value_in(sys + "/uevent", "DEVNAME=");
  std::string model;
  for (const char* where : {"/device/model", "/../device/model"}) {
    std::ifstream in(sys + where);
    if (std::getline(in, model) && !model.empty()) break;
  }
  if (name.empty()) return {};
  return " on " + name + (model.empty() ? "" : " (" + model + ")");
}

}  // namespace

bool is_optimised_build() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
  return false;
#else
  return true;
#endif
}

std::uint64_t free_bytes(const std::string& directory) {
  struct statvfs space {};
  if (statvfs(directory.c_str(), &space) != 0) return 0;
  return std::uint64_t{space.f_bavail} * space.f_frsize;
}

std::string environment_text(const std::string& directory) {
  const char* commit = std::getenv("MAINSTAY_COMMIT");  // ./dev bench knows it
  utsname system{};
  uname(&system);
  std::string cpu = value_in("/proc/cpuinfo", "model name");
  if (cpu.empty()) cpu = "unknown";
  const double memory_kib = std::strtod(value_in("/proc/meminfo", "MemTotal").c_str(), nullptr);
  std::string out;
  out +=
      "commit    " + std::string(commit != nullptr ? commit : "unknown (start it with ./dev bench)") + "\n";
  out += "cpu       " + std::to_string(std::thread::hardware_concurrency()) + " × " + cpu + "\n";
  out += "memory    " + readable(memory_kib / 1048576) + " GiB\n";
  out += std::string("kernel    ") + system.sysname + " " + system.release + "\n";
  out += "disk      " + file_system(directory) + block_device(directory) + "\n";
  out += "versions  mainstay " MAINSTAY_VERSION ", Boost " + std::to_string(BOOST_VERSION / 100000) + "." +
         std::to_string(BOOST_VERSION / 100 % 1000) + ", compiler " __VERSION__ "\n";
  out += std::string("build     ") +
         (is_optimised_build() ? "optimised, assertions on" : "NOT optimised: these figures mean nothing") +
         "\n";
  return out;
}

}  // namespace mainstay::bench
