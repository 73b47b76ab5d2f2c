// Who gets how much publish credit.
#include "frontend/credit_policy.h"

#include <gtest/gtest.h>

#include <numeric>

namespace mainstay::frontend {
namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB;

std::uint64_t sum(const std::vector<std::uint64_t>& of) {
  return std::accumulate(of.begin(), of.end(), std::uint64_t{0});
}

TEST(CreditPolicy, ALonelyLinkWithSmallMessagesHasItsWholeWindow) {
  const CreditLimits limits;
  const CreditBudget budget = credit_budget(limits, {});
  const std::vector<CreditLink> links = {{1, 1, kKiB, 0, true}};
  const auto shares = share_credit(limits, budget.bytes, links);
  EXPECT_EQ(credit_of(budget, shares[0], kKiB), 1000U);
}

TEST(CreditPolicy, CreditIsBoundedInBytes) {
  const CreditLimits limits;
  const CreditBudget budget = credit_budget(limits, {});
  const std::vector<CreditLink> links = {{1, 1, kMiB, 0, true}};
  const auto shares = share_credit(limits, budget.bytes, links);
  EXPECT_EQ(credit_of(budget, shares[0], kMiB), limits.journal_bytes / kMiB);
}

TEST(CreditPolicy, AHundredLinksOfOneProducerCountLikeOneOfAnother) {
  const CreditLimits limits;
  const std::uint64_t budget = 8 * kMiB;
  std::vector<CreditLink> links(100, CreditLink{1, 1, 10 * kKiB, 0, true});
  links.push_back({2, 2, 10 * kKiB, 0, true});
  const auto shares = share_credit(limits, budget, links);
  EXPECT_EQ(shares.back(), 4 * kMiB) << "half of the budget for the connection with one link";
  EXPECT_LE(sum(shares), budget);
  EXPECT_GT(sum(shares), budget - 200);
  for (std::size_t i = 0; i < 100; ++i) EXPECT_NEAR(static_cast<double>(shares[i]), 4.0 * kMiB / 100, 2);
}

TEST(CreditPolicy, WhatOneDoesNotNeedGoesToTheOthers) {
  CreditLimits limits;
  limits.link_credit = 100;
  const std::vector<CreditLink> links = {{1, 1, 100, 0, true}, {2, 1, kMiB, 0, true}, {3, 1, kMiB, 0, true}};
  const auto shares = share_credit(limits, 10 * kMiB, links);
  EXPECT_EQ(shares[0], 2U * 100 * 100) << "twice its window, no more";
  EXPECT_EQ(shares[1], (10 * kMiB - shares[0]) / 2);
  EXPECT_NEAR(static_cast<double>(shares[2]), static_cast<double>(shares[1]), 1);
}

TEST(CreditPolicy, IdleLinksGetWhatIsLeft) {
  const CreditLimits limits;
  std::vector<CreditLink> links(1000);
  for (std::size_t i = 0; i < links.size(); ++i) links[i] = {i + 1, 1, kMiB, 0, false};
  links[500].active = true;
  const auto shares = share_credit(limits, 32 * kMiB, links);
  EXPECT_EQ(shares[500], 32 * kMiB) << "999 that only might send do not slow the one that does";
  const CreditBudget budget{32 * kMiB, 32 * kMiB, 1000, StallReason::journal};
  EXPECT_EQ(credit_of(budget, shares[0], kMiB), 1U) << "but may begin";
}

TEST(CreditPolicy, NoConnectionAndNoQueueGetsMoreThanItsLimit) {
  CreditLimits limits;
  limits.connection_bytes = 10 * kMiB;
  limits.queue_bytes = 15 * kMiB;
  const std::vector<CreditLink> links = {
      {1, 1, kMiB, 4 * kMiB, true}, {2, 1, kMiB, 0, true}, {3, 1, kMiB, 0, false}, {4, 2, kMiB, 0, true}};
  const auto shares = share_credit(limits, 200 * kMiB, links);
  EXPECT_EQ(shares[0], 6 * kMiB) << "less what it has in memory";
  EXPECT_EQ(shares[0] + shares[1] + shares[2], 15 * kMiB);
  EXPECT_EQ(shares[2], 0U) << "those that publish come first";
  EXPECT_EQ(shares[3], 10 * kMiB) << "another queue is not touched by it";
}

TEST(CreditPolicy, CreditShrinksGraduallyAndGrowsBack) {
  const CreditLimits limits;
  const std::vector<CreditLink> links = {{1, 1, 32 * kKiB, 0, true}};
  std::vector<std::uint32_t> credits;
  for (std::uint64_t used = 0; used <= 32; used += 4) {
    CreditFigures figures;
    figures.journal_bytes = used * kMiB;
    const CreditBudget budget = credit_budget(limits, figures);
    credits.push_back(credit_of(budget, share_credit(limits, budget.bytes, links)[0], 32 * kKiB));
  }
  EXPECT_EQ(credits, (std::vector<std::uint32_t>{1000, 896, 768, 640, 512, 384, 256, 128, 0}));
}

TEST(CreditPolicy, TheScarcestResourceBoundsAndGivesItsName) {
  const CreditLimits limits;
  CreditFigures figures;
  EXPECT_EQ(credit_budget(limits, figures).bound_by, StallReason::journal);
  figures.memory_bytes = 250 * kMiB;
  EXPECT_EQ(credit_budget(limits, figures).bound_by, StallReason::memory);
  EXPECT_EQ(credit_budget(limits, figures).bytes, 6 * kMiB);
  figures.journal_room = 1 * kMiB;
  figures.journal_room_full = 8 * kMiB;
  EXPECT_EQ(credit_budget(limits, figures).bound_by, StallReason::journal);
  EXPECT_EQ(credit_budget(limits, figures).bytes, 1 * kMiB);
  figures.disk_full = true;
  EXPECT_EQ(credit_budget(limits, figures).bound_by, StallReason::disk_full);
  figures.disk_full = false;
}

TEST(CreditPolicy, AnotherRegionThatFallsBehindSlowsAndNeverStops) {
  const CreditLimits limits;
  CreditFigures figures;
  figures.held_back = 0.75;
  EXPECT_EQ(credit_budget(limits, figures).bound_by, StallReason::replication);
  EXPECT_EQ(credit_of(credit_budget(limits, figures), kMiB, kKiB), 250U);
  figures.held_back = 1;
  EXPECT_EQ(credit_of(credit_budget(limits, figures), kMiB, kKiB), 1U);
  figures.journal_room = 0;
  EXPECT_EQ(credit_budget(limits, figures).bound_by, StallReason::journal) << "what stops is what is told";
}

TEST(CreditPolicy, WhileANodeCatchesUpPublishersShareWhatTheirPaceLeaves) {
  const CreditLimits limits;
  CreditFigures figures;
  figures.pace_room_full = 2 * kMiB;
  figures.pace_room = kMiB;
  const std::vector<CreditLink> links = {{1, 1, kKiB, 0, true}, {2, 1, kKiB, 0, true}};
  CreditBudget budget = credit_budget(limits, figures);
  EXPECT_EQ(budget.bound_by, StallReason::catch_up);
  EXPECT_EQ(credit_of(budget, share_credit(limits, budget.bytes, links)[1], kKiB), 512U) << "half of it each";
  figures.pace_room = 0;
  budget = credit_budget(limits, figures);
  EXPECT_EQ(credit_of(budget, share_credit(limits, budget.bytes, links)[1], kKiB), 0U);
}

TEST(CreditPolicy, OnAFullDiskOneMessageIsLetThroughToBeToldWhy) {
  const CreditLimits limits;
  CreditFigures figures;
  figures.journal_room = 0;
  EXPECT_EQ(credit_of(credit_budget(limits, figures), 0, kKiB), 0U);
  figures.disk_full = true;
  EXPECT_EQ(credit_of(credit_budget(limits, figures), 0, kKiB), 1U);
}

TEST(CreditPolicy, ALargerMessageIsExpectedAtOnceAndForgottenSlowly) {
  MessageSize size(kMiB);
  EXPECT_EQ(size.expected(), kMiB) << "the largest allowed while none was seen";
  size.seen(100);
  EXPECT_EQ(size.expected(), 100U);
  size.seen(kMiB);
  EXPECT_EQ(size.expected(), kMiB);
  for (int i = 0; i < 10; ++i) size.seen(100);
  EXPECT_GT(size.expected(), kMiB * 8 / 10);
  for (int i = 0; i < 1000; ++i) size.seen(100);
  EXPECT_LT(size.expected(), 200U);
  size.seen(0);
  EXPECT_GE(size.expected(), 1U);
}

}  // namespace
}  // namespace mainstay::frontend
