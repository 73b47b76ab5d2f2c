#include "sim/leadership_checker.h"

namespace mainstay::sim {

void LeadershipChecker::leads(const std::string& node, std::uint64_t life, RegionTerm term) {
  const auto [entry, fresh] = leaders_.try_emplace(term, node, life);
  if (!fresh && entry->second != std::pair{node, life}) {
    report_.violated("leadership: term " + std::to_string(term.value) + " is led in by " + node +
                     " and was by " + entry->second.first);
  }
}

void LeadershipChecker::believes(const std::string& node, RegionTerm term) {
  RegionTerm& highest = highest_[node];
  if (term < highest) {
    report_.violated("leadership: " + node + " went back from term " + std::to_string(highest.value) +
                     " to " + std::to_string(term.value));
  }
  highest = term;
}

}  // namespace mainstay::sim
