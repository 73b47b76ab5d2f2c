// Each thing that the group's checker looks at must be able to fail.
#include "sim/group_checker.h"

#include <gtest/gtest.h>

namespace mainstay::sim {
namespace {

struct GroupCheckers : testing::Test {
  Report report;
  GroupChecker checker{report};
  const Uuid disk_a{{1}}, disk_b{{2}};
  GroupChecker::DiskLog a, b;

  void SetUp() override {
    checker.disk(disk_a, &a);
    checker.disk(disk_b, &b);
    coordination::GroupRecord record;
    record.epoch = Epoch{1};
    record.leader = {"a", disk_a};
    record.isr = {{"a", disk_a}, {"b", disk_b}};
    checker.registered(record);
    for (std::uint64_t hash = 1; hash <= 4; ++hash) {
      a.hashes.push_back(hash);
      b.hashes.push_back(hash);
    }
    a.durable = b.durable = 3;
    checker.committed("a", a, Lsn{3});
  }
  [[nodiscard]] bool violated(const std::string& kind) const {
    return report.violations.size() == 1 && report.violations.front().starts_with(kind);
  }
};

TEST_F(GroupCheckers, WhatIsCommittedAndOnEveryEligibleDiskMayBeShown) {
  checker.leads(Epoch{1}, "a", 1);
  checker.leads(Epoch{1}, "a", 1);
  checker.shown("a", a, Lsn{3});
  checker.on_two_disks("a", a, Lsn{3});
  checker.on_all_eligible("a delivers", a, Lsn{3});
  checker.committed("b", b, Lsn{3}, Lsn{2});
  EXPECT_TRUE(report.violations.empty()) << report.violations.front();
}

TEST_F(GroupCheckers, EpochLedByASecondLifeIsNoticed) {
  checker.leads(Epoch{1}, "a", 1);
  checker.leads(Epoch{1}, "a", 2);
  EXPECT_TRUE(violated("I1"));
}

TEST_F(GroupCheckers, SecondCommittedHistoryIsNoticed) {
  b.hashes[1] = 99;
  checker.committed("b", b, Lsn{3});
  EXPECT_TRUE(violated("I4"));
}

TEST_F(GroupCheckers, OutputAheadOfTheCommittedHistoryIsNoticed) {
  a.durable = b.durable = 4;
  checker.shown("a", a, Lsn{4});
  EXPECT_TRUE(violated("R1"));
}

TEST_F(GroupCheckers, OutputOfARecordThatAnEligibleDiskLacksIsNoticed) {
  b.durable = 2;
  checker.shown("a", a, Lsn{3});
  EXPECT_TRUE(violated("I2"));
}

TEST_F(GroupCheckers, ConfirmOfASecondCopyThatNobodyHasIsNoticed) {
  b.durable = 2;
  checker.on_two_disks("a", a, Lsn{3});
  EXPECT_TRUE(violated("R11"));
}

TEST_F(GroupCheckers, SecondCopyOnADiskThatWasLostSinceCounts) {
  checker.disk(disk_b, nullptr);
  checker.on_two_disks("a", a, Lsn{3});
  EXPECT_TRUE(report.violations.empty());
}

TEST_F(GroupCheckers, DeliveryBeforeTheLeadershipsFirstRecordIsEverywhereIsNoticed) {
  checker.on_all_eligible("a delivers", a, Lsn{4});
  EXPECT_TRUE(violated("R1"));
}

TEST_F(GroupCheckers, CutOfWhatWasShownIsNoticed) {
  checker.shown("a", a, Lsn{3});
  checker.cut("b", b, Lsn{2}, true);
  EXPECT_TRUE(violated("I5"));
}

TEST_F(GroupCheckers, CutOfADiskThatMayNotLeadIsNoLoss) {
  checker.shown("a", a, Lsn{3});
  coordination::GroupRecord without_b;
  without_b.epoch = Epoch{9};
  without_b.leader = {"a", disk_a};
  without_b.isr = {{"a", disk_a}};
  checker.registered(without_b);
  checker.cut("b", b, Lsn{2}, true);
  EXPECT_TRUE(report.violations.empty());
}

TEST_F(GroupCheckers, CutThatKeepsNothingInQuarantineIsNoticed) {
  checker.cut("b", b, Lsn{3}, false);
  EXPECT_TRUE(violated("b cut records that are not in quarantine"));
}

TEST_F(GroupCheckers, RemovalOfWhatAnotherDiskNeedsIsNoticed) {
  b.hashes[2] = 99;
  b.hashes[3] = 98;
  checker.removed("a", a, Lsn{3});
  EXPECT_TRUE(report.violations.empty());
  checker.removed("a", a, Lsn{4});
  EXPECT_TRUE(violated("removal"));
}

TEST_F(GroupCheckers, RegisterThatGoesBackIsNoticed) {
  coordination::GroupRecord record;
  record.epoch = Epoch{1};
  checker.registered(record);
  EXPECT_TRUE(violated("the register's epoch"));
}

}  // namespace
}  // namespace mainstay::sim
