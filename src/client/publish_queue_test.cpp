#include "client/publish_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "client/settlement_memory.h"

namespace mainstay::client {
namespace {

using Kind = SendOutcome::Kind;
using Result = PublishResult::Kind;

Buffer bytes_of_text(const std::string& text) {
  const auto view = std::as_bytes(std::span(text));
  return {view.begin(), view.end()};
}

const ClientError lost{condition::lost, "cut"};

struct Bench {
  explicit Bench(PublishQueueOptions options = {}) : queue(options) {}
  /// Sends all that may go. @return their tags.
  std::vector<std::uint64_t> send(std::size_t most = 1000) {
    std::vector<std::uint64_t> tags;
    for (const PublishQueue::Item* item = nullptr;
         tags.size() < most && (item = queue.next(clock.now())) != nullptr;) {
      tags.push_back(item->tag);
      queue.sent(clock.now());
    }
    return tags;
  }
  void add(std::uint64_t from, std::uint64_t to) {
    for (; from <= to; ++from) ASSERT_TRUE(queue.add(from, bytes_of_text(std::to_string(from))));
  }
  void say(std::uint64_t tag, Kind kind, const std::string& condition = "") {
    queue.outcome({tag, kind, {condition, "told"}}, clock.now(), random);
  }
  ManualClock clock;
  SeededRandom random{11};
  PublishQueue queue;
};

using Tags = std::vector<std::uint64_t>;

TEST(PublishQueue, WhatALostLinkLeftWithoutAnswerGoesAgainInOrderBeforeAnythingNew) {  // H14
  Bench bench;
  bench.add(1, 5);
  ASSERT_TRUE(bench.queue.link_opened(seconds(600)));
  EXPECT_EQ(bench.send(4), (Tags{1, 2, 3, 4}));
  bench.say(2, Kind::accepted);
  bench.queue.link_lost(lost);
  bench.add(6, 7);
  EXPECT_EQ(bench.send(), Tags{}) << "no link";
  ASSERT_TRUE(bench.queue.link_opened(seconds(600)));
  EXPECT_EQ(bench.send(), (Tags{1, 3, 4, 5, 6, 7}));
  for (const std::uint64_t tag : Tags{1, 3, 4, 5, 6, 7}) bench.say(tag, Kind::accepted);
  const auto results = bench.queue.take_results();
  ASSERT_EQ(results.size(), 7U);
  EXPECT_EQ(results[0].tag, 2U);
  EXPECT_FALSE(results[0].earlier_unknown);
  EXPECT_TRUE(results[1].earlier_unknown);
  EXPECT_EQ(results[1].attempts, 2U);
  EXPECT_EQ(results[4].attempts, 1U);
  EXPECT_EQ(bench.queue.resent(), 3U);
  EXPECT_EQ(bench.queue.size(), 0U);
}

TEST(PublishQueue, AQueueWithoutDuplicateDetectionIsRefusedUnlessToldWhatToDo) {
  Bench strict;
  strict.add(1, 1);
  const auto refused = strict.queue.link_opened(Duration{});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().condition, condition::no_duplicate_detection);
  EXPECT_EQ(strict.send(), Tags{});
  EXPECT_TRUE(Bench().queue.link_opened(std::nullopt)) << "another broker that does not say is trusted";

  PublishQueueOptions at_most_once;
  at_most_once.on_unknown = UnknownOutcome::report;
  Bench careful(at_most_once);
  careful.add(1, 3);
  ASSERT_TRUE(careful.queue.link_opened(Duration{}));
  careful.send(2);
  careful.say(1, Kind::accepted);
  careful.queue.link_lost(lost);
  const auto told = careful.queue.take_results();
  ASSERT_EQ(told.size(), 2U);
  EXPECT_EQ(told[1].tag, 2U);
  EXPECT_EQ(told[1].kind, Result::unknown);
  EXPECT_EQ(told[1].error.condition, condition::lost);
  ASSERT_TRUE(careful.queue.link_opened(Duration{}));
  EXPECT_EQ(careful.send(), (Tags{3})) << "what is unknown is never sent again";

  PublishQueueOptions at_least_once;
  at_least_once.on_unknown = UnknownOutcome::resend_anyway;
  Bench bold(at_least_once);
  bold.add(1, 1);
  ASSERT_TRUE(bold.queue.link_opened(Duration{}));
  bold.send();
  bold.queue.link_lost(lost);
  ASSERT_TRUE(bold.queue.link_opened(Duration{}));
  EXPECT_EQ(bold.send(), (Tags{1}));
  bold.say(1, Kind::accepted);
  EXPECT_TRUE(bold.queue.take_results().at(0).earlier_unknown) << "a possible repeat is flagged";
}

TEST(PublishQueue, NothingIsSentAgainLaterThanTheQueueRemembersIds) {
  Bench bench;
  bench.add(1, 2);
  ASSERT_TRUE(bench.queue.link_opened(seconds(20)));
  bench.send(1);
  bench.queue.link_lost(lost);
  bench.clock.advance(seconds(19));
  ASSERT_TRUE(bench.queue.link_opened(seconds(20)));
  EXPECT_EQ(bench.send(1), (Tags{1}));
  bench.queue.link_lost(lost);
  bench.clock.advance(seconds(1));
  ASSERT_TRUE(bench.queue.link_opened(seconds(20)));
  EXPECT_EQ(bench.send(), (Tags{2})) << "20 s after the first attempt";
  const auto results = bench.queue.take_results();
  ASSERT_EQ(results.size(), 1U);
  EXPECT_EQ(results[0].kind, Result::unknown);
  EXPECT_EQ(results[0].error.condition, condition::window_passed);
}

TEST(PublishQueue, ARefusalForNowHoldsEverythingBehindItUntilAllOutcomesAreIn) {
  Bench bench;
  bench.add(1, 4);
  ASSERT_TRUE(bench.queue.link_opened(seconds(600)));
  EXPECT_EQ(bench.send(3), (Tags{1, 2, 3}));
  bench.say(1, Kind::accepted);
  bench.say(2, Kind::rejected, "com.microsoft:server-busy");
  bench.clock.advance(seconds(10));
  EXPECT_EQ(bench.send(), Tags{}) << "3 has no outcome yet: 4 must not overtake 2";
  bench.say(3, Kind::rejected, "com.microsoft:server-busy");
  EXPECT_EQ(bench.send(), (Tags{2, 3, 4}));
  EXPECT_FALSE(bench.queue.take_results().at(0).earlier_unknown);
}

TEST(PublishQueue, RefusalsForNowAreTriedAgainWithGrowingWaits) {
  Bench bench;
  bench.add(1, 1);
  ASSERT_TRUE(bench.queue.link_opened(seconds(600)));
  Duration longest{};
  for (int i = 0; i < 12; ++i) {
    ASSERT_EQ(bench.send(), (Tags{1}));
    bench.say(1, Kind::released);
    const auto retry = bench.queue.next_retry();
    ASSERT_TRUE(retry);
    ASSERT_GT(*retry, bench.clock.now());
    EXPECT_EQ(bench.send(), Tags{});
    longest = std::max(longest, *retry - bench.clock.now());
    bench.clock.advance(*retry - bench.clock.now());
  }
  EXPECT_GT(longest, milliseconds(200));
  EXPECT_LE(longest, seconds(2));
}

TEST(PublishQueue, AMessageAtFaultIsRejectedAndOthersGoOn) {
  Bench bench;
  bench.add(1, 2);
  ASSERT_TRUE(bench.queue.link_opened(std::nullopt));
  bench.send();
  bench.say(1, Kind::rejected, "amqp:link:message-size-exceeded");
  bench.say(2, Kind::accepted);
  const auto results = bench.queue.take_results();
  EXPECT_EQ(results[0].kind, Result::rejected);
  EXPECT_EQ(results[0].error.condition, "amqp:link:message-size-exceeded");
  EXPECT_EQ(results[1].kind, Result::confirmed);
}

TEST(PublishQueue, GivingUpTellsWhatMayBeStoredFromWhatIsNot) {
  Bench bench;
  bench.add(1, 2);
  ASSERT_TRUE(bench.queue.link_opened(std::nullopt));
  bench.send(1);
  bench.queue.give_up(lost);
  const auto results = bench.queue.take_results();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].kind, Result::unknown);
  EXPECT_EQ(results[1].kind, Result::rejected);
}

TEST(PublishQueue, ItsRoomIsBounded) {
  PublishQueueOptions small;
  small.messages_max = 2;
  Bench bench(small);
  bench.add(1, 2);
  EXPECT_FALSE(bench.queue.add(3, {}));
  PublishQueueOptions few_bytes;
  few_bytes.bytes_max = 10;
  Bench narrow(few_bytes);
  EXPECT_TRUE(narrow.queue.add(1, Buffer(100)));
  EXPECT_FALSE(narrow.queue.add(2, Buffer(1)));
}

/// A queue of a broker that detects duplicates and takes a link's messages in order; everything behind one
/// that it refuses for now is refused, too, until it ends the link. Losses at any instant: a prefix of what
/// was sent has arrived, a prefix of the answers comes back.
TEST(PublishQueue, UnderRandomLossesEverythingIsStoredOnceAndInOrder) {
  std::uint64_t losses = 0, repeats = 0, refusals = 0;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Bench bench;
    SeededRandom chance(seed);
    std::vector<std::uint64_t> stored;
    std::set<std::uint64_t> known;
    std::set<std::uint64_t> confirmed;
    std::uint64_t added = 0;
    bool open = false, refusing = false;
    std::vector<std::uint64_t> wire;                      // sent, not yet read by the broker
    std::vector<std::pair<std::uint64_t, Kind>> answers;  // said, not yet read by the client
    const std::uint64_t total = 60;
    while (confirmed.size() < total) {
      ASSERT_LT(bench.clock.now().ns, seconds(100'000).ns) << "it ends, seed " << seed;
      bench.clock.advance(milliseconds(static_cast<std::int64_t>(chance.below(30))));
      if (added < total && chance.chance(1, 2)) bench.add(added + 1, added + 1), ++added;
      if (!open) {
        ASSERT_TRUE(bench.queue.link_opened(seconds(100'000)));
        open = true;
        refusing = false;
      }
      for (const std::uint64_t tag : bench.send(1 + chance.below(8))) wire.push_back(tag);
      const auto read = [&](std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
          const std::uint64_t tag = wire[i];
          refusing = refusing || chance.chance(1, 20);
          if (refusing) {
            ++refusals;
            answers.emplace_back(tag, Kind::rejected);
          } else {
            if (known.insert(tag).second)
              stored.push_back(tag);
            else
              ++repeats;
            answers.emplace_back(tag, Kind::accepted);
          }
        }
        wire.erase(wire.begin(), wire.begin() + static_cast<std::ptrdiff_t>(count));
      };
      read(chance.below(wire.size() + 1));
      const std::size_t heard = chance.below(answers.size() + 1);
      for (std::size_t i = 0; i < heard; ++i)
        bench.say(answers[i].first, answers[i].second,
                  answers[i].second == Kind::rejected ? "com.microsoft:server-busy" : "");
      answers.erase(answers.begin(), answers.begin() + static_cast<std::ptrdiff_t>(heard));
      for (const auto& result : bench.queue.take_results()) {
        ASSERT_EQ(result.kind, Result::confirmed) << "seed " << seed;
        ASSERT_TRUE(confirmed.insert(result.tag).second) << "one result each, seed " << seed;
        ASSERT_TRUE(known.contains(result.tag)) << "confirmed and not stored, seed " << seed;
      }
      const bool detached = refusing && wire.empty() && answers.empty() && chance.chance(1, 2);
      if (detached || chance.chance(1, 15)) {
        ++losses;
        read(chance.below(wire.size() + 1));  // the broker still reads some of it
        wire.clear();
        answers.clear();
        bench.queue.link_lost(lost);
        open = false;
      }
    }
    ASSERT_EQ(stored.size(), total) << "seed " << seed;
    ASSERT_TRUE(std::is_sorted(stored.begin(), stored.end())) << "order, seed " << seed;
  }
  EXPECT_GT(losses, 1000U);
  EXPECT_GT(repeats, 1000U);
  EXPECT_GT(refusals, 1000U);
}

TEST(SettlementMemory, RecognisesByIdAndNumberTogetherAndForgetsTheOldest) {
  SettlementMemory memory(2);
  memory.unknown({"a", 1}, {SettleAs::complete, "", ""});
  EXPECT_FALSE(memory.recognise({"a", 2})) << "another message with this id";
  EXPECT_FALSE(memory.recognise({"b", 1})) << "another message with this number";
  EXPECT_TRUE(memory.recognise({"a", 1}));
  EXPECT_FALSE(memory.recognise({"a", 1})) << "once";
  memory.unknown({"a", 1}, {});
  memory.unknown({"b", 2}, {SettleAs::dead_letter, "why", "more"});
  memory.unknown({"c", 3}, {});
  EXPECT_EQ(memory.size(), 2U);
  EXPECT_FALSE(memory.recognise({"a", 1}));
  const auto dead = memory.recognise({"b", 2});
  ASSERT_TRUE(dead);
  EXPECT_EQ(dead->as, SettleAs::dead_letter);
  EXPECT_EQ(dead->reason, "why");
}

TEST(SettlementMemory, WhatIsToComeAgainOrCannotBeRecognisedIsNotRemembered) {
  SettlementMemory memory(10);
  memory.unknown({"a", 1}, {SettleAs::abandon, "", ""});
  memory.unknown({"a", 1}, {SettleAs::release, "", ""});
  memory.unknown({"", 1}, {});
  memory.unknown({"a", 0}, {});
  EXPECT_EQ(memory.size(), 0U);
}

}  // namespace
}  // namespace mainstay::client
