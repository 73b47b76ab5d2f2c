#include "sim/group_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>

namespace mainstay::sim {
namespace {

std::string describe(const Report& report, bool members_only) {
  std::string text = "seed " + std::to_string(report.seed) + ": " + report.options;
  for (const std::string& violation : report.violations) text += "\n  UNSAFE " + violation;
  if (!report.stuck.empty()) text += "\n  STUCK " + report.stuck;
  return text + "\n  replay: mainstay-sim --group " + (members_only ? "--members " : "") + "--trace --seed " +
         std::to_string(report.seed);
}

constexpr std::uint64_t kSeedsInOne = 250;

void keep_every_promise(std::uint64_t part, bool members_only) {
  std::map<std::string, std::uint64_t> faults, reached;
  for (std::uint64_t i = 1; i <= kSeedsInOne; ++i) {
    GroupOptions options;
    options.seed = part * kSeedsInOne + i;
    options.members_only = members_only;
    const Report report = simulate_group(options);
    ASSERT_TRUE(report.violations.empty() && report.stuck.empty()) << describe(report, members_only);
    for (const auto& [name, count] : report.faults) faults[name] += count;
    for (const auto& [name, count] : report.reached) reached[name] += count;
  }
  for (const std::string& name : group_fault_classes(members_only))
    EXPECT_GT(faults[name], 0U) << name << " was never injected";
  for (const std::string& name : group_probes(members_only))
    EXPECT_GT(reached[name], 0U) << name << " was never reached";
}

/// Eight times kSeedsInOne seeds of each stage, side by side.
class GroupSimulationSeeds : public testing::TestWithParam<std::uint64_t> {};

TEST_P(GroupSimulationSeeds, MembersKeepEveryPromiseUnderEveryFault) {
  keep_every_promise(GetParam(), true);
}
TEST_P(GroupSimulationSeeds, BrokersKeepEveryPromiseUnderEveryFault) {
  keep_every_promise(GetParam(), false);
}

INSTANTIATE_TEST_SUITE_P(From, GroupSimulationSeeds, testing::Range<std::uint64_t>(0, 8));

TEST(GroupSimulation, TheSameSeedIsTheSameRun) {
  for (const bool members_only : {true, false}) {
    GroupOptions options;
    options.seed = 7;
    options.members_only = members_only;
    const Report first = simulate_group(options), second = simulate_group(options);
    EXPECT_EQ(first.digest, second.digest);
    EXPECT_EQ(first.events, second.events);
    EXPECT_EQ(first.reached, second.reached);
    options.seed = 8;
    EXPECT_NE(simulate_group(options).digest, first.digest);
  }
}

/// A bug is found within so many seeds, or the simulator is blind to it.
class GroupSimulationFinds : public testing::TestWithParam<GroupBug> {};

TEST_P(GroupSimulationFinds, Bug) {
  const GroupBug& bug = GetParam();
  // What needs a broker is found sooner: its checkers look at what is shown and stored, not at what comes of
  // it.
  const std::uint64_t seeds = bug.members_only ? 2'000 : 200;
  for (std::uint64_t seed = bug.from_seed; seed < bug.from_seed + seeds; ++seed) {
    GroupOptions options;
    options.seed = seed;
    options.bug = bug.bug;
    options.members_only = bug.members_only;
    const Report report = simulate_group(options);
    if (report.violations.empty()) continue;
    std::printf("%s: found with seed %llu: %s\n", bug.name.c_str(), static_cast<unsigned long long>(seed),
                report.violations.front().c_str());
    return;
  }
  FAIL() << bug.name << " was not found in " << seeds << " seeds from " << bug.from_seed;
}

INSTANTIATE_TEST_SUITE_P(Resurrected, GroupSimulationFinds, testing::ValuesIn(group_bugs()),
                         [](const auto& resurrected) {
                           std::string name = resurrected.param.name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace mainstay::sim
