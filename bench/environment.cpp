#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <thread>

#include "bench.h"

namespace mainstay::bench {

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

std::string file_system(const std::string& directory) {
  struct statfs fs {};
  if (statfs(directory.c_str(), &fs) != 0) return "unknown";
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
      std::ostringstream out;
      out << "type 0x" << std::hex << fs.f_type;
      return out.str();
    }
  }
}

std::string environment_header(const std::string& directory) {
  utsname system{};
  uname(&system);
  return "# mainstay " MAINSTAY_VERSION ", " + cpu_name() + ", " +
         std::to_string(std::thread::hardware_concurrency()) + " cores, " + system.sysname + " " +
         system.release + ", " + directory + " on " + file_system(directory) +
         ", every message synced before its accepted";
}

std::uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  std::uint16_t port = 0;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    port = ntohs(address.sin_port);
  }
  close(fd);
  return port;
}

}  // namespace mainstay::bench
