// N2, P2, P3, P4: the audit finds and names every kind of damage, and only damage.
#include "drills/audit.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "base/checksum.h"
#include "base/random.h"
#include "drills/arrivals.h"

namespace mainstay::drills {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

std::string digest(const std::string& of) {
  return digest128(as_bytes(of));
}

/// A flow without a flaw: `keys` ordering keys with three messages each, then one duplicate, one conflict
/// (parked) and one malformed message (in quarantine).
class AFlow : public ::testing::Test {
 protected:
  AFlow() {
    for (int i = 0; i < 12; ++i)
      enter("M" + std::to_string(i), "content " + std::to_string(i), "O" + std::to_string(i % 4));
    for (int i = 0; i < 12; ++i) deliver(static_cast<std::size_t>(i));
    enter("M3", "content 3", "O3", EntryKind::duplicate, "content 3, reformatted");
    enter("M5", "other content", "O1", EntryKind::conflict);
    sources.ledger.push_back({.key = "M5",
                              .digest = digest("other content"),
                              .ordering_key = "O1",
                              .state = LedgerState::parked,
                              .destination = {}});
    enter("", "", "", EntryKind::malformed, "garbage");
    sources.quarantine = {digest("garbage")};
  }

  void enter(const std::string& key, const std::string& content, const std::string& ordering_key,
             EntryKind kind = EntryKind::normal, const std::string& bytes = {}) {
    IngestEntry& entry = sources.entered.emplace_back();
    entry.number = sources.entered.size();
    entry.file = "f" + std::to_string(entry.number);
    entry.kind = kind;
    entry.bytes_digest = digest(bytes.empty() ? content : bytes);
    if (kind == EntryKind::malformed) return;
    entry.key = key;
    entry.content_digest = digest(content);
    entry.ordering_key = ordering_key;
  }
  void deliver(std::size_t index) {
    const IngestEntry& entry = sources.entered[index];
    const std::string name = entry.key + ".fin";
    sources.ledger.push_back({.key = entry.key,
                              .digest = entry.content_digest,
                              .ordering_key = entry.ordering_key,
                              .state = LedgerState::done,
                              .destination = name,
                              .done_order = sources.ledger.size() + 1});
    sources.destination.push_back({.name = name,
                                   .key = entry.key,
                                   .content_digest = entry.content_digest,
                                   .bytes_digest = entry.bytes_digest});
    arrive(name, entry.bytes_digest);
  }
  void arrive(const std::string& name, const std::string& bytes_digest) {
    if (!sources.arrivals) sources.arrivals.emplace();
    sources.arrivals->list.push_back(
        {.order = sources.arrivals->list.size() + 1, .name = name, .bytes_digest = bytes_digest});
  }
  DestinationFile& file(const std::string& name) {
    return *std::ranges::find(sources.destination, name, &DestinationFile::name);
  }
  void remove_file(const std::string& name) {
    std::erase_if(sources.destination, [&](const DestinationFile& each) { return each.name == name; });
  }
  void swap_arrivals(std::size_t a, std::size_t b) {
    std::swap(sources.arrivals->list[a].name, sources.arrivals->list[b].name);
    std::swap(sources.arrivals->list[a].bytes_digest, sources.arrivals->list[b].bytes_digest);
  }

  AuditSources sources;
};

auto Names(const std::string& key) {
  return ElementsAre(::testing::Field(&Finding::key, key));
}

using Audit = AFlow;

TEST_F(Audit, AFlowWithoutAFlawIsCleanAndCounted) {
  const AuditReport report = audit(sources);
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.in, 15u);
  EXPECT_EQ(report.unique, 12u);
  EXPECT_EQ(report.delivered, 12u);
  EXPECT_EQ(report.duplicates, 1u);
  EXPECT_EQ(report.conflicts, 1u);
  EXPECT_EQ(report.conflicts_parked, 1u);
  EXPECT_EQ(report.malformed, 1u);
  EXPECT_EQ(report.quarantined, 1u);
  EXPECT_EQ(report.ordering_keys, 4u);
  EXPECT_EQ(report.order_evidence, OrderEvidence::arrivals);
}

TEST_F(Audit, ADeletedMessageIsLostAndNamed) {
  remove_file("M7.fin");
  const AuditReport report = audit(sources);
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(report.lost, Names("M7"));
  EXPECT_THAT(report.lost.front().what, HasSubstr("was removed"));
  EXPECT_EQ(report.delivered, 11u);
}

TEST_F(Audit, AMessageNobodyEverDeliveredIsLost) {
  enter("M99", "content 99", "O1");
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.lost, Names("M99"));
  EXPECT_THAT(report.disagreements, IsEmpty());
}

TEST_F(Audit, AMessageTheLedgerOnlyClaimsToHaveDeliveredIsLost) {
  remove_file("M7.fin");
  std::erase_if(sources.arrivals->list, [](const Arrival& each) { return each.name == "M7.fin"; });
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.lost, Names("M7"));
  EXPECT_THAT(report.disagreements, Names("M7"));
}

TEST_F(Audit, ACopiedMessageIsRepeatedAndNamed) {
  DestinationFile copy = file("M2.fin");
  copy.name = "copy.fin";
  sources.destination.push_back(copy);
  arrive(copy.name, copy.bytes_digest);
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.repeated, SizeIs(2));  // it lies there twice, and it arrived twice
  for (const Finding& finding : report.repeated) EXPECT_EQ(finding.key, "M2");
  EXPECT_THAT(report.lost, IsEmpty());
}

TEST_F(Audit, AMessageThatArrivedTwiceUnderOneNameIsRepeated) {
  arrive("M2.fin", file("M2.fin").bytes_digest);
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.repeated, Names("M2"));
  EXPECT_THAT(report.repeated.front().what, HasSubstr("3, 13"));
}

TEST_F(Audit, TwoSwappedMessagesOfOneOrderingKeyAreReordered) {
  swap_arrivals(1, 5);  // M1 and M5, both of O1
  const AuditReport report = audit(sources);
  EXPECT_FALSE(report.clean());
  ASSERT_THAT(report.reordered, SizeIs(1));
  EXPECT_THAT(report.reordered.front().key, ::testing::AnyOf("M1", "M5"));
  EXPECT_THAT(report.reordered.front().what, HasSubstr("ordering key O1"));
}

TEST_F(Audit, SwappedMessagesOfDifferentOrderingKeysAreFine) {
  swap_arrivals(1, 2);
  EXPECT_TRUE(audit(sources).clean());
}

TEST_F(Audit, WithoutAWitnessTheLedgersOrderIsJudgedAndSaidSo) {
  sources.arrivals.reset();
  EXPECT_TRUE(audit(sources).clean());
  EXPECT_EQ(audit(sources).order_evidence, OrderEvidence::ledger);
  std::swap(sources.ledger[1].done_order, sources.ledger[5].done_order);
  EXPECT_THAT(audit(sources).reordered, SizeIs(1));
}

TEST_F(Audit, AnAlteredMessageIsCorruptedAndNamed) {
  file("M4.fin").content_digest = digest("a larger amount");
  file("M4.fin").bytes_digest = digest("a larger amount");
  const AuditReport report = audit(sources);
  EXPECT_FALSE(report.clean());
  ASSERT_THAT(report.corrupted, SizeIs(::testing::Ge(1)));
  for (const Finding& finding : report.corrupted) EXPECT_EQ(finding.key, "M4");
}

TEST_F(Audit, AMessageAlteredBeyondRecognitionIsCorruptedNotJustLost) {
  file("M4.fin").key.clear();
  file("M4.fin").content_digest.clear();
  file("M4.fin").bytes_digest = digest("noise");
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.corrupted, ::testing::Contains(::testing::Field(&Finding::key, "M4")));
  EXPECT_THAT(report.lost, IsEmpty());
}

TEST_F(Audit, AMessageWithEqualMeaningButOtherBytesIsCorrupted) {
  file("M4.fin").bytes_digest = digest("content 4 with other line ends");
  EXPECT_THAT(audit(sources).corrupted, ::testing::Each(::testing::Field(&Finding::key, "M4")));
  EXPECT_FALSE(audit(sources).clean());
}

TEST_F(Audit, ADuplicatesBytesAreAsGoodAsTheFirstOnes) {
  file("M3.fin").bytes_digest = digest("content 3, reformatted");
  sources.arrivals->list[3].bytes_digest = digest("content 3, reformatted");
  EXPECT_TRUE(audit(sources).clean());
}

TEST_F(Audit, AStrangerAtTheDestinationIsUnexpected) {
  sources.destination.push_back({.name = "X.fin", .key = "X", .content_digest = "x", .bytes_digest = "x"});
  sources.destination.push_back({.name = "noise", .key = {}, .content_digest = {}, .bytes_digest = "n"});
  arrive("X.fin", "x");
  arrive("noise", "n");
  arrive("gone", "g");
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.unexpected,
              ElementsAre(::testing::Field(&Finding::key, "X"), ::testing::Field(&Finding::key, "noise"),
                          ::testing::Field(&Finding::key, "gone")));
}

TEST_F(Audit, ADeliveredMalformedMessageIsUnexpected) {
  sources.destination.push_back(
      {.name = "bad", .key = {}, .content_digest = {}, .bytes_digest = digest("garbage")});
  EXPECT_THAT(audit(sources).unexpected, Names("bad"));
}

TEST_F(Audit, AMalformedMessageThatIsNotInQuarantineIsLost) {
  sources.quarantine->clear();
  EXPECT_THAT(audit(sources).lost, Names("f15"));
  sources.quarantine.reset();
  EXPECT_TRUE(audit(sources).clean());
}

TEST_F(Audit, AValidMessageInQuarantineIsUnexpected) {
  sources.quarantine->push_back(sources.entered[0].bytes_digest);
  EXPECT_THAT(audit(sources).unexpected, Names("M0"));
}

TEST_F(Audit, AConflictThatWasNotParkedIsLost) {
  std::erase_if(sources.ledger, [](const LedgerFact& fact) { return fact.state == LedgerState::parked; });
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.lost, Names("M5"));
  EXPECT_THAT(report.lost.front().what, HasSubstr("conflicting content"));
}

TEST_F(Audit, AConflictMayLieParkedOutsideTheLedger) {
  std::erase_if(sources.ledger, [](const LedgerFact& fact) { return fact.state == LedgerState::parked; });
  sources.parked = {digest("a reason"), digest("other content")};
  const AuditReport report = audit(sources);
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.conflicts_parked, 1u);
}

TEST_F(Audit, AParkedMessageNothingConflictsWithIsLost) {
  enter("M99", "content 99", "O1");
  sources.parked = {digest("content 99")};
  const AuditReport report = audit(sources);
  EXPECT_THAT(report.lost, Names("M99"));
  EXPECT_THAT(report.lost.front().what, HasSubstr("parked"));
}

TEST_F(Audit, ALaterContentDeliveredInPlaceOfTheEarlierIsReordered) {
  const std::string other = digest("other content");
  file("M5.fin").content_digest = other;
  file("M5.fin").bytes_digest = other;
  sources.arrivals->list[5].bytes_digest = other;
  for (LedgerFact& fact : sources.ledger)
    if (fact.key == "M5") fact.digest = fact.state == LedgerState::done ? other : digest("content 5");
  const AuditReport report = audit(sources);
  EXPECT_FALSE(report.clean());
  EXPECT_THAT(report.reordered, ::testing::Contains(::testing::Field(&Finding::key, "M5")));
}

TEST_F(Audit, LedgerAndDestinationThatContradictEachOtherAreReported) {
  std::erase_if(sources.ledger, [](const LedgerFact& fact) { return fact.key == "M8"; });
  sources.ledger[2].digest = "something else";
  sources.ledger.push_back({.key = "never entered",
                            .digest = "d",
                            .ordering_key = "O",
                            .state = LedgerState::done,
                            .destination = "z"});
  sources.ledger.push_back(
      {.key = "M9", .digest = "d", .ordering_key = "O", .state = LedgerState::claimed, .destination = {}});
  std::set<std::string> keys;
  for (const Finding& finding : audit(sources).disagreements) keys.insert(finding.key);
  EXPECT_EQ(keys, (std::set<std::string>{"M2", "M8", "M9", "never entered"}));
}

TEST_F(Audit, AFileNobodySawArriveIsADisagreementWhenTheWitnessSawAll) {
  sources.arrivals->list.pop_back();
  EXPECT_THAT(audit(sources).disagreements, Names("M11"));
}

TEST_F(Audit, AnIncompleteWitnessIsNeverClean) {
  sources.arrivals->incomplete = "the queue overflowed";
  const AuditReport report = audit(sources);
  EXPECT_FALSE(report.clean());
  EXPECT_EQ(report.order_evidence, OrderEvidence::incomplete);
  EXPECT_EQ(report.order_note, "the queue overflowed");
}

TEST_F(Audit, NothingAtAllIsCleanOnlyIfNothingEntered) {
  EXPECT_TRUE(audit({}).clean());
  sources.ledger.clear();
  sources.destination.clear();
  sources.arrivals->list.clear();
  EXPECT_THAT(audit(sources).lost, SizeIs(12));
}

TEST(OutOfOrder, NamesTheFewestThatMustMove) {
  EXPECT_THAT(out_of_order({}), IsEmpty());
  EXPECT_THAT(out_of_order({1, 2, 3}), IsEmpty());
  EXPECT_THAT(out_of_order({4, 1, 2, 3}), ElementsAre(0));
  EXPECT_THAT(out_of_order({1, 2, 9, 3, 4}), ElementsAre(2));
  EXPECT_THAT(out_of_order({3, 2, 1}), SizeIs(2));
  EXPECT_THAT(out_of_order({5, 5}), SizeIs(1));
}

TEST(OutOfOrder, AgreesWithABruteForceOnShortSequences) {
  const std::uint64_t seed = 20260801;
  RecordProperty("seed", std::to_string(seed));
  SeededRandom random(seed);
  for (int round = 0; round < 300; ++round) {
    std::vector<std::uint64_t> sequence(random.between(0, 9));
    for (std::uint64_t& each : sequence) each = random.below(12);
    std::size_t longest = 0;
    for (unsigned kept = 0; kept < 1u << sequence.size(); ++kept) {
      std::vector<std::uint64_t> rest;
      for (std::size_t i = 0; i < sequence.size(); ++i)
        if ((kept >> i & 1u) != 0) rest.push_back(sequence[i]);
      if (std::ranges::adjacent_find(rest, std::greater_equal<>{}) == rest.end())
        longest = std::max(longest, rest.size());
    }
    EXPECT_EQ(out_of_order(sequence).size(), sequence.size() - longest)
        << "seed " << seed << " round " << round;
  }
}

TEST(ArrivalsRecord, SurvivesWritingAndReading) {
  std::string text(arrivals_header());
  append_line(text, {.order = 1, .wall_ms = 5, .monotonic_ns = 6, .name = "a\tb\n\\", .bytes_digest = "d"});
  append_line(text, {.order = 2, .wall_ms = 7, .monotonic_ns = 8, .name = "c", .bytes_digest = {}});
  const auto read = parse_arrivals(text);
  ASSERT_TRUE(read.has_value());
  ASSERT_THAT(read->list, SizeIs(2));
  EXPECT_EQ(read->list[0].name, "a\tb\n\\");
  EXPECT_EQ(read->list[1].monotonic_ns, 8);
  EXPECT_EQ(read->incomplete, "");
}

TEST(ArrivalsRecord, SaysWhenItIsIncompleteOrCut) {
  std::string text(arrivals_header());
  append_line(text, {.order = 1, .name = "a", .bytes_digest = "d"});
  std::string overflowed = text;
  append_incomplete_line(overflowed, "overflow");
  EXPECT_EQ(parse_arrivals(overflowed)->incomplete, "overflow");
  EXPECT_THAT(parse_arrivals(text + "2\t0\t0\tb")->incomplete, HasSubstr("line 3"));
}

TEST(ArrivalsRecord, RefusesARecordWithALineTakenOut) {
  std::string text(arrivals_header());
  append_line(text, {.order = 1, .name = "a", .bytes_digest = "d"});
  append_line(text, {.order = 3, .name = "c", .bytes_digest = "d"});
  ASSERT_FALSE(parse_arrivals(text).has_value());
  EXPECT_THAT(parse_arrivals(text).error().what, HasSubstr("line 3"));
}

TEST(IngestRecord, SurvivesWritingAndReadingAndRefusesDisorder) {
  std::string text(ingest_record_header());
  const IngestEntry entry{.number = 4,
                          .file = "f",
                          .item = 2,
                          .key = "MT:103:A\tB",
                          .content_digest = "c",
                          .bytes_digest = "b",
                          .ordering_key = "U:1",
                          .kind = EntryKind::conflict};
  append_line(text, entry);
  const auto read = parse_ingest_record(text);
  ASSERT_TRUE(read.has_value());
  ASSERT_THAT(*read, SizeIs(1));
  EXPECT_EQ(read->front().key, entry.key);
  EXPECT_EQ(read->front().item, 2u);
  EXPECT_EQ(read->front().kind, EntryKind::conflict);
  append_line(text, entry);
  EXPECT_THAT(parse_ingest_record(text).error().what, HasSubstr("line 3"));
  EXPECT_FALSE(parse_ingest_record("something else\n").has_value());
}

}  // namespace
}  // namespace mainstay::drills
