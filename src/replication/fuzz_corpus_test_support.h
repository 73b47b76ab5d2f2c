// For tests that keep a fuzz target's starting points in step with the format.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/bytes.h"

namespace mainstay::replication::testing {

/// `directory`, from the source tree's root, has a packet of the kind with this number, and it is this one.
/// MAINSTAY_WRITE_CORPUS=1 writes it there first.
inline void expect_in_corpus(const std::filesystem::path& directory, std::size_t kind, BytesView packet) {
  const auto file = directory / ("kind-" + std::to_string(kind));
  if (std::getenv("MAINSTAY_WRITE_CORPUS") != nullptr) {
    std::filesystem::create_directories(directory);
    std::ofstream(file, std::ios::binary) << as_text(packet);
  }
  std::ifstream in(file, std::ios::binary);
  const std::string stored((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  EXPECT_EQ(stored, as_text(packet)) << file;
}

}  // namespace mainstay::replication::testing
