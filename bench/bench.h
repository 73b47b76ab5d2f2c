// The benchmarks behind `mainstay-bench NAME` (`./dev bench NAME`). Each states its question at the top of
// its file.
#pragma once

#include <cstdint>
#include <string>

namespace mainstay::bench {

int run_publish_bench(int argc, char** argv);

std::string cpu_name();
/// Of the file system that holds `directory`.
std::string file_system(const std::string& directory);
/// Commit-independent facts that figures depend on: CPU, kernel, file system, durability.
std::string environment_header(const std::string& directory);
/// A free TCP port on loopback.
std::uint16_t free_port();

}  // namespace mainstay::bench
