// Which of the faults that a seed draws are left out: to find the few that a failure needs.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>

namespace mainstay::sim {

/// Faults are numbered in the order in which a seed draws them; what is left out keeps its number, and the
/// others stay what they were and when they were.
struct FaultChoice {
  std::set<std::string> without;                ///< whole classes, by their name in Report::faults
  std::set<std::uint64_t> masked;               ///< single ones
  std::optional<std::set<std::uint64_t>> only;  ///< all others are left out

  [[nodiscard]] bool allows(std::uint64_t number, const std::string& name) const {
    return !without.contains(name) && !masked.contains(number) && (!only || only->contains(number));
  }
};

}  // namespace mainstay::sim
