#include "io/machine.h"

#include <gtest/gtest.h>

namespace mainstay::io {
namespace {

TEST(Machine, IsToldInWords) {
  const Machine machine = this_machine();
  EXPECT_NE(machine.cpu.find(" × "), std::string::npos) << machine.cpu;
  EXPECT_GT(machine.memory_bytes, std::uint64_t{64} << 20);
  EXPECT_EQ(machine.kernel.rfind("Linux ", 0), 0U) << machine.kernel;
}

TEST(Machine, FileSystemIsThatOfTheLongestMountPointAboveADirectory) {
  EXPECT_EQ(file_system_of("/proc/self").rfind("proc on ", 0), 0U) << file_system_of("/proc/self");
  EXPECT_NE(file_system_of("/"), "unknown file system");
  EXPECT_NE(file_system_of("/").rfind("proc on ", 0), 0U);
}

}  // namespace
}  // namespace mainstay::io
