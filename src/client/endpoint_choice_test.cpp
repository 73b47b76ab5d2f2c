#include "client/endpoint_choice.h"

#include <gtest/gtest.h>

#include <iostream>
#include <map>

#include "base/clock.h"

namespace mainstay::client {
namespace {

/// What the tries do in virtual time: each takes as long as its endpoint says.
struct Walk {
  struct Try {
    std::size_t endpoint;
    Instant at;
  };
  explicit Walk(std::size_t count, ReconnectOptions options = {}, std::uint64_t seed = 7)
      : random(seed), choice(count, options, random) {}

  /// The next endpoint to be tried, with time moved on to it.
  std::size_t next() {
    while (true) {
      const auto found = choice.next(clock.now());
      if (found.endpoint) {
        tries.push_back({*found.endpoint, clock.now()});
        return *found.endpoint;
      }
      EXPECT_GT(found.wait.ns, 0) << "a wait of nothing is a busy loop";
      clock.advance(found.wait);
    }
  }
  void fails(Advice why, Duration after = {}) {
    clock.advance(after);
    choice.failed(why, clock.now());
  }
  void serves_for(Duration time) {
    choice.served(clock.now());
    clock.advance(time);
  }
  SeededRandom random;
  ManualClock clock;
  EndpointChoice choice;
  std::vector<Try> tries;
};

TEST(EndpointChoice, EndpointsAreTriedInOrderWithoutWaitInTheFirstRound) {  // H14
  Walk walk(3);
  const Instant start = walk.clock.now();
  EXPECT_EQ(walk.next(), 0U);
  walk.fails(Advice::unreachable);
  EXPECT_EQ(walk.next(), 1U);
  walk.fails(Advice::not_live);
  EXPECT_EQ(walk.next(), 2U);
  EXPECT_EQ(walk.clock.now(), start);
}

TEST(EndpointChoice, LostAfterALongServiceTheNextEndpointFollowsWithinTheFloor) {
  Walk walk(2);
  EXPECT_EQ(walk.next(), 0U);
  walk.serves_for(seconds(60));
  const Instant lost = walk.clock.now();
  walk.fails(Advice::unreachable);
  EXPECT_EQ(walk.next(), 1U);
  EXPECT_LE(walk.clock.now() - lost, ReconnectOptions{}.floor);
}

TEST(EndpointChoice, WaitsOfOneEndpointDoubleUpToTheCeilingWithFullJitter) {
  ReconnectOptions options;
  options.floor = milliseconds(100);
  options.unreachable_ceiling = milliseconds(1000);
  std::map<int, std::pair<std::int64_t, std::int64_t>> seen;  // try → shortest, longest wait
  for (std::uint64_t seed = 1; seed <= 400; ++seed) {
    Walk walk(1, options, seed);
    for (int i = 0; i < 8; ++i) {
      walk.next();
      if (i > 0) {
        const std::int64_t wait =
            (walk.tries.back().at - walk.tries[walk.tries.size() - 2].at).milliseconds();
        const auto at = seen.try_emplace(i, wait, wait).first;
        at->second.first = std::min(at->second.first, wait);
        at->second.second = std::max(at->second.second, wait);
      }
      walk.fails(Advice::unreachable);
    }
  }
  const std::int64_t most[] = {0, 200, 400, 800, 1000, 1000, 1000, 1000};
  for (int i = 1; i < 8; ++i) {
    EXPECT_GE(seen[i].first, 100) << i;
    EXPECT_LE(seen[i].second, most[i]) << i;
    EXPECT_LT(seen[i].first, 100 + (most[i] - 100) / 8) << "the whole range is used, try " << i;
    EXPECT_GT(seen[i].second, most[i] - (most[i] - 100) / 8) << "the whole range is used, try " << i;
  }
}

TEST(EndpointChoice, WaitsBeginAnewOnlyAfterAConnectionThatServedForAWhile) {
  ReconnectOptions options;
  options.floor = milliseconds(10);
  options.served_long = seconds(5);
  Walk walk(1, options);
  for (int i = 0; i < 12; ++i) {
    walk.next();
    walk.fails(Advice::unreachable);
  }
  EXPECT_EQ(walk.choice.tries(), 12U);
  walk.next();
  walk.serves_for(milliseconds(10));  // accepts, and drops us
  walk.fails(Advice::unreachable);
  EXPECT_EQ(walk.choice.tries(), 13U) << "no reset";
  walk.next();
  walk.serves_for(seconds(6));
  const Instant lost = walk.clock.now();
  walk.fails(Advice::unreachable);
  walk.next();
  EXPECT_EQ(walk.choice.tries(), 1U);
  EXPECT_LE(walk.clock.now() - lost, milliseconds(20));
}

TEST(EndpointChoice, ADeadEndpointIsAskedSeldomWhileAnotherIsAboutToLead) {
  // Two nodes: the first is frozen (each try costs 2 s), the second says "not live" for 20 s and then serves.
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    Walk walk(2, {}, seed);
    const Instant leads_at = walk.clock.now() + seconds(20);
    Duration frozen{};
    while (true) {
      if (walk.next() == 0) {
        walk.fails(Advice::silent, seconds(2));
        if (walk.clock.now() < leads_at) frozen = frozen + seconds(2);
      } else if (walk.clock.now() < leads_at) {
        walk.fails(Advice::not_live, milliseconds(1));
      } else {
        break;
      }
    }
    EXPECT_LE((walk.clock.now() - leads_at).milliseconds(), 2500 + 2000) << "seed " << seed;
    EXPECT_LT(frozen, seconds(18)) << "seed " << seed;
  }
}

TEST(EndpointChoice, ATakeoverIsNoticedWithinAThirdOfWhatItTook) {
  // The first node dies, the second says "not live" until it leads.
  for (const Duration takeover : {milliseconds(200), milliseconds(440), milliseconds(1400)}) {
    std::int64_t worst_ms = 0;
    std::size_t most_tries = 0;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
      Walk walk(2, {}, seed);
      EXPECT_EQ(walk.next(), 0U);
      walk.serves_for(seconds(60));
      const Instant died = walk.clock.now();
      walk.fails(Advice::unreachable);
      walk.tries.clear();
      while (walk.next() == 0 || walk.clock.now() - died < takeover) {
        walk.fails(walk.tries.back().endpoint == 0 ? Advice::unreachable : Advice::not_live);
      }
      worst_ms = std::max(worst_ms, (walk.clock.now() - died - takeover).milliseconds());
      most_tries = std::max(most_tries, walk.tries.size());
    }
    // A wait is a quarter of the time before it at most; the dead node's turn may come in between.
    EXPECT_LE(worst_ms, takeover.milliseconds() / 3)
        << "after a takeover of " << takeover.milliseconds() << " ms";
    EXPECT_LE(most_tries, 60U) << "and that was not bought by asking all the time";
  }
}

TEST(EndpointChoice, WhoServesForAMomentOnlyIsNotAskedWithoutEnd) {
  std::size_t tries[2];
  for (const bool serves : {false, true}) {
    Walk walk(2);
    const Instant start = walk.clock.now();
    while (walk.clock.now() - start < seconds(60)) {
      walk.next();
      if (serves) walk.serves_for(milliseconds(1));
      walk.fails(Advice::not_live);
    }
    tries[serves ? 1 : 0] = walk.tries.size();
  }
  EXPECT_LT(tries[1], 2 * tries[0]) << "not much more often than what never serves";
}

TEST(EndpointChoice, ABusyEndpointIsAskedAgainAndNoOther) {
  Walk walk(3);
  EXPECT_EQ(walk.next(), 0U);
  walk.serves_for(seconds(1));
  walk.fails(Advice::busy);
  const Instant before = walk.clock.now();
  EXPECT_EQ(walk.next(), 0U);
  EXPECT_GE(walk.clock.now() - before, ReconnectOptions{}.floor);
  walk.fails(Advice::not_live);
  EXPECT_EQ(walk.next(), 1U);
}

TEST(EndpointChoice, RefusedCredentialsAreNotTriedForEver) {
  Walk walk(2);
  walk.next();
  walk.fails(Advice::credentials);
  walk.next();
  walk.fails(Advice::unreachable);
  EXPECT_EQ(walk.choice.over(walk.clock.now()), EndpointChoice::Over::no);
  for (int i = 0; i < 100 && walk.choice.over(walk.clock.now()) == EndpointChoice::Over::no; ++i)
    walk.fails(walk.next() == 0 ? Advice::credentials : Advice::unreachable);
  EXPECT_EQ(walk.choice.over(walk.clock.now()), EndpointChoice::Over::credentials);
  EXPECT_LE(walk.tries.size(), 40U);
}

TEST(EndpointChoice, ServingInBetweenForgetsRefusals) {
  Walk walk(1);
  for (int i = 0; i < 10; ++i) {
    walk.next();
    walk.fails(Advice::credentials);
    walk.next();
    walk.serves_for(seconds(1));
    walk.fails(Advice::unreachable);
  }
  EXPECT_EQ(walk.choice.over(walk.clock.now()), EndpointChoice::Over::no);
}

TEST(EndpointChoice, GivesUpAfterAnOutageOfTheTimeToldAndNotBefore) {
  ReconnectOptions options;
  options.give_up_after = seconds(30);
  Walk walk(2, options);
  const Instant start = walk.clock.now();
  while (walk.choice.over(walk.clock.now()) == EndpointChoice::Over::no) {
    walk.next();
    walk.fails(Advice::unreachable, milliseconds(1));
  }
  EXPECT_EQ(walk.choice.over(walk.clock.now()), EndpointChoice::Over::outage);
  EXPECT_GE(walk.clock.now() - start, seconds(30));
  EXPECT_LE(walk.clock.now() - start, seconds(36));
}

TEST(EndpointChoice, ManyClientsOfADeadNodeSpreadTheirTries) {
  // 200 clients lose one node at once; the other needs 2 s to lead. No 10 ms see a tenth of all tries.
  std::map<std::int64_t, int> per_10ms;
  int tries = 0;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    Walk walk(2, {}, seed);
    walk.next();
    walk.serves_for(seconds(60));
    const Instant lost = walk.clock.now();
    walk.fails(Advice::unreachable);
    while (walk.clock.now() < lost + seconds(2)) {
      const bool second = walk.next() == 1;
      if (second && walk.clock.now() - lost >= milliseconds(200)) {
        ++per_10ms[(walk.clock.now() - lost).milliseconds() / 10];
        ++tries;
      }
      walk.fails(second ? Advice::not_live : Advice::unreachable);
    }
  }
  ASSERT_GT(tries, 200);
  for (const auto& [at, count] : per_10ms) EXPECT_LT(count, tries / 10) << at * 10 << " ms";
}

TEST(EndpointChoice, TheSameSeedGivesTheSameWalk) {
  const auto walk_of = [](std::uint64_t seed) {
    Walk walk(3, {}, seed);
    for (int i = 0; i < 50; ++i) {
      walk.next();
      walk.fails(i % 3 == 0 ? Advice::not_live : Advice::unreachable);
    }
    std::vector<std::pair<std::size_t, std::int64_t>> all;
    for (const auto& each : walk.tries) all.emplace_back(each.endpoint, each.at.ns);
    return all;
  };
  EXPECT_EQ(walk_of(1), walk_of(1));
  EXPECT_NE(walk_of(1), walk_of(2));
}

TEST(EndpointChoice, WhateverHappensALiveEndpointIsFoundSoon) {
  // Random outages in virtual time. Found: within the ceiling of what it was last known as, and the tries
  // before it.
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SeededRandom chance(seed * 977);
    const std::size_t count = 1 + chance.below(5);
    Walk walk(count, {}, seed);
    for (int outage = 0; outage < 5; ++outage) {
      const std::size_t live = chance.below(count);
      const Instant live_at =
          walk.clock.now() + milliseconds(static_cast<std::int64_t>(chance.below(60'000)));
      while (true) {
        const std::size_t at = walk.next();
        if (at == live && walk.clock.now() >= live_at) break;
        walk.fails(at == live || chance.chance(1, 2) ? Advice::not_live : Advice::unreachable,
                   milliseconds(1));
      }
      ASSERT_LE((walk.clock.now() - live_at).milliseconds(), 2000 + 500) << "seed " << seed;
      walk.serves_for(milliseconds(static_cast<std::int64_t>(chance.below(20'000))));
      walk.fails(Advice::unreachable);
    }
  }
}

TEST(AdviceTest, WhatNodesSayMeansWhatToDo) {
  EXPECT_EQ(advice_of("amqp:connection:forced"), Advice::not_live);
  EXPECT_EQ(advice_of("amqp:unauthorized-access"), Advice::credentials);
  EXPECT_EQ(advice_of("com.microsoft:server-busy"), Advice::busy);
  EXPECT_EQ(advice_of("amqp:not-found"), Advice::request);
  EXPECT_EQ(advice_of("mainstay:timeout"), Advice::silent);
  EXPECT_EQ(advice_of("somebody:something"), Advice::unreachable);
  EXPECT_TRUE(message_at_fault("amqp:link:message-size-exceeded"));
  EXPECT_FALSE(message_at_fault("com.microsoft:server-busy"));
}

}  // namespace
}  // namespace mainstay::client
