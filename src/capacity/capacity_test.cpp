#include "capacity/capacity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mainstay::capacity {
namespace {

using ::testing::HasSubstr;

Measurements measured() {
  Measurements m;
  m.sizes = {{1000, 200'000, 100'000, 4.0, 0.01}, {9000, 40'000, 20'000, 12.0, 0.05}};
  m.cores = 2;
  m.disk_bytes_per_second = 500e6;
  m.syncs_per_second = 10'000;
  m.memory = {{0, 20}, {1e6, 60}, {10e6, 150}};
  m.drain_per_second = 80'000;
  m.memory_per_queue_kib = 2;
  m.memory_per_connection_kib = 64;
  return m;
}
Load load(double bytes, double rate) {
  Load l;
  l.message_bytes = bytes;
  l.peak_rate = rate;
  l.headroom = 0;
  l.nodes_lost = 0;
  l.regions = 1;
  l.backlog_hours = 0;
  return l;
}
double limit(const Plan& plan, const std::string& name) {
  for (const Limit& each : plan.limits) {
    if (each.name == name) return each.per_second;
  }
  return -1;
}
double need(const Plan& plan, const std::string& name) {
  for (const Need& each : plan.needs) {
    if (each.name == name) return each.value;
  }
  return -1;
}

TEST(CapacityCost, LiesOnTheLineBetweenTwoMeasuredSizes) {
  const std::vector<CostPoint> points = {{1000, 10}, {3000, 30}, {5000, 40}};
  EXPECT_DOUBLE_EQ(cost_at(points, 3000).value, 30);
  EXPECT_DOUBLE_EQ(cost_at(points, 2000).value, 20);
  EXPECT_DOUBLE_EQ(cost_at(points, 4000).value, 35);
  EXPECT_THAT(cost_at(points, 4000).how, HasSubstr("between 3,000 B and 5,000 B"));
  EXPECT_DOUBLE_EQ(cost_at(points, 10).value, 10) << "never cheaper than the smallest measured";
  EXPECT_DOUBLE_EQ(cost_at(points, 10'000).value, 80);
  EXPECT_THAT(cost_at(points, 10'000).how, HasSubstr("extrapolated"));
}

TEST(CapacityPlan, EachLimitIsTheMeasuredOneForThisSize) {
  const auto p = plan(load(1000, 1000), measured());
  ASSERT_TRUE(p);
  EXPECT_DOUBLE_EQ(limit(*p, "broker as measured"), 100'000);
  EXPECT_DOUBLE_EQ(limit(*p, "CPU"), 500'000);
  EXPECT_DOUBLE_EQ(limit(*p, "disk bandwidth"), 500e6 / 1160);
  EXPECT_DOUBLE_EQ(limit(*p, "syncs"), 1'000'000);
  EXPECT_DOUBLE_EQ(limit(*p, "network"), 125e6 / 1160);
  EXPECT_TRUE(std::is_sorted(p->limits.begin(), p->limits.end(),
                             [](const Limit& a, const Limit& b) { return a.per_second < b.per_second; }));
}

TEST(CapacityPlan, TheTightestLimitDependsOnSizeAndMachine) {
  EXPECT_EQ(plan(load(1000, 1000), measured())->limits.front().name, "broker as measured");
  Load slow_network = load(1000, 1000);
  slow_network.network_mbit = 100;
  EXPECT_EQ(plan(slow_network, measured())->limits.front().name, "network");
  Load slow_disk = load(1000, 1000);
  slow_disk.disk_bytes_per_second = 20e6;
  EXPECT_EQ(plan(slow_disk, measured())->limits.front().name, "disk bandwidth");
  Measurements slow_syncs = measured();
  slow_syncs.syncs_per_second = 100;
  EXPECT_EQ(plan(load(1000, 1000), slow_syncs)->limits.front().name, "syncs");
}

TEST(CapacityPlan, GroupsCoverThePeakWithHeadroomAndNodesCoverTheLoss) {
  Load l = load(1000, 250'000);
  EXPECT_EQ(plan(l, measured())->groups, 3);
  l.headroom = 0.5;
  EXPECT_EQ(plan(l, measured())->groups, 5);
  l.nodes_lost = 1;
  l.regions = 2;
  l.network_mbit = 100'000;
  const auto p = plan(l, measured());
  EXPECT_EQ(p->groups, 5);
  EXPECT_EQ(p->nodes_per_region, 6);
  EXPECT_EQ(p->nodes, 12);
}

TEST(CapacityPlan, APeakThatJustFitsNeedsNoSecondGroup) {
  EXPECT_EQ(plan(load(1000, 100'000), measured())->groups, 1);
  EXPECT_EQ(plan(load(1000, 100'001), measured())->groups, 2);
}

TEST(CapacityPlan, DiskHoldsTheBacklogAndTheTimeToDrainItIsTold) {
  Load l = load(1000, 20'000);
  l.backlog_hours = 10;
  const auto p = plan(l, measured());
  const double messages = 20'000.0 * 36'000;
  EXPECT_NEAR(need(*p, "disk of a node"), (messages * 1160 * 1.25 + 512 * 1048576.0) / 1073741824, 0.01);
  EXPECT_NEAR(need(*p, "time to drain it, the peak going on"), messages / 60'000 / 3600, 1e-6);
  Load never = load(1000, 90'000);
  never.backlog_hours = 1;
  const auto q = plan(never, measured());
  EXPECT_EQ(need(*q, "time to drain it, the peak going on"), -1);
  EXPECT_THAT(to_text(*q, never), HasSubstr("never drained"));
}

TEST(CapacityPlan, MemoryFollowsBacklogQueuesAndConnections) {
  Load l = load(1000, 1000);
  l.queues = 1024;
  l.connections = 160;
  l.backlog_hours = 0.5;  // 1.8 M messages
  const double slope = (150.0 - 60.0) / 9;
  EXPECT_NEAR(need(*plan(l, measured()), "memory of a node"), 60 + slope * 0.8 + 2 + 10, 1e-9);
  l.backlog_hours = 0.125;  // 450,000
  EXPECT_NEAR(need(*plan(l, measured()), "memory of a node"), 20 + 40 * 0.45 + 12, 1e-9);
  l.backlog_hours = 10;  // 36 M: beyond what was measured
  EXPECT_NEAR(need(*plan(l, measured()), "memory of a node"), 150 + slope * 26 + 12, 1e-9);
  EXPECT_THAT(to_text(*plan(l, measured()), l), HasSubstr("extrapolated from the two deepest"));
  l.backlog_hours = 0.5;
  l.node_memory_mib = 64;
  const auto p = plan(l, measured());
  EXPECT_FALSE(p->fits);
  EXPECT_THAT(to_text(*p, l), HasSubstr("Hit first: memory"));
}

TEST(CapacityPlan, WhatTheRecordsLackIsSaidAndNotGuessed) {
  Measurements little;
  little.sizes = {{1000, 200'000, {}, {}, {}}};
  const auto p = plan(load(1000, 1000), little);
  ASSERT_TRUE(p);
  EXPECT_EQ(limit(*p, "CPU"), -1);
  EXPECT_EQ(limit(*p, "disk bandwidth"), -1);
  EXPECT_EQ(need(*p, "memory of a node"), -1);
  const std::string text = to_text(*p, load(1000, 1000));
  EXPECT_THAT(text, HasSubstr("CPU is left out: no record of ./dev bench publish"));
  EXPECT_THAT(text, HasSubstr("disk bandwidth is left out: no record of ./dev bench journal"));
  EXPECT_THAT(text, HasSubstr("publishing only"));
}

TEST(CapacityPlan, EveryValueOutOfItsRangeIsNamed) {
  Load l = load(0, -5);
  l.headroom = 1;
  l.regions = 3;
  l.queues = std::numeric_limits<double>::quiet_NaN();
  const auto p = plan(l, measured());
  ASSERT_FALSE(p);
  for (const char* name : {"message-bytes", "peak-rate", "headroom", "regions", "queues"})
    EXPECT_THAT(p.error().what, HasSubstr(name));
  EXPECT_TRUE(plan(load(1, 0.001), measured()));
  EXPECT_FALSE(plan(load(33.0 * 1048576, 1), measured()));
  EXPECT_FALSE(plan(load(1000, std::numeric_limits<double>::infinity()), measured()));
}

TEST(CapacityPlan, EveryFigureShowsItsCalculation) {
  const auto p = plan(load(1000, 1000), measured());
  for (const Limit& each : p->limits) EXPECT_FALSE(each.calculation.empty()) << each.name;
  for (const Need& each : p->needs) EXPECT_FALSE(each.calculation.empty()) << each.name;
  EXPECT_THAT(to_text(*p, load(1000, 1000)), HasSubstr("measured at this size"));
  EXPECT_THAT(to_json(*p, load(1000, 1000)), HasSubstr("\"hit_first\":\"broker as measured\""));
}

std::string record(const std::string& figures, const std::string& environment = "machine a") {
  return R"({"format":"mainstay-bench-1","records":[{"benchmark":"publish","environment":")" + environment +
         R"(","figures":[)" + figures + "]}]}";
}
std::string figure(const std::string& id, const std::string& samples) {
  return R"({"id":")" + id + R"(","samples":[)" + samples + "]}";
}

TEST(CapacityMeasurements, MediansComeFromTheRecordsOfOneOrMoreFiles) {
  const auto m = read_measurements(
      {{"a.json",
        record(figure("publish.rate", "1000,3000,2000") + "," + figure("publish.message_bytes", "1024") +
               "," + figure("both.rate", "1500") + "," + figure("publish.cores", "2"))},
       {"b.json",
        record(figure("publish.rate", "500") + "," + figure("publish.message_bytes", "512"), "machine b")},
       {"c.json", record(figure("large.rate", "100") + "," + figure("large.message_bytes", "1048576") + "," +
                         figure("large.bare_rate", "200") + "," + figure("journal.bare_rate_512", "100000"))},
       {"d.json",
        record(figure("backlog.idle_mib", "10") + "," + figure("backlog.memory_1m_mib", "5") + "," +
               figure("backlog.shallow_messages", "100") + "," + figure("backlog.rss_10m_mib", "40") + "," +
               figure("backlog.deep_messages", "900"))}});
  ASSERT_TRUE(m) << m.error().what;
  ASSERT_EQ(m->sizes.size(), 3U);
  EXPECT_EQ(m->sizes[0].message_bytes, 512) << "ascending";
  EXPECT_EQ(m->sizes[1].publish_per_second, 2000) << "the median";
  EXPECT_EQ(m->sizes[1].complete_per_second, 1500);
  EXPECT_EQ(m->sizes[2].publish_per_second, 100);
  EXPECT_EQ(m->cores, 2);
  EXPECT_EQ(m->disk_bytes_per_second, 200 * 1048576.0) << "the better of two ways to measure it";
  EXPECT_EQ(m->environments.size(), 2U);
  ASSERT_EQ(m->memory.size(), 3U);
  EXPECT_EQ(m->memory[1].messages, 100);
  EXPECT_EQ(m->memory[1].mib, 15) << "the record tells it above idle";
}

TEST(CapacityMeasurements, AFileThatIsNoRecordIsNamed) {
  for (const char* text : {"", "{}", "[1]", R"({"format":"other","records":[]})",
                           R"({"format":"mainstay-bench-1","records":[{"figures":3}]})",
                           R"({"format":"mainstay-bench-1","records":[7]})"}) {
    const auto m = read_measurements({{"x.json", text}});
    ASSERT_FALSE(m) << text;
    EXPECT_THAT(m.error().what, HasSubstr("x.json"));
  }
}

TEST(CapacityMeasurements, WithoutThroughputTheCommandThatMakesItIsTold) {
  for (const std::string& figures :
       {figure("journal.bare_rate_1", "100"),
        figure("publish.rate", "0") + "," + figure("publish.message_bytes", "10"),
        figure("publish.rate", "") + "," + figure("publish.message_bytes", "10"),
        figure("publish.rate", "\"x\"") + "," + figure("publish.message_bytes", "10")}) {
    const auto m = read_measurements({{"x.json", record(figures)}});
    ASSERT_FALSE(m);
    EXPECT_THAT(m.error().what, HasSubstr("./dev bench publish"));
  }
}

}  // namespace
}  // namespace mainstay::capacity
