// What a simulation found.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace mainstay::sim {

/// A fault that was injected.
struct InjectedFault {
  std::uint64_t number{};  ///< sim/fault_choice.h
  double seconds{};        ///< of virtual time
  std::string name;
};

struct Report {
  std::uint64_t seed{};
  std::string options;                          ///< drawn and given ones, in words
  std::map<std::string, std::uint64_t> faults;  ///< how often each class was injected
  std::vector<InjectedFault> schedule;
  std::map<std::string, std::uint64_t> reached;       ///< how often a path worth reaching was reached
  std::vector<std::string> violations;                ///< of safety
  std::vector<std::string> lost_in_forced_promotion;  ///< acknowledged ids from an unshipped tail
  std::string stuck;  ///< why it did not end well after all faults healed; empty = it did
  std::uint64_t published{}, completed{};
  std::uint64_t events{};
  double virtual_seconds{};
  std::uint64_t digest{};

  void violated(std::string what) {
    constexpr std::size_t kKept = 20;
    if (violations.size() < kKept && (violations.empty() || violations.back() != what))
      violations.push_back(std::move(what));
  }
};

}  // namespace mainstay::sim
