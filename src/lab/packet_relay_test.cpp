#include "lab/packet_relay.h"

#include <gmock/gmock.h>

#include <string>

namespace mainstay::lab {
namespace {

using Fate = PacketRelay::Fate;
using ::testing::ElementsAre;

Buffer packet(std::uint8_t content) {
  return Buffer(1, std::byte{content});
}
constexpr Instant start{1'000'000'000};

class Relay : public ::testing::Test {
 protected:
  std::vector<int> arrived_until(Instant now) {
    std::vector<int> contents;
    while (const auto delivery = relay.take_due(now))
      contents.push_back(std::to_integer<int>(delivery->packet[0]));
    return contents;
  }
  PacketRelay relay{3, 7};
};

TEST_F(Relay, AnUndisturbedLinkHandsOverAtOnce) {
  EXPECT_EQ(relay.enter(0, 1, packet(1), start), Fate::hand_over);
  EXPECT_EQ(relay.counts(0, 1), (LinkCounts{.carried = 1}));
  EXPECT_FALSE(relay.next_due());
}

TEST_F(Relay, ACutIsOneWay) {
  relay.set_rules(0, 1, {.cut = true});
  EXPECT_EQ(relay.enter(0, 1, packet(1), start), Fate::drop);
  EXPECT_EQ(relay.enter(1, 0, packet(1), start), Fate::hand_over);
  EXPECT_EQ(relay.enter(0, 2, packet(1), start), Fate::hand_over);
  EXPECT_EQ(relay.counts(0, 1), (LinkCounts{.cut = 1}));
}

TEST_F(Relay, WhatIsOnItsWayArrivesInSpiteOfALaterCut) {
  relay.set_rules(0, 1, {.delay = milliseconds(5)});
  EXPECT_EQ(relay.enter(0, 1, packet(1), start), Fate::keep);
  relay.set_rules(0, 1, {.cut = true});
  EXPECT_EQ(*relay.next_due(), start + milliseconds(5));
  EXPECT_THAT(arrived_until(start + microseconds(4'999)), ElementsAre());
  EXPECT_THAT(arrived_until(start + milliseconds(5)), ElementsAre(1));
}

TEST_F(Relay, JitterKeepsTheOrderUnlessToldOtherwise) {
  relay.set_rules(0, 1, {.jitter = milliseconds(200)});
  std::vector<int> in_order;
  for (int i = 0; i < 100; ++i) {
    EXPECT_NE(relay.enter(0, 1, packet(static_cast<std::uint8_t>(i)), start + microseconds(i)), Fate::drop);
    in_order.push_back(i);
  }
  EXPECT_EQ(arrived_until(start + milliseconds(201)), in_order);
  relay.set_rules(0, 1, {.jitter = milliseconds(200), .reorders = true});
  const Instant later = start + seconds(1);
  for (int i = 0; i < 100; ++i)
    EXPECT_NE(relay.enter(0, 1, packet(static_cast<std::uint8_t>(i)), later), Fate::drop);
  const std::vector<int> shuffled = arrived_until(later + milliseconds(201));
  EXPECT_EQ(shuffled.size(), 100u);
  EXPECT_NE(shuffled, in_order);
}

TEST_F(Relay, APacketNeverOvertakesOneThatStillWaitsUnderOlderRules) {
  relay.set_rules(0, 1, {.delay = milliseconds(100)});
  EXPECT_EQ(relay.enter(0, 1, packet(1), start), Fate::keep);
  relay.set_rules(0, 1, {});
  EXPECT_EQ(relay.enter(0, 1, packet(2), start + milliseconds(1)), Fate::keep);
  EXPECT_THAT(arrived_until(start + milliseconds(100)), ElementsAre(1, 2));
}

TEST_F(Relay, LossTakesItsShareAndTheSameSeedLosesTheSamePackets) {
  const auto lost = [](std::uint64_t seed) {
    PacketRelay lossy(2, seed);
    lossy.set_rules(0, 1, {.loss = 0.3});
    std::string fates;
    for (int i = 0; i < 10'000; ++i) fates += lossy.enter(0, 1, packet(1), start) == Fate::drop ? 'x' : '.';
    EXPECT_EQ(lossy.counts(0, 1).lost + lossy.counts(0, 1).carried, 10'000u);
    return fates;
  };
  const std::string one = lost(7);
  EXPECT_NEAR(static_cast<double>(std::count(one.begin(), one.end(), 'x')), 3'000.0, 200.0);
  EXPECT_EQ(one, lost(7));
  EXPECT_NE(one, lost(8));
}

TEST_F(Relay, AFullLinkLosesInsteadOfGrowing) {
  relay.set_rules(0, 1, {.delay = seconds(1)});
  for (std::size_t i = 0; i < PacketRelay::waiting_max; ++i)
    ASSERT_EQ(relay.enter(0, 1, packet(1), start), Fate::keep);
  EXPECT_EQ(relay.enter(0, 1, packet(1), start), Fate::drop);
  EXPECT_EQ(relay.counts(0, 1).lost, 1u);
}

}  // namespace
}  // namespace mainstay::lab
