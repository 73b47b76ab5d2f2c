// `mainstay verify DIR --compare OTHER`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace mainstay::cli {

struct CompareArguments {
  std::string first, second;  ///< data directories
  std::optional<std::uint64_t> at;
  bool json = false;
};
/// @return the exit status
[[nodiscard]] int verify_compare(const CompareArguments& arguments);

}  // namespace mainstay::cli
