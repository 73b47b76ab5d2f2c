#include "peers/unsettled.h"

#include <gtest/gtest.h>

#include "peers/stamp.h"

namespace mainstay::bench {
namespace {

TEST(Unsettled, EachDeliveryIsSettledOnceInAnyOrder) {
  Unsettled open;
  for (std::uint32_t id = 0; id < 10; ++id) open.add(id);
  EXPECT_EQ(open.settle(5, 7), 3U);
  EXPECT_EQ(open.settle(0, 4), 5U);
  EXPECT_THROW(open.settle(7, 8), Trouble) << "7 is settled already";
  EXPECT_THROW(open.settle(10, 10), Trouble) << "10 was never sent";
}

TEST(Unsettled, MoreThanAreOpenIsRefusedBeforeAnythingIsCounted) {
  Unsettled open;
  open.add(0);
  EXPECT_THROW(open.settle(0, 0xffffffffU), Trouble);
  EXPECT_EQ(open.count(), 1U);
  EXPECT_EQ(open.settle(0, 0), 1U);
}

TEST(Unsettled, IdsGoOnBehindTheLargest) {
  Unsettled open;
  open.add(0xffffffffU);
  open.add(0);
  EXPECT_EQ(open.settle(0xffffffffU, 0), 2U);
  EXPECT_EQ(open.count(), 0U);
}

TEST(Unsettled, AnIdInUseIsNotGivenToAnother) {
  Unsettled open;
  open.add(3);
  EXPECT_THROW(open.add(3 + Unsettled::kMost), Trouble);
}

}  // namespace
}  // namespace mainstay::bench
