// Where a figure was measured: what makes two runs comparable or not.
#pragma once

#include <cstdint>
#include <string>

namespace mainstay::bench {

/// One line per fact: commit, CPU, memory, kernel, disk of `directory`, versions, kind of build. The same for
/// all benchmarks of one run, so that pages tell it once.
std::string environment_text(const std::string& directory);
/// Built with optimisation and without sanitizers: only then figures count.
bool is_optimised_build();
/// Bytes that the file system of `directory` has for us; 0 when it cannot be asked.
std::uint64_t free_bytes(const std::string& directory);

}  // namespace mainstay::bench
