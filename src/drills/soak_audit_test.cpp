#include "drills/soak_audit.h"

#include <gtest/gtest.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "drills/soak_message.h"
#include "lab/test_directory.h"

namespace mainstay::drills {
namespace {

using Finding = SoakFinding::Kind;
using How = Fact::How;
using Kind = Fact::Kind;
using Outcome = Fact::Outcome;

constexpr std::int64_t start_ms = 1'700'000'000'000;
constexpr std::int64_t lock_ms = 1000;

/// A history told step by step, as clients would have written it; time passes when told.
class Tale {
 public:
  Tale() {
    Fact rules;
    rules.kind = Kind::queue;
    rules.lock_ms = lock_ms;
    rules.deliveries_max = 3;
    for (const char* name : names) {
      rules.queue = name;
      rules.requires_session = rules.queue == "sessions";
      rules.dead_letter_on_expiry = rules.queue == "expiring";
      tell(rules);
    }
  }

  Tale& wait(std::int64_t ms) {
    now_ms += ms;
    return *this;
  }

  Tale& sent(const std::string& id, const std::string& session = "", std::uint64_t order = 0,
             std::int64_t ttl_ms = 0) {
    Fact fact;
    fact.kind = Kind::sent;
    fact.queue = queue;
    fact.id = id;
    fact.session = session;
    fact.order = order;
    fact.bytes = 10;
    fact.checksum = 77;
    fact.ttl_ms = ttl_ms;
    return tell(fact);
  }
  Tale& published(const std::string& id, Outcome outcome = Outcome::confirmed) {
    Fact fact;
    fact.kind = Kind::published;
    fact.id = id;
    fact.outcome = outcome;
    return tell(fact);
  }
  /// One attempt with its confirmation.
  Tale& put(const std::string& id, const std::string& session = "", std::uint64_t order = 0,
            std::int64_t ttl_ms = 0) {
    sent(id, session, order, ttl_ms).wait(1).published(id);
    enqueued[id] = now_ms;
    return wait(1);
  }
  Tale& opened(std::uint32_t link, bool dead_letter = false) {
    Fact fact;
    fact.kind = Kind::opened;
    fact.link = link;
    fact.queue = queue;
    fact.dead_letter = dead_letter;
    fact.locked_until_ms = now_ms + lock_ms;
    return tell(fact);
  }
  /// A link by which messages that were put aside are asked for.
  Tale& opened_by_number(std::uint32_t link) {
    Fact fact;
    fact.kind = Kind::opened;
    fact.link = link;
    fact.queue = queue;
    fact.by_number = true;
    return tell(fact);
  }
  /// What a receipt looks like when all is well; `alter` spoils it.
  Tale& received(std::uint32_t link, const std::string& id, std::uint64_t sequence, std::uint32_t count = 0,
                 const std::function<void(Fact&)>& alter = {}) {
    Fact fact;
    fact.kind = Kind::received;
    fact.link = link;
    fact.delivery = ++delivery;
    fact.id = id;
    fact.sequence = sequence;
    fact.count = count;
    fact.enqueued_ms = enqueued.contains(id) ? enqueued[id] : now_ms;
    fact.locked_until_ms = now_ms + lock_ms;
    fact.bytes = 10;
    fact.checksum = fact.claimed = 77;
    if (alter) alter(fact);
    return tell(fact);
  }
  Tale& settling(std::uint32_t link, const std::string& id, How how = How::complete) {
    Fact fact;
    fact.kind = Kind::settling;
    fact.link = link;
    fact.delivery = delivery;
    fact.id = id;
    fact.how = how;
    return tell(fact);
  }
  Tale& settled(std::uint32_t link, const std::string& id, How how = How::complete,
                Outcome outcome = Outcome::confirmed) {
    settling(link, id, how).wait(1);
    Fact fact;
    fact.kind = Kind::settled;
    fact.link = link;
    fact.delivery = delivery;
    fact.id = id;
    fact.how = how;
    fact.outcome = outcome;
    return tell(fact).wait(5);
  }

  SoakAudit judge(std::uint64_t left = 0) {
    for (const char* name : names)
      for (const bool dead : {false, true}) {
        Fact fact;
        fact.kind = Kind::left;
        fact.queue = name;
        fact.dead_letter = dead;
        fact.bytes = dead ? 0 : left;
        tell(fact);
      }
    SoakAuditor auditor;
    for (const Fact& fact : facts) auditor.add(fact);
    return auditor.judge();
  }

  Tale& tell(Fact fact) {
    fact.at_us = now_ms * 1000;
    facts.push_back(std::move(fact));
    return *this;
  }

  static constexpr std::array names = {"orders", "sessions", "dropping", "expiring"};
  std::string queue = "orders";
  std::int64_t now_ms = start_ms;
  std::uint64_t delivery = 0;
  std::map<std::string, std::int64_t> enqueued;
  std::vector<Fact> facts;
};

/// Exactly this, about this message.
void expect_only(const SoakAudit& audit, Finding kind, const std::string& id) {
  EXPECT_EQ(audit.counts, (std::map<Finding, std::uint64_t>{{kind, 1}})) << text_of(audit);
  ASSERT_FALSE(audit.findings.empty());
  EXPECT_EQ(audit.findings.front().kind, kind);
  EXPECT_EQ(audit.findings.front().id, id);
}

TEST(SoakAudit, WhatWentWellIsClean) {
  Tale tale;
  tale.put("a").put("b").put("c").opened(1);
  tale.received(1, "a", 1).settled(1, "a");
  tale.received(1, "b", 2).settled(1, "b", How::abandon);
  tale.received(1, "b", 2, 1).settled(1, "b", How::dead_letter);
  tale.opened(2, true).received(2, "b", 2, 1, [](Fact& f) { f.note = "soak"; }).settled(2, "b");
  tale.received(1, "c", 3).wait(lock_ms).received(1, "c", 3, 1).settled(1, "c");
  const SoakAudit audit = tale.judge();
  EXPECT_TRUE(audit.clean()) << text_of(audit);
  const SoakQueueReport& orders = audit.queues.at("orders");
  EXPECT_EQ(orders.acknowledged, 3u);
  EXPECT_EQ(orders.completed, 3u);
  EXPECT_EQ(orders.redelivered, 3u);
  EXPECT_EQ(orders.dead_lettered, 1u);
  EXPECT_NE(text_of(audit).find("CLEAN"), std::string::npos);
}

TEST(SoakAudit, WhatNobodyCanKnowIsTakenInTheBrokersFavour) {
  Tale tale;
  // Neither stored nor delivered, as far as anybody heard.
  tale.sent("unheard").published("unheard", Outcome::unknown);
  // Stored, though the answer was lost, and sent again.
  tale.sent("twice").published("twice", Outcome::unknown).wait(1).put("twice");
  // Completed without an answer, and gone.
  tale.put("gone").opened(1).received(1, "twice", 1).settled(1, "twice");
  tale.received(1, "gone", 2).settled(1, "gone", How::complete, Outcome::unknown);
  // Read late from a link that was given it before another one completed it.
  tale.put("late").opened(2).opened(3);
  const std::int64_t given_ms = tale.now_ms;
  tale.wait(lock_ms).received(3, "late", 3, 1).settled(3, "late").wait(50);
  tale.received(2, "late", 3, 0, [&](Fact& f) { f.locked_until_ms = given_ms + lock_ms; });
  tale.settled(2, "late", How::complete, Outcome::refused);
  const SoakAudit audit = tale.judge();
  EXPECT_TRUE(audit.clean()) << text_of(audit);
  EXPECT_EQ(audit.queues.at("orders").uncertain, 1u);
  EXPECT_EQ(audit.queues.at("orders").completed_unheard, 1u);
  EXPECT_EQ(audit.queues.at("orders").lock_lost, 1u);
}

TEST(SoakAudit, NamesALostMessageAndItsHistory) {
  Tale tale;
  tale.put("a").put("b").opened(1).received(1, "a", 1).settled(1, "a");
  const SoakAudit audit = tale.judge();
  expect_only(audit, Finding::lost, "b");
  EXPECT_EQ(audit.findings.front().queue, "orders");
  EXPECT_EQ(audit.findings.front().history.size(), 3u);  // what it is, sent, confirmed
  EXPECT_NE(text_of(audit).find("NOT CLEAN: 1 lost"), std::string::npos);
}

TEST(SoakAudit, WhatWasDeliveredWasStoredAndMustNotBeLost) {
  Tale tale;
  tale.sent("a").published("a", Outcome::unknown).opened(1);
  tale.received(1, "a", 1).settled(1, "a", How::abandon);
  expect_only(tale.judge(), Finding::lost, "a");
}

TEST(SoakAudit, ACompletionThatWasUndoneExplainsNothing) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::complete, Outcome::unknown);
  tale.wait(10).opened(2).received(2, "a", 1).settled(2, "a", How::release);
  expect_only(tale.judge(), Finding::lost, "a");
}

TEST(SoakAudit, ARefusedCompletionExplainsNothing) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::complete, Outcome::refused);
  expect_only(tale.judge(), Finding::lost, "a");
}

TEST(SoakAudit, FindsAMessageStoredTwice) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::release);
  tale.received(1, "a", 2).settled(1, "a");
  expect_only(tale.judge(), Finding::repeated, "a");
}

TEST(SoakAudit, FindsACompletionConfirmedTwice) {
  Tale tale;
  tale.put("a").opened(1).opened(2).received(1, "a", 1).received(2, "a", 1);
  tale.settled(2, "a");
  --tale.delivery;
  tale.settled(1, "a");
  expect_only(tale.judge(), Finding::repeated, "a");
}

TEST(SoakAudit, FindsWhatCameBackAfterItsCompletion) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a").wait(10);
  tale.opened(2).received(2, "a", 1).settled(2, "a", How::release);
  expect_only(tale.judge(), Finding::resurrected, "a");
}

TEST(SoakAudit, FindsWhatCameBackOnTheLinkThatCompletedIt) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a");
  // As a message of a session, whose lock is as old as the link's.
  tale.received(1, "a", 1, 0, [&](Fact& f) { f.locked_until_ms = start_ms + lock_ms; });
  expect_only(tale.judge(), Finding::resurrected, "a");
}

TEST(SoakAudit, FindsWhatLeftTheDeadLetterQueueForTheQueue) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::dead_letter).wait(10);
  tale.opened(2).received(2, "a", 1).settled(2, "a");
  expect_only(tale.judge(), Finding::resurrected, "a");
}

TEST(SoakAudit, FindsFirstDeliveriesOutOfOrder) {
  Tale tale;
  tale.put("a", "s", 1).put("b", "s", 2).opened(1);
  tale.received(1, "b", 2, 0, [](Fact& f) { f.session = "s"; }).settled(1, "b");
  tale.received(1, "a", 1, 0, [](Fact& f) { f.session = "s"; }).settled(1, "a");
  expect_only(tale.judge(), Finding::reordered, "a");
}

TEST(SoakAudit, FindsASessionStoredOutOfOrder) {
  Tale tale;
  tale.put("a", "s", 1).put("b", "s", 2).opened(1);
  tale.received(1, "a", 2, 0, [](Fact& f) { f.session = "s"; }).settled(1, "a");
  tale.received(1, "b", 1, 0, [](Fact& f) { f.session = "s"; }).settled(1, "b");
  expect_only(tale.judge(), Finding::reordered, "b");
}

TEST(SoakAudit, RedeliveriesAndSlowReadersAreInOrder) {
  const auto in_session = [](Fact& f) { f.session = "s"; };
  Tale tale;
  tale.put("a", "s", 1).put("b", "s", 2).opened(1);
  const std::int64_t held_ms = tale.now_ms;
  // Link 1 is given both and reads nothing; its lock runs out and link 2 is given both, but link 1 reads
  // first what only link 2 settles.
  tale.wait(lock_ms).opened(2).received(2, "a", 1, 1, in_session).settled(2, "a");
  tale.received(2, "b", 2, 1, in_session).settled(2, "b", How::abandon);
  tale.received(2, "b", 2, 2, in_session).settled(2, "b");
  for (const char* id : {"a", "b"})
    tale.received(1, id, id[0] == 'a' ? 1 : 2, 0, [&](Fact& f) {
      f.session = "s";
      f.locked_until_ms = held_ms + lock_ms;
    });
  const SoakAudit audit = tale.judge();
  EXPECT_TRUE(audit.clean()) << text_of(audit);
}

TEST(SoakAudit, FindsEveryAlteration) {
  const std::vector<std::function<void(Fact&)>> alterations = {
      [](Fact& f) { f.checksum = 78; }, [](Fact& f) { f.bytes = 9; }, [](Fact& f) { f.claimed = 78; },
      [](Fact& f) { f.session = "other"; }};
  for (const auto& alter : alterations) {
    Tale tale;
    tale.put("a").opened(1).received(1, "a", 1, 0, alter).settled(1, "a");
    expect_only(tale.judge(), Finding::altered, "a");
  }
}

TEST(SoakAudit, FindsAnAlterationBetweenTwoDeliveries) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::release);
  tale.received(1, "a", 1, 0, [](Fact& f) { f.checksum = f.claimed = 78; }).settled(1, "a");
  expect_only(tale.judge(), Finding::altered, "a");
}

TEST(SoakAudit, FindsStrayMessages) {
  Tale unknown;
  unknown.opened(1).received(1, "a", 1).settled(1, "a");
  expect_only(unknown.judge(), Finding::stray, "a");

  Tale refused;
  refused.sent("a").published("a", Outcome::refused).opened(1).received(1, "a", 1).settled(1, "a");
  expect_only(refused.judge(), Finding::stray, "a");

  Tale elsewhere;
  elsewhere.put("a");
  elsewhere.queue = "dropping";
  elsewhere.opened(1).received(1, "a", 1).settled(1, "a");
  expect_only(elsewhere.judge(), Finding::stray, "a");
}

TEST(SoakAudit, FindsImpossibleDeliveryCounts) {
  Tale too_high;
  too_high.put("a").opened(1).received(1, "a", 1, 1).settled(1, "a");
  expect_only(too_high.judge(), Finding::miscounted, "a");

  Tale too_low;
  too_low.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::abandon);
  too_low.received(1, "a", 1, 0).settled(1, "a");
  expect_only(too_low.judge(), Finding::miscounted, "a");
}

TEST(SoakAudit, ASessionsLockMayBeOlderThanItsMessage) {
  const auto history = [](std::uint32_t count) {
    Tale tale;
    tale.queue = "sessions";
    tale.opened(1).wait(lock_ms - 2).put("a", "s", 1).opened(2);
    tale.received(2, "a", 1, count, [](Fact& f) { f.session = "s"; }).settled(2, "a");
    return tale.judge();
  };
  EXPECT_TRUE(history(1).clean()) << text_of(history(1));
  expect_only(history(2), Finding::miscounted, "a");
}

TEST(SoakAudit, FindsWhatShouldBeInTheDeadLetterQueue) {
  Tale tale;
  tale.put("a").opened(1).wait(3 * lock_ms).received(1, "a", 1, 3).settled(1, "a");
  expect_only(tale.judge(), Finding::misplaced, "a");
}

TEST(SoakAudit, ExpiredMessagesMayBeGone) {
  Tale tale;
  tale.queue = "dropping";
  tale.put("a", "", 0, 200).wait(300);
  const SoakAudit audit = tale.judge();
  EXPECT_TRUE(audit.clean()) << text_of(audit);
  EXPECT_EQ(audit.queues.at("dropping").expired, 1u);
}

TEST(SoakAudit, FindsWhatIsGoneBeforeItsTime) {
  Tale tale;
  tale.queue = "dropping";
  tale.put("a", "", 0, 60'000).wait(300);
  expect_only(tale.judge(), Finding::lost, "a");
}

TEST(SoakAudit, FindsWhatExpiredAndIsNotInTheDeadLetterQueue) {
  Tale tale;
  tale.queue = "expiring";
  tale.put("a", "", 0, 200).wait(300);
  expect_only(tale.judge(), Finding::lost, "a");
}

TEST(SoakAudit, FindsADeliveryAfterTheExpiry) {
  Tale tale;
  tale.queue = "dropping";
  tale.put("a", "", 0, 200).opened(1).wait(250).received(1, "a", 1).settled(1, "a");
  expect_only(tale.judge(), Finding::untimely, "a");
}

TEST(SoakAudit, DeadLetteringNeedsItsReason) {
  const auto dead = [](std::int64_t ttl_ms, std::int64_t wait_ms, const std::string& reason) {
    Tale tale;
    tale.queue = "expiring";
    tale.put("a", "", 0, ttl_ms).wait(wait_ms).opened(1, true);
    tale.received(1, "a", 1, 0, [&](Fact& f) { f.note = reason; }).settled(1, "a");
    return tale.judge();
  };
  EXPECT_TRUE(dead(200, 300, "TTLExpiredException").clean());
  expect_only(dead(200, 50, "TTLExpiredException"), Finding::untimely, "a");
  expect_only(dead(0, 300, "TTLExpiredException"), Finding::misplaced, "a");
  EXPECT_TRUE(dead(0, 3 * lock_ms, "MaxDeliveryCountExceeded").clean());
  expect_only(dead(0, lock_ms, "MaxDeliveryCountExceeded"), Finding::misplaced, "a");
  expect_only(dead(0, 300, "soak"), Finding::misplaced, "a");
}

TEST(SoakAudit, WhatIsPutAsideComesByItsNumberUntilItIsCompleted) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::defer);
  tale.opened_by_number(2).received(2, "a", 1, 1).settled(2, "a", How::abandon);
  tale.opened_by_number(3).received(3, "a", 1, 2).settled(3, "a");
  const SoakAudit audit = tale.judge();
  EXPECT_TRUE(audit.clean()) << text_of(audit);
  EXPECT_EQ(audit.queues.at("orders").deferred, 1u);
  EXPECT_EQ(audit.queues.at("orders").by_number, 2u);
}

TEST(SoakAudit, FindsWhatTheQueueGivesOutThoughItIsPutAside) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::defer).wait(lock_ms);
  tale.received(1, "a", 1, 1).settled(1, "a");
  EXPECT_EQ(tale.judge().counts.at(Finding::misplaced), 1u);
}

TEST(SoakAudit, FindsWhatIsGivenByNumberThoughNobodyPutItAside) {
  Tale tale;
  tale.put("a").opened_by_number(1).received(1, "a", 1).settled(1, "a");
  EXPECT_EQ(tale.judge().counts.at(Finding::misplaced), 1u);
}

TEST(SoakAudit, ADeferralThatDoesNotCountIsMiscounted) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::defer).wait(10);
  tale.opened_by_number(2).received(2, "a", 1, 0).settled(2, "a");
  EXPECT_EQ(tale.judge().counts.at(Finding::miscounted), 1u);
}

TEST(SoakAudit, FindsWhatIsPutAsideAndNeverSeenAgain) {
  Tale tale;
  tale.put("a").opened(1).received(1, "a", 1).settled(1, "a", How::defer);
  EXPECT_EQ(tale.judge().counts.at(Finding::lost), 1u);
}

TEST(SoakAudit, FindsWhatIsLeft) {
  Tale tale;
  const SoakAudit audit = tale.judge(2);
  EXPECT_EQ(audit.counts, (std::map<Finding, std::uint64_t>{{Finding::broker, 4}}));
}

TEST(SoakAudit, AHistoryWithoutItsEndIsNotClean) {
  Tale tale;
  tale.put("a");
  SoakAuditor auditor;
  for (const Fact& fact : tale.facts) auditor.add(fact);
  EXPECT_EQ(auditor.judge().counts, (std::map<Finding, std::uint64_t>{{Finding::broker, 4}}));
}

TEST(SoakAudit, WhatIsWrongBesideTheMessagesCounts) {
  Tale tale;
  Fact fact;
  fact.kind = Kind::violated;
  fact.note = "the broker ended by itself";
  tale.tell(fact);
  const SoakAudit audit = tale.judge();
  EXPECT_EQ(audit.counts, (std::map<Finding, std::uint64_t>{{Finding::broker, 1}}));
  EXPECT_EQ(audit.findings.front().what, fact.note);
}

TEST(SoakHistory, ComesBackAsItWasWritten) {
  lab::TestDirectory directory;
  Tale tale;
  tale.put("a\tb", "s", 1, 5).opened(1).received(1, "a\tb", 1, 2).settled(1, "a\tb", How::dead_letter);
  {
    auto journal = FactJournal::create(directory.path() + "/facts-x.tsv");
    ASSERT_TRUE(journal);
    for (const Fact& fact : tale.facts) journal->add(fact);
  }
  std::vector<Fact> read;
  ASSERT_TRUE(read_history(directory.path(), [&](const Fact& fact) { read.push_back(fact); }));
  ASSERT_EQ(read.size(), tale.facts.size());
  for (std::size_t i = 0; i < read.size(); ++i) {
    read[i].at_us = tale.facts[i].at_us;  // the journal's own
    std::string before, after;
    append_fact(before, tale.facts[i]);
    append_fact(after, read[i]);
    EXPECT_EQ(before, after);
  }
}

TEST(SoakHistory, HalfALineAtTheEndIsIgnoredAndElsewhereRefused) {
  lab::TestDirectory directory;
  const std::string path = directory.path() + "/facts-x.tsv";
  std::ofstream(path) << "ended\t5\t1\tclosed\nended\t6\t2";
  std::size_t facts = 0;
  ASSERT_TRUE(read_history(directory.path(), [&](const Fact&) { ++facts; }));
  EXPECT_EQ(facts, 1u);
  std::ofstream(path) << "ended\t5\nended\t6\t2\tclosed\n";
  const auto read = read_history(directory.path(), [](const Fact&) {});
  ASSERT_FALSE(read);
  EXPECT_NE(read.error().what.find("facts-x.tsv:1"), std::string::npos) << read.error().what;
}

TEST(SoakHistory, ADirectoryWithoutHistoryIsRefused) {
  lab::TestDirectory directory;
  EXPECT_FALSE(read_history(directory.path(), [](const Fact&) {}));
}

TEST(SoakMessages, CarryTheirChecksumAndComeBackWhole) {
  for (const std::uint64_t bytes : {0ULL, 1ULL, 255ULL, 256ULL, 1ULL << 20}) {
    const EncodedSoakMessage made =
        encode_soak_message({.id = "m-1", .session = "s", .bytes = bytes, .ttl_ms = 10});
    const auto read = decode_soak_message(made.message);
    ASSERT_TRUE(read) << read.error().what;
    EXPECT_EQ(read->id, "m-1");
    EXPECT_EQ(read->session, "s");
    EXPECT_EQ(read->bytes, bytes);
    EXPECT_EQ(read->checksum, made.checksum);
    EXPECT_EQ(read->claimed, made.checksum);
  }
}

TEST(SoakMessages, OneAlteredByteIsFound) {
  EncodedSoakMessage made = encode_soak_message({.id = "m-1", .session = "", .bytes = 100, .ttl_ms = 0});
  made.message.back() ^= std::byte{1};
  const auto read = decode_soak_message(made.message);
  ASSERT_TRUE(read);
  EXPECT_NE(read->checksum, read->claimed);
}

}  // namespace
}  // namespace mainstay::drills
