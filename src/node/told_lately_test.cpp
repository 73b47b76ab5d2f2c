#include "node/told_lately.h"

#include <gtest/gtest.h>

namespace mainstay::node {
namespace {

TEST(ToldLately, TheSameIsToldOnceAMinute) {
  ToldLately told;
  const Instant begin{seconds(100).ns};
  EXPECT_EQ(told.tell("a", "a", begin), "a");
  EXPECT_EQ(told.tell("a", "a", begin + seconds(59)), std::nullopt);
  EXPECT_EQ(told.tell("b", "b", begin + seconds(59)), "b");
  EXPECT_EQ(told.tell("a", "a", begin + seconds(60)), "a");
}

TEST(ToldLately, OfABurstTheLastOneSaysThatMoreIsNotTold) {
  ToldLately told;
  EXPECT_EQ(told.tell("connected", "from :1", {}, 3), "from :1");
  EXPECT_EQ(told.tell("connected", "from :2", {}, 3), "from :2");
  EXPECT_EQ(told.tell("connected", "from :3", {}, 3), "from :3 (that much of it: no more for a minute)");
  EXPECT_EQ(told.tell("connected", "from :4", {}, 3), std::nullopt);
}

}  // namespace
}  // namespace mainstay::node
