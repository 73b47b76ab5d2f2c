#include "environment.h"

#include <sys/statvfs.h>

#include <boost/version.hpp>
#include <cstdlib>

#include "figures.h"
#include "io/machine.h"

namespace mainstay::bench {

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
  const io::Machine machine = io::this_machine();
  std::string out;
  out +=
      "commit    " + std::string(commit != nullptr ? commit : "unknown (start it with ./dev bench)") + "\n";
  out += "cpu       " + machine.cpu + "\n";
  out += "memory    " + readable(static_cast<double>(machine.memory_bytes) / (1U << 30)) + " GiB\n";
  out += "kernel    " + machine.kernel + "\n";
  out += "disk      " + io::file_system_of(directory) + "\n";
  out += "versions  mainstay " MAINSTAY_VERSION ", Boost " + std::to_string(BOOST_VERSION / 100000) + "." +
         std::to_string(BOOST_VERSION / 100 % 1000) + ", compiler " __VERSION__ "\n";
  out += std::string("build     ") +
         (is_optimised_build() ? "optimised, assertions on" : "NOT optimised: these figures mean nothing") +
         "\n";
  return out;
}

}  // namespace mainstay::bench
