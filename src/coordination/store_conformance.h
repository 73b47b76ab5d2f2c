// What every store promises through a register: included by the tests of each room that has one, which say
// INSTANTIATE_TEST_SUITE_P(…, StoreConformance, …).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "coordination/register.h"

namespace mainstay::coordination {

/// One stored record and any number of handles to it.
class Kept {
 public:
  virtual ~Kept() = default;
  virtual std::shared_ptr<Store> open_store() = 0;
  std::shared_ptr<Register> open() { return std::make_shared<Register>(open_store()); }
  /// Why there is none here, and nothing can be tested; empty = there is.
  [[nodiscard]] virtual std::string problem() const { return {}; }
};

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Kept>()> make;
};
inline void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

class StoreConformance : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    store_ = GetParam().make();
    if (!store_->problem().empty()) GTEST_SKIP() << store_->problem();
  }
  std::unique_ptr<Kept> store_;
};

inline RegionRecord record_of(std::uint64_t term, std::string region, Phase phase = Phase::active) {
  RegionRecord record;
  record.term = RegionTerm{term};
  record.region = std::move(region);
  record.phase = phase;
  record.by = "operator alice";
  record.reason = "maintenance";
  record.at = WallTime{-5};
  record.fork_lsn = Lsn{~0ULL};
  record.fork_hash = 0x8000000000000001ULL;
  return record;
}

TEST_P(StoreConformance, EmptyRegisterReadsAsRevisionZero) {
  const auto one = store_->open()->read();
  ASSERT_TRUE(one);
  EXPECT_EQ(one->revision, 0U);
  EXPECT_EQ(one->term, RegionTerm{});
}

TEST_P(StoreConformance, StoredRecordComesBackWholeThroughAnotherHandle) {
  ASSERT_EQ(store_->open()->compare_and_swap(0, record_of(3, "east", Phase::recovering))->outcome,
            CasOutcome::won);
  const auto back = store_->open()->read();
  ASSERT_TRUE(back);
  EXPECT_EQ(back->revision, 1U);
  EXPECT_EQ(back->term, RegionTerm{3});
  EXPECT_EQ(back->region, "east");
  EXPECT_EQ(back->phase, Phase::recovering);
  EXPECT_EQ(back->by, "operator alice");
  EXPECT_EQ(back->reason, "maintenance");
  EXPECT_EQ(back->at, WallTime{-5});
  EXPECT_EQ(back->fork_lsn, Lsn{~0ULL});
  EXPECT_EQ(back->fork_hash, 0x8000000000000001ULL);
}

TEST_P(StoreConformance, SwapOnAnOldRevisionLosesAndShowsWhatIsThere) {
  auto handle = store_->open();
  ASSERT_EQ(handle->compare_and_swap(0, record_of(1, "east"))->outcome, CasOutcome::won);
  const auto second = handle->compare_and_swap(0, record_of(2, "west"));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->outcome, CasOutcome::lost);
  EXPECT_EQ(second->current.region, "east");
  EXPECT_EQ(second->current.revision, 1U);
  EXPECT_EQ(handle->compare_and_swap(7, record_of(2, "west"))->outcome, CasOutcome::lost)
      << "a revision not reached yet";
  EXPECT_EQ(handle->read()->region, "east");
}

TEST_P(StoreConformance, TermNeverGoesBackAndBelongsToOneRegion) {
  auto handle = store_->open();
  ASSERT_EQ(handle->compare_and_swap(0, record_of(5, "east"))->outcome, CasOutcome::won);
  EXPECT_FALSE(handle->compare_and_swap(1, record_of(4, "east"))) << "a lower term is refused";
  EXPECT_FALSE(handle->compare_and_swap(1, record_of(5, "west"))) << "two regions in one term are refused";
  EXPECT_FALSE(handle->compare_and_swap(1, record_of(6, ""))) << "no region";
  RegionRecord latin = record_of(6, "west");
  latin.reason = "Z\xfcrich";
  EXPECT_FALSE(handle->compare_and_swap(1, latin)) << "not UTF-8: nobody could read it any more";
  EXPECT_EQ(handle->read()->revision, 1U) << "a refusal writes nothing";
  EXPECT_EQ(handle->compare_and_swap(1, record_of(5, "east", Phase::switching))->outcome, CasOutcome::won)
      << "the phase changes within a term";
  EXPECT_EQ(handle->compare_and_swap(2, record_of(6, "west"))->current.revision, 3U);
}

TEST_P(StoreConformance, ConcurrentWritersHaveExactlyOneWinnerPerRevision) {
  constexpr std::size_t kWriters = 4;
  constexpr std::uint64_t kRevisions = 12;
  std::array<std::vector<std::uint64_t>, kWriters> won;
  {
    std::vector<std::jthread> threads;
    for (std::size_t writer = 0; writer < kWriters; ++writer) {
      threads.emplace_back([this, writer, &won] {
        auto handle = store_->open();
        for (;;) {
          const auto seen = handle->read();
          if (!seen) continue;
          if (seen->revision >= kRevisions) return;
          const auto done = handle->compare_and_swap(
              seen->revision, record_of(seen->term.value + 1, "region-" + std::to_string(writer)));
          if (done && done->outcome == CasOutcome::won) won[writer].push_back(done->current.revision);
        }
      });
    }
  }
  std::vector<std::uint64_t> all;
  for (const auto& revisions : won) all.insert(all.end(), revisions.begin(), revisions.end());
  std::sort(all.begin(), all.end());
  ASSERT_EQ(all.size(), kRevisions);
  for (std::uint64_t revision = 1; revision <= kRevisions; ++revision) EXPECT_EQ(all[revision - 1], revision);
  EXPECT_EQ(store_->open()->read()->term.value, kRevisions)
      << "every winner raised the term it had read by one";
}

}  // namespace mainstay::coordination
