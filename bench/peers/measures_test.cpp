#include "peers/measures.h"

#include <gtest/gtest.h>

namespace mainstay::bench {
namespace {

System system_named(const char* name) {
  System system;
  system.name = system.title = name;
  return system;
}

const Figure* figure(const Record& record, const std::string& id) {
  for (const Figure& one : record.figures) {
    if (one.id == id) return &one;
  }
  return nullptr;
}

TEST(PeerShapes, OneLuckyTryDoesNotChoose) {
  const std::vector<TriedShape> tried = {{{1, 1000}, {{500, 200, 510}}},
                                         {{1, 4000}, {{520, 530, 100}}},
                                         {{4, 1000}, {{900, 300, 310}}},
                                         {{4, 4000}, {{300, 300, 300}}}};
  EXPECT_EQ(best_of(tried).connections, 1u);
  EXPECT_EQ(best_of(tried).window, 4000u);
}

TEST(PeerShapes, OneConnectionHasItsOwnBest) {
  const std::vector<TriedShape> tried = {
      {{1, 1000}, {{50, 60, 40}}}, {{1, 4000}, {{40, 55, 45}}}, {{4, 1000}, {{90, 90, 90}}}};
  EXPECT_EQ(best_of(tried).connections, 4u);
  EXPECT_EQ(best_of_one_connection(tried).connections, 1u);
  EXPECT_EQ(best_of_one_connection(tried).window, 1000u);
}

TEST(PeerRatios, AreMadeOfOneRoundEach) {
  std::vector<System> systems;
  systems.push_back(system_named("mainstay"));
  systems.push_back(system_named("redis"));
  systems[0].samples["publish"] = {{0, 300}, {1, 100}, {2, 500}};
  systems[1].samples["publish"] = {{0, 100}, {2, 50}, {3, 1}};
  const Record record = to_record(systems, "");
  const Figure* ratio = figure(record, "peers.publish.over_redis");
  ASSERT_NE(ratio, nullptr);
  EXPECT_EQ(ratio->samples.values, (std::vector<double>{3, 10}));
  EXPECT_EQ(ratio->verdict(), Verdict::reached);
}

TEST(PeerRatios, LatencyMustBeBelowThePeers) {
  std::vector<System> systems;
  systems.push_back(system_named("mainstay"));
  systems.push_back(system_named("rabbitmq"));
  systems[0].samples["e2e_p50"] = {{0, 61}};
  systems[1].samples["e2e_p50"] = {{0, 100}};
  EXPECT_EQ(figure(to_record(systems, ""), "peers.e2e_p50.over_rabbitmq")->verdict(), Verdict::missed);
  systems[0].samples["e2e_p50"] = {{0, 60}};
  EXPECT_EQ(figure(to_record(systems, ""), "peers.e2e_p50.over_rabbitmq")->verdict(), Verdict::reached);
}

TEST(PeerRatios, APeerThatCouldNotBeMeasuredMissesItsTargets) {
  std::vector<System> systems;
  systems.push_back(system_named("mainstay"));
  systems.push_back(system_named("nats"));
  systems[0].samples["publish"] = {{0, 1000}};
  systems[1].trouble = "its Debian package is not installed";
  const Record record = to_record(systems, "");
  const Figure* ratio = figure(record, "peers.publish.over_nats");
  ASSERT_NE(ratio, nullptr);
  EXPECT_EQ(ratio->verdict(), Verdict::missed);
  EXPECT_EQ(ratio->note, "its Debian package is not installed");
}

TEST(PeerFigures, APeerThatFailsKeepsWhatWasMeasuredAndCostsTheOthersNothing) {
  std::vector<System> systems;
  for (const char* name : {"mainstay", "rabbitmq", "activemq"}) systems.push_back(system_named(name));
  systems[0].samples["publish"] = {{0, 1000}, {1, 1000}};
  systems[1].samples["publish"] = {{0, 100}};
  systems[1].trouble = "its server ended";
  systems[2].trouble = "cannot start";
  const Record record = to_record(systems, "");
  EXPECT_EQ(figure(record, "peers.publish.over_rabbitmq")->samples.values, (std::vector<double>{10}));
  ASSERT_NE(figure(record, "peers.rabbitmq.publish"), nullptr);
  EXPECT_EQ(figure(record, "peers.rabbitmq.not_measured"), nullptr);
  ASSERT_NE(figure(record, "peers.activemq.not_measured"), nullptr);
  EXPECT_EQ(figure(record, "peers.activemq.not_measured")->note, "cannot start");
  EXPECT_EQ(record.trouble, "rabbitmq: its server ended; activemq: cannot start");
  EXPECT_EQ(exit_status({record}), 2);
}

TEST(PeerRatios, PeersThatWereNotAskedForHaveNoRows) {
  std::vector<System> systems;
  systems.push_back(system_named("mainstay"));
  systems[0].samples["publish"] = {{0, 1000}};
  EXPECT_EQ(figure(to_record(systems, ""), "peers.publish.over_nats"), nullptr);
}

TEST(PeerFigures, ABrokerThatConfirmsUnsyncedIsNamed) {
  std::vector<System> systems;
  systems.push_back(system_named("mainstay"));
  systems.push_back(system_named("nats"));
  systems[0].samples["publish"] = systems[1].samples["publish"] = {{0, 1000}};
  systems[1].order.messages = 39;
  const Record record = to_record(systems, "");
  EXPECT_NE(figure(record, "peers.publish.over_nats")->note.find("does not sync"), std::string::npos);
  EXPECT_NE(comparison(systems).find("no (0 of 39 messages)"), std::string::npos);
  systems[0].order.messages = 39;
  EXPECT_EQ(figure(to_record(systems, ""), "peers.mainstay.synced_before_confirm")->verdict(),
            Verdict::missed);
}

}  // namespace
}  // namespace mainstay::bench
