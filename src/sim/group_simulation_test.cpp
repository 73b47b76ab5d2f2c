#include "sim/group_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <ostream>
#include <set>

#include "sim/shrink.h"

namespace mainstay::sim {

/// In the names of tests, which would tell its bytes, and so another name in every run.
static void PrintTo(const GroupBug& bug, std::ostream* out) {
  *out << bug.name;
}

namespace {

std::string describe(const Report& report, bool members_only) {
  std::string text = "seed " + std::to_string(report.seed) + ": " + report.options;
  for (const std::string& violation : report.violations) text += "\n  UNSAFE " + violation;
  if (!report.stuck.empty()) text += "\n  STUCK " + report.stuck;
  return text + "\n  replay: mainstay-sim --group " + (members_only ? "--members " : "") + "--trace --seed " +
         std::to_string(report.seed);
}

constexpr std::uint64_t kSeedsInOne = 500;

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

/// Four times kSeedsInOne seeds of each stage, side by side.
class GroupSimulationSeeds : public testing::TestWithParam<std::uint64_t> {};

TEST_P(GroupSimulationSeeds, MembersKeepEveryPromiseUnderEveryFault) {
  keep_every_promise(GetParam(), true);
}
TEST_P(GroupSimulationSeeds, BrokersKeepEveryPromiseUnderEveryFault) {
  keep_every_promise(GetParam(), false);
}

INSTANTIATE_TEST_SUITE_P(From, GroupSimulationSeeds, testing::Range<std::uint64_t>(0, 4));

TEST(GroupSimulation, TheSameSeedIsTheSameRun) {
  std::set<std::string> covered;
  for (const bool members_only : {true, false}) {
    for (const std::uint64_t seed : {7ULL, 8ULL, 9ULL, 10ULL, 11ULL, 12ULL, 13ULL}) {
      GroupOptions options;
      options.seed = seed;
      options.members_only = members_only;
      const Report first = simulate_group(options), second = simulate_group(options);
      EXPECT_EQ(first.digest, second.digest) << "seed " << seed;
      EXPECT_EQ(first.events, second.events) << "seed " << seed;
      EXPECT_EQ(first.reached, second.reached) << "seed " << seed;
      EXPECT_EQ(first.faults, second.faults) << "seed " << seed;
      for (const auto& [name, count] : first.faults) covered.insert(name);
      options.seed = seed + 100;
      EXPECT_NE(simulate_group(options).digest, first.digest) << "seed " << seed;
    }
  }
  // Those that touch a disk's bytes behind everybody's back, too.
  for (const char* name : {"record rotten", "write misdirected", "superblock copy rotten", "snapshot taken",
                           "connection replaced, the old one lingers", "mixed versions"})
    EXPECT_TRUE(covered.contains(name)) << name;
}

TEST(GroupSimulation, AFaultThatIsLeftOutMovesNoOther) {
  GroupOptions options;
  options.seed = 5;
  options.members_only = true;
  const Report whole = simulate_group(options);
  ASSERT_GT(whole.schedule.size(), 6U);
  const InjectedFault left_out = whole.schedule[3];
  options.faults.masked = {left_out.number};
  const Report rest = simulate_group(options);
  EXPECT_NE(rest.digest, whole.digest);
  std::map<std::uint64_t, double> when;
  for (const InjectedFault& each : whole.schedule) when[each.number] = each.seconds;
  std::size_t same = 0;
  for (const InjectedFault& each : rest.schedule) {
    EXPECT_NE(each.number, left_out.number);
    if (when.contains(each.number)) {
      EXPECT_EQ(each.seconds, when[each.number]);
      ++same;
    }
  }
  EXPECT_GT(same, 3U);

  options.faults = {};
  options.faults.without = {left_out.name};
  for (const InjectedFault& each : simulate_group(options).schedule) EXPECT_NE(each.name, left_out.name);
  options.faults = {};
  options.faults.only.emplace();
  EXPECT_TRUE(simulate_group(options).schedule.empty());
}

TEST(GroupSimulation, AFailingScheduleShrinksToOneThatStillFails) {
  const auto run = [](std::uint64_t seed, std::uint64_t operations, const FaultChoice& faults) {
    GroupOptions options;
    options.seed = seed;
    options.members_only = true;
    options.operations = operations;
    options.faults = faults;
    options.bug = group::Bug::add_before_catch_up;
    return simulate_group(options);
  };
  std::uint64_t seed = 1;
  while (run(seed, 60, {}).violations.empty()) ASSERT_LT(++seed, 2'000U);
  const Report whole = run(seed, 60, {});
  const ShrinkResult small = shrink(
      [&](std::uint64_t operations, const FaultChoice& faults) { return run(seed, operations, faults); }, 60,
      {});
  ASSERT_FALSE(small.report.violations.empty());
  EXPECT_EQ(small.report.violations.front().substr(0, 3), whole.violations.front().substr(0, 3));
  EXPECT_LT(small.operations, 60U);
  EXPECT_LT(small.report.schedule.size(), whole.schedule.size());
  const Report again = run(seed, small.operations, small.faults);
  EXPECT_EQ(again.digest, small.report.digest);
  EXPECT_EQ(again.violations, small.report.violations);
  std::printf("seed %llu: from %zu faults and 60 operations to%s --operations %llu in %u runs\n",
              static_cast<unsigned long long>(seed), whole.schedule.size(),
              command_line(small.faults).c_str(), static_cast<unsigned long long>(small.operations),
              small.runs);
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
