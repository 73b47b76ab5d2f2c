// What machine this is, in words for reports: figures mean little without it.
#pragma once

#include <cstdint>
#include <string>

namespace mainstay::io {

struct Machine {
  std::string cpu;               ///< "2 × AMD EPYC": threads and model
  std::uint64_t memory_bytes{};  ///< 0: not known
  std::string kernel;            ///< "Linux 6.1.0 x86_64"
};
[[nodiscard]] Machine this_machine();

/// Type, device and its model of the file system that holds `directory`: "ext4 on /dev/vda1 (QEMU HARDDISK)".
/// One in memory says that syncs cost nothing there. "unknown file system" when the system does not tell.
[[nodiscard]] std::string file_system_of(const std::string& directory);

}  // namespace mainstay::io
