#include "coordination/gate.h"

#include <gtest/gtest.h>

#include "coordination/memory_store.h"

namespace mainstay::coordination {
namespace {

RegionRecord led_by(std::string region, Phase phase) {
  RegionRecord record;
  record.term = RegionTerm{4};
  record.region = std::move(region);
  record.phase = phase;
  record.reason = "maintenance";
  return record;
}

// P7: each phase opens exactly the steps it should.
TEST(Gate, PhaseDecidesWhichStepsAreOpen) {
  struct Row {
    Phase phase;
    bool produce, consume, replay;
  };
  for (const Row& row : {Row{Phase::active, true, true, false}, Row{Phase::switching, false, false, false},
                         Row{Phase::recovering, false, true, true}}) {
    MemoryRegister of;
    ASSERT_TRUE(of.compare_and_swap(0, led_by("east", row.phase)));
    Gate gate(of, "east");
    EXPECT_EQ(gate.ask(Step::produce).open, row.produce);
    EXPECT_EQ(gate.ask(Step::consume).open, row.consume);
    EXPECT_EQ(gate.ask(Step::replay).open, row.replay);
    for (const Step step : {Step::produce, Step::consume, Step::replay}) {
      const GateAnswer answer = gate.ask(step);
      EXPECT_TRUE(answer.sure);
      EXPECT_EQ(answer.open, answer.why.empty()) << "closed, and only then, has a reason";
      if (answer.open) {
        EXPECT_EQ(answer.term, RegionTerm{4});
      }
    }
  }
}

TEST(Gate, AnotherRegionsLeadershipClosesIt) {
  MemoryRegister of;
  ASSERT_TRUE(of.compare_and_swap(0, led_by("west", Phase::active)));
  const GateAnswer answer = Gate(of, "east").ask(Step::consume);
  EXPECT_FALSE(answer.open);
  EXPECT_TRUE(answer.sure);
  EXPECT_NE(answer.why.find("west"), std::string::npos);
}

TEST(Gate, NoLeaderYetClosesIt) {
  MemoryRegister of;
  EXPECT_FALSE(Gate(of, "east").ask(Step::produce).open);
}

TEST(Gate, NoAnswerClosesItAndSaysThatItIsNotSure) {
  MemoryRegister of;
  ASSERT_TRUE(of.compare_and_swap(0, led_by("east", Phase::active)));
  of.set_available(false);
  const GateAnswer answer = Gate(of, "east").ask(Step::consume);
  EXPECT_FALSE(answer.open);
  EXPECT_FALSE(answer.sure);
}

TEST(RegionRecord, IsBehindWhenItHoldsLessThanWasSeen) {
  RegionRecord record;
  EXPECT_FALSE(is_behind(record, RegionTerm{})) << "nobody ever led";
  EXPECT_TRUE(is_behind(record, RegionTerm{1})) << "lost";
  record.revision = 9;
  record.term = RegionTerm{3};
  EXPECT_FALSE(is_behind(record, RegionTerm{2})) << "this node has not heard of it yet";
  EXPECT_FALSE(is_behind(record, RegionTerm{3}));
  EXPECT_TRUE(is_behind(record, RegionTerm{4})) << "put back";
}

}  // namespace
}  // namespace mainstay::coordination
