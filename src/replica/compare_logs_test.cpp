#include "replica/compare_logs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mainstay::replica {
namespace {

using journal::RecordType;
using ::testing::HasSubstr;
using ::testing::Not;
using Verdict = LogComparison::Verdict;
using Counts = Meaning::Counts;

/// Headers of a log without bodies: `salt` stands for what the bodies say.
class TestLog {
 public:
  TestLog& add(std::uint64_t records, std::uint64_t epoch, std::uint64_t salt = 0,
               RecordType type = RecordType::message_stored) {
    for (std::uint64_t i = 0; i < records; ++i) {
      journal::RecordHeader header;
      header.lsn = Lsn{headers_.size() + 1};
      header.epoch = Epoch{epoch};
      header.type = type;
      header.previous = headers_.empty() ? 0 : headers_.back().checksum;
      header.checksum = (header.previous * 31 + header.lsn.value * 7 + epoch * 3 + salt) * 0x9e3779b97f4a7c15;
      headers_.push_back(header);
    }
    return *this;
  }
  [[nodiscard]] LogSummary summary(std::uint64_t first = 1, std::size_t positions_max = 1000) const {
    LogSummary out(first == 1 ? journal::LogPosition{}
                              : journal::LogPosition{Lsn{first - 1}, headers_[first - 2].checksum},
                   positions_max);
    for (std::uint64_t lsn = first; lsn <= headers_.size(); ++lsn) out.note(headers_[lsn - 1]);
    return out;
  }
  [[nodiscard]] std::vector<RecordSight> sights(Lsn first, Lsn last) const {
    std::vector<RecordSight> out;
    for (Lsn lsn = first; lsn <= last; lsn = lsn.next()) {
      const auto& it = headers_[lsn.value - 1];
      out.push_back({it.lsn, it.epoch, it.type, it.checksum});
    }
    return out;
  }
  [[nodiscard]] const std::vector<journal::RecordHeader>& headers() const { return headers_; }
  [[nodiscard]] Lsn end() const { return Lsn{headers_.size()}; }

 private:
  std::vector<journal::RecordHeader> headers_;
};

/// As compare_directories does it.
LogComparison compare(const TestLog& a, const TestLog& b, std::size_t positions_max = 1000) {
  LogSummary first = a.summary(1, positions_max), second = b.summary(1, positions_max);
  const Lsn lower = std::min(a.end(), b.end());
  for (const auto& [log, summary] : {std::pair(&a, &first), std::pair(&b, &second)}) {
    if (lower > Lsn{} && !summary->hash_at(lower))
      summary->know({lower, log->headers()[lower.value - 1].checksum});
  }
  LogComparison out = compare_logs(first, second);
  if (out.verdict == Verdict::differ && out.equal_to)
    narrow(out, a.sights(out.equal_to->next(), out.differ_at), b.sights(out.equal_to->next(), out.differ_at));
  return out;
}

TEST(CompareLogs, TheSameLogIsEqualToItsEnd) {
  const TestLog log = TestLog().add(50, 1).add(7, 2);
  const LogComparison found = compare(log, log);
  EXPECT_EQ(found.verdict, Verdict::equal);
  EXPECT_EQ(found.to, Lsn{57});
  EXPECT_EQ(found.hash, log.headers().back().checksum);
}

TEST(CompareLogs, ABeginningIsEqualAsFarAsItGoes) {
  const TestLog log = TestLog().add(50, 1);
  const TestLog more = TestLog().add(50, 1).add(9, 2);
  const LogComparison found = compare(log, more);
  EXPECT_EQ(found.verdict, Verdict::equal);
  EXPECT_EQ(found.to, Lsn{50});
}

TEST(CompareLogs, TheFirstLsnThatDiffersIsFoundWhereverItIsAndHoweverFewHashesAreKept) {
  for (const std::size_t kept : {2U, 3U, 16U, 1000U}) {
    for (std::uint64_t same = 0; same < 100; ++same) {
      const TestLog a = TestLog().add(same, 1).add(100 - same, 1, 1);
      const TestLog b = TestLog().add(same, 1).add(37 + 100 - same, 2);
      const LogComparison found = compare(a, b, kept);
      ASSERT_EQ(found.verdict, Verdict::differ) << same;
      ASSERT_EQ(found.differ_at, Lsn{same + 1});
      ASSERT_TRUE(found.exact());
      ASSERT_EQ(*found.equal_to, Lsn{same});
      ASSERT_EQ(found.first->epoch, Epoch{1});
      ASSERT_EQ(found.second->epoch, Epoch{2});
    }
  }
}

TEST(CompareLogs, ALastRecordThatDiffersIsSeen) {
  const LogComparison found = compare(TestLog().add(99, 1).add(1, 1), TestLog().add(99, 1).add(1, 2), 4);
  EXPECT_EQ(found.verdict, Verdict::differ);
  EXPECT_EQ(found.differ_at, Lsn{100});
}

TEST(CompareLogs, WhatALogFollowsIsEnoughToCompareItWithOneThatEndsThere) {
  const TestLog all = TestLog().add(80, 1);
  const LogSummary early = TestLog().add(40, 1).summary(), late = all.summary(41);
  const LogComparison found = compare_logs(early, late);
  EXPECT_EQ(found.verdict, Verdict::equal);
  EXPECT_EQ(found.from, Lsn{40});
  EXPECT_EQ(found.to, Lsn{40});
  const LogComparison other = compare_logs(TestLog().add(40, 2).summary(), late);
  EXPECT_EQ(other.verdict, Verdict::differ);
  EXPECT_EQ(other.differ_at, Lsn{40});
  EXPECT_FALSE(other.equal_to);
  EXPECT_FALSE(other.exact());
}

TEST(CompareLogs, LogsThatDoNotMeetHaveNothingInCommon) {
  const TestLog all = TestLog().add(80, 1);
  EXPECT_EQ(compare_logs(TestLog().add(39, 1).summary(), all.summary(41)).verdict,
            Verdict::nothing_in_common);
  EXPECT_EQ(compare_logs(LogSummary(), all.summary()).verdict, Verdict::nothing_in_common)
      << "an empty log is the beginning of every log: that says nothing";
}

TEST(CompareLogs, ARecordThatIsNotThereIsKnownByTheOneBehindIt) {
  const TestLog log = TestLog().add(60, 1);
  LogSummary damaged;
  for (const auto& header : log.headers()) {
    if (header.lsn != Lsn{30} && header.lsn != Lsn{31}) damaged.note(header);
  }
  EXPECT_FALSE(damaged.hash_at(Lsn{30}));
  EXPECT_EQ(damaged.hash_at(Lsn{31}), log.headers()[30].checksum);
  EXPECT_EQ(compare_logs(damaged, log.summary()).verdict, Verdict::equal);
}

TEST(CompareLogs, ASummaryKeepsNoMoreThanItMay) {
  const TestLog log = TestLog().add(5'000, 1);
  const LogSummary summary = log.summary(1, 64);
  EXPECT_LE(summary.known().size(), 66U);
  EXPECT_GE(summary.known().size(), 32U);
  EXPECT_EQ(summary.end().lsn, Lsn{5'000});
}

// --- What it means.

coordination::Member member(std::uint8_t number) {
  Uuid disk;
  disk.bytes[0] = number;
  return {"n" + std::to_string(number), disk};
}

ComparedSide side(std::uint8_t number, const TestLog& log, std::uint64_t committed) {
  ComparedSide out;
  out.member = member(number);
  out.name = out.member.node;
  out.first = Lsn{1};
  out.end = log.end();
  out.epoch = log.headers().empty() ? Epoch{} : log.headers().back().epoch;
  out.group = ComparedSide::Group{Lsn{committed}, std::nullopt};
  return out;
}

coordination::GroupRecord record(std::uint64_t epoch, std::uint8_t leader, std::set<std::uint8_t> isr) {
  coordination::GroupRecord out;
  out.epoch = Epoch{epoch};
  out.leader = member(leader);
  for (const std::uint8_t number : isr) out.isr.insert(member(number));
  return out;
}

std::string all(const Meaning& meaning) {
  std::string out;
  for (const std::string& sentence : meaning.sentences) out += sentence + "\n";
  return out;
}

class WhatItMeans : public ::testing::Test {
 protected:
  Meaning explained() { return explain(compare(a, b), one, other); }
  /// n1 led in epoch 5 and has five records that n2, which led from epoch 6 on, has not.
  TestLog a = TestLog().add(100, 5).add(5, 5, 1);
  TestLog b = TestLog().add(100, 5).add(1, 6, 0, RecordType::epoch_started).add(20, 6);
  ComparedSide one = side(1, a, 98), other = side(2, b, 98);
};

TEST_F(WhatItMeans, TheTailOfAnEarlierEpochGoesToQuarantine) {
  const Meaning found = explained();
  EXPECT_EQ(found.counts, Counts::second);
  EXPECT_FALSE(found.impossible);
  EXPECT_THAT(all(found), HasSubstr("the same up to LSN 100 and part at LSN 101"));
  EXPECT_THAT(all(found), HasSubstr("goes on with the log of n2: its record there is of epoch 6"));
  EXPECT_THAT(all(found), HasSubstr("LSN 101 to 105, 5 records, of n1 are a tail that was never committed"));
  EXPECT_THAT(all(found), HasSubstr("LSN 101 to 121, 21 records, of n2 stay"));
}

TEST_F(WhatItMeans, WhereTheRecordsCannotBeReadWhatIsCommittedCounts) {
  one.group->committed = Lsn{103};
  LogComparison bracket = compare(a, b);
  bracket.first.reset();
  bracket.second.reset();
  bracket.equal_to = Lsn{96};
  bracket.differ_at = Lsn{102};
  const Meaning found = explain(bracket, one, other);
  EXPECT_EQ(found.counts, Counts::first);
  EXPECT_THAT(all(found), HasSubstr("its superblock knows LSN 103 as committed"));
  EXPECT_THAT(all(found), HasSubstr("At most LSN 97 to 121"));
  one.group->committed = Lsn{98};
  EXPECT_EQ(explain(bracket, one, other).counts, Counts::neither);
}

TEST_F(WhatItMeans, TwoCommittedRecordsOfOneLsnMustNeverBe) {
  one.group->committed = Lsn{101};
  other.group->committed = Lsn{110};
  const Meaning found = explained();
  EXPECT_TRUE(found.impossible);
  EXPECT_EQ(found.counts, Counts::neither);
  EXPECT_THAT(all(found), HasSubstr("Both directories call LSN 101 committed"));
}

TEST_F(WhatItMeans, OneEpochNeverHasTwoRecordsOfOneLsn) {
  b = TestLog().add(100, 5).add(20, 5, 2);
  other = side(2, b, 98);
  EXPECT_TRUE(explained().impossible);
  EXPECT_THAT(all(explained()), HasSubstr("Both records of LSN 101 are of epoch 5"));
}

TEST_F(WhatItMeans, TheNewestRecordOfTheRegisterSaysWhoLeads) {
  // n1 leads again, in epoch 8, and had no time to write: what n2 has of epoch 6 was never committed.
  one.group->record = record(8, 1, {1, 2});
  other.group->record = record(6, 2, {1, 2});
  const Meaning found = explained();
  EXPECT_EQ(found.counts, Counts::first);
  EXPECT_THAT(all(found), HasSubstr("(epoch 8) it leads"));
  EXPECT_THAT(all(found), HasSubstr("LSN 101 to 121, 21 records, of n2 are a tail"));
}

TEST_F(WhatItMeans, ARecordThatTheLogsHaveLeftBehindSaysNothing) {
  one.group->record = record(5, 1, {1, 2});
  EXPECT_EQ(explained().counts, Counts::second);
}

TEST_F(WhatItMeans, OfTwoFollowersTheOneWhoseCopyCountsIsRight) {
  one.group->record = record(9, 3, {1, 3});
  EXPECT_EQ(explained().counts, Counts::first);
  EXPECT_THAT(all(explained()), HasSubstr("its copy counts, and the other's does not"));
}

TEST_F(WhatItMeans, WhatIsCommittedIsNeverLeftBehind) {
  one.group->committed = Lsn{103};
  Meaning found = explained();
  EXPECT_TRUE(found.impossible);
  EXPECT_EQ(found.counts, Counts::neither);
  EXPECT_THAT(all(found), HasSubstr("n1 knows that LSN 101 of its own log is committed"));
  one.group->record = record(8, 1, {1, 2});
  found = explained();
  EXPECT_FALSE(found.impossible);
  EXPECT_EQ(found.counts, Counts::first);
}

TEST_F(WhatItMeans, ALateNodeLacksNothingThatGoesToQuarantine) {
  a = TestLog().add(100, 5);
  b = TestLog().add(100, 5).add(3, 5);
  one = side(1, a, 90);
  other = side(2, b, 90);
  EXPECT_THAT(all(explained()),
              HasSubstr("n2 goes on with LSN 101 to 103, 3 records, to epoch 5. n1 gets them"));
  EXPECT_FALSE(explained().impossible);
  other.group->committed = Lsn{102};
  EXPECT_THAT(all(explained()), HasSubstr("LSN 102 is committed at least, so n1 lacks"));
  EXPECT_FALSE(explained().impossible);
  other.group->record = record(6, 2, {2});
  EXPECT_FALSE(explained().impossible);
  other.group->record = record(6, 2, {1, 2});
  EXPECT_TRUE(explained().impossible) << "a copy that counts has everything that is committed";
}

TEST_F(WhatItMeans, EqualLogsAreSaidToBe) {
  b = a;
  other = side(2, b, 98);
  EXPECT_THAT(all(explained()), HasSubstr("Both logs end at LSN 105 with the same hash"));
  EXPECT_THAT(all(explained()), Not(HasSubstr("quarantine")));
}

TEST_F(WhatItMeans, OutsideOfAGroupAForcedPromotionIsNamed) {
  b = TestLog().add(100, 5).add(1, 6, 0, RecordType::forked).add(20, 6);
  one.group.reset();
  other = side(2, b, 0);
  other.group.reset();
  const Meaning found = explained();
  EXPECT_EQ(found.counts, Counts::second);
  EXPECT_THAT(all(found), HasSubstr("LSN 101 of n2 is a forced promotion"));
  EXPECT_THAT(all(found), HasSubstr("LSN 101 to 105, 5 records, of n1 never reached it"));
}

TEST_F(WhatItMeans, LogsThatDoNotMeetSayWhatTheyHave) {
  ComparedSide late = other;
  late.first = Lsn{200};
  late.end = Lsn{300};
  const Meaning found = explain(LogComparison{}, one, late);
  EXPECT_THAT(all(found), HasSubstr("n1 has LSN 1 to 105, 105 records; n2 has LSN 200 to 300, 101 records"));
  EXPECT_THAT(all(found), HasSubstr("n1 would get a full copy"));
}

}  // namespace
}  // namespace mainstay::replica
