#include "drills/kill_loop.h"

#include <gtest/gtest.h>

#include <set>

namespace mainstay::drills {
namespace {

using Verdict = TwinComparison::Verdict;

TEST(KillPlan, IsSpreadOverTheFlowAndSparesNobody) {
  SeededRandom random(3);
  const auto plan = plan_kills(60, 5000, 6, random);
  ASSERT_EQ(plan.size(), 60u);
  std::set<std::size_t> victims;
  std::size_t after_arrival = 0;
  for (std::size_t i = 0; i < plan.size(); ++i) {
    EXPECT_GE(plan[i].after_entered, static_cast<std::uint64_t>(5000 * 0.95 / 60 * static_cast<double>(i)));
    EXPECT_LT(plan[i].after_entered, 4750u);
    if (i > 0) {
      EXPECT_LE(plan[i - 1].after_entered, plan[i].after_entered);
    }
    EXPECT_GE(plan[i].pause, milliseconds(10));
    EXPECT_LT(plan[i].pause, milliseconds(500));
    EXPECT_LT(plan[i].victim, 6u);
    victims.insert(plan[i].victim);
    if (plan[i].after_arrival) ++after_arrival;
  }
  EXPECT_EQ(victims.size(), 6u);
  EXPECT_GT(after_arrival, 10u);
  EXPECT_LT(after_arrival, 50u);
}

TEST(KillPlan, IsTheSameForTheSameSeed) {
  const auto instants = [](std::uint64_t seed) {
    SeededRandom random(seed);
    std::vector<std::uint64_t> out;
    for (const PlannedKill& kill : plan_kills(20, 1000, 6, random))
      out.insert(out.end(), {kill.after_entered, static_cast<std::uint64_t>(kill.pause.ns), kill.victim});
    return out;
  };
  EXPECT_EQ(instants(1), instants(1));
  EXPECT_NE(instants(1), instants(2));
}

NodeView view_at(std::uint64_t durable_lsn, std::uint64_t applied_lsn) {
  NodeView view;
  view.answered = true;
  view.durable_lsn = durable_lsn;
  view.applied_lsn = applied_lsn;
  view.log_hash = "log";
  view.state_hash = "state";
  return view;
}

TEST(Twins, AreComparedOnlyAtOneLsn) {
  const NodeView live = view_at(9, 8);
  TwinComparison twins = compare_twins(live, view_at(9, 8));
  EXPECT_EQ(twins.log, Verdict::same);
  EXPECT_EQ(twins.state, Verdict::same);

  NodeView other = view_at(9, 8);
  other.log_hash = "other";
  twins = compare_twins(live, other);
  EXPECT_EQ(twins.log, Verdict::different);
  EXPECT_EQ(twins.state, Verdict::same);

  other = view_at(8, 8);
  other.log_hash = "of what came before";
  other.state_hash = "other";
  twins = compare_twins(live, other);
  EXPECT_EQ(twins.log, Verdict::unknown);
  EXPECT_EQ(twins.state, Verdict::different);
}

TEST(Twins, SilenceProvesNothing) {
  const TwinComparison twins = compare_twins(NodeView{}, NodeView{});
  EXPECT_EQ(twins.log, Verdict::unknown);
  EXPECT_EQ(twins.state, Verdict::unknown);
}

}  // namespace
}  // namespace mainstay::drills
