#include "sim/group_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>

namespace mainstay::sim {
namespace {

std::string describe(const Report& report) {
  std::string text = "seed " + std::to_string(report.seed) + ": " + report.options;
  for (const std::string& violation : report.violations) text += "\n  UNSAFE " + violation;
  if (!report.stuck.empty()) text += "\n  STUCK " + report.stuck;
  return text + "\n  replay: mainstay-sim --group --trace --seed " + std::to_string(report.seed);
}

constexpr std::uint64_t kSeedsInOne = 250;

/// Eight times kSeedsInOne seeds, side by side.
class GroupSimulationSeeds : public testing::TestWithParam<std::uint64_t> {};

TEST_P(GroupSimulationSeeds, KeepEveryPromiseUnderEveryFault) {
  std::map<std::string, std::uint64_t> faults, reached;
  for (std::uint64_t i = 1; i <= kSeedsInOne; ++i) {
    GroupOptions options;
    options.seed = GetParam() * kSeedsInOne + i;
    const Report report = simulate_group(options);
    ASSERT_TRUE(report.violations.empty() && report.stuck.empty()) << describe(report);
    for (const auto& [name, count] : report.faults) faults[name] += count;
    for (const auto& [name, count] : report.reached) reached[name] += count;
  }
  for (const std::string& name : group_fault_classes())
    EXPECT_GT(faults[name], 0U) << name << " was never injected";
  for (const std::string& name : group_probes()) EXPECT_GT(reached[name], 0U) << name << " was never reached";
}

INSTANTIATE_TEST_SUITE_P(From, GroupSimulationSeeds, testing::Range<std::uint64_t>(0, 8));

TEST(GroupSimulation, TheSameSeedIsTheSameRun) {
  GroupOptions options;
  options.seed = 7;
  const Report first = simulate_group(options), second = simulate_group(options);
  EXPECT_EQ(first.digest, second.digest);
  EXPECT_EQ(first.events, second.events);
}

/// A bug is found within so many seeds, or the simulator is blind to it.
class GroupSimulationFinds : public testing::TestWithParam<std::pair<std::string, group::Bug>> {};

TEST_P(GroupSimulationFinds, Bug) {
  constexpr std::uint64_t kSeeds = 2'000;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    GroupOptions options;
    options.seed = seed;
    options.bug = GetParam().second;
    const Report report = simulate_group(options);
    if (report.violations.empty()) continue;
    std::printf("%s: found with seed %llu: %s\n", GetParam().first.c_str(),
                static_cast<unsigned long long>(seed), report.violations.front().c_str());
    return;
  }
  FAIL() << GetParam().first << " was not found in " << kSeeds << " seeds";
}

INSTANTIATE_TEST_SUITE_P(Resurrected, GroupSimulationFinds, testing::ValuesIn(group_bugs()),
                         [](const auto& resurrected) {
                           std::string name = resurrected.param.first;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace mainstay::sim
