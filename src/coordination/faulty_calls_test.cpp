// Calls over time: each fate gives its answer, at its time, once; and the register keeps its promises
// meanwhile.
#include "coordination/faulty_calls.h"

#include <gtest/gtest.h>

#include <map>

#include "coordination/group_test_support.h"
#include "coordination/memory_store.h"

namespace mainstay::coordination {
namespace {

class FaultyCallsTest : public testing::Test {
 protected:
  /// Everything that is due until then, in order of time and then of asking.
  void run_until(Duration until) {
    while (!due_.empty() && due_.begin()->first <= until.ns) {
      auto first = due_.extract(due_.begin());
      now_ = Duration{first.key()};
      first.mapped()();
    }
    now_ = until;
  }
  void swap(const GroupState& expected, const GroupRecord& next, const CallFate& fate) {
    calls_.compare_and_swap(expected, next, {}, fate, [this](const Result<GroupSwap, GroupError>& swapped) {
      ASSERT_TRUE(swapped) << swapped.error().what;
      answers_.emplace_back(now_.ns / 1'000'000, swapped->outcome);
    });
  }
  Epoch epoch() { return register_.read({})->epoch(); }

  std::multimap<std::int64_t, std::function<void()>> due_;
  Duration now_{};
  std::shared_ptr<MemoryStore> store_ = std::make_shared<MemoryStore>();
  GroupRegister register_{store_, "payments"};
  FaultyCalls calls_{register_, [this](Duration delay, std::function<void()> what) {
                       due_.emplace(now_.ns + delay.ns, std::move(what));
                     }};
  std::vector<std::pair<std::int64_t, CasOutcome>> answers_;  ///< milliseconds, outcome
  const GroupRecord first_ = group_record(1, kNodeA, {kNodeA, kNodeB});
};
using Answers = std::vector<std::pair<std::int64_t, CasOutcome>>;

TEST_F(FaultyCallsTest, TakesEffectOnTheWayAndAnswersAfterTheWayBack) {
  swap({}, first_, {milliseconds(5), milliseconds(7)});
  EXPECT_EQ(epoch(), Epoch{});
  run_until(milliseconds(5));
  EXPECT_EQ(epoch(), Epoch{1});
  EXPECT_EQ(answers_, Answers{});
  run_until(seconds(10));
  EXPECT_EQ(answers_, (Answers{{12, CasOutcome::won}}));
}

TEST_F(FaultyCallsTest, UnknownMayHaveHappenedOrNotOrHappensLater) {
  CallFate fate{milliseconds(5), milliseconds(5)};
  fate.patience = milliseconds(100);
  CallFate no_answer = fate, lost = fate, late = fate;
  no_answer.answered = false;
  lost.arrives = false;
  late.there = milliseconds(500);
  swap({}, first_, no_answer);
  run_until(milliseconds(200));
  EXPECT_EQ(answers_, (Answers{{100, CasOutcome::unknown}}));
  ASSERT_EQ(epoch(), Epoch{1}) << "only the answer was lost";

  const GroupState there = *register_.read({});
  swap(there, group_record(2, kNodeA, {kNodeA}), lost);
  run_until(milliseconds(400));
  EXPECT_EQ(answers_.back(), (std::pair{std::int64_t{300}, CasOutcome::unknown}));
  EXPECT_EQ(epoch(), Epoch{1});

  swap(there, group_record(2, kNodeB, {kNodeA, kNodeB}), late);
  run_until(milliseconds(899));
  EXPECT_EQ(answers_.back(), (std::pair{std::int64_t{500}, CasOutcome::unknown}));
  EXPECT_EQ(epoch(), Epoch{1});
  run_until(seconds(10));
  EXPECT_EQ(register_.read({})->record->leader, kNodeB) << "a swap of a former life landed";
  EXPECT_EQ(answers_.size(), 3U) << "each call is answered once";
}

TEST_F(FaultyCallsTest, AnOvertakenSwapLoses) {
  swap({}, first_, {milliseconds(50), milliseconds(1)});
  swap({}, group_record(1, kNodeB, {kNodeB}), {milliseconds(5), milliseconds(1)});
  run_until(seconds(10));
  EXPECT_EQ(answers_, (Answers{{6, CasOutcome::won}, {51, CasOutcome::lost}}));
}

TEST_F(FaultyCallsTest, WithoutVotersReadsAndSwapsAreErrorsAfterTheirTime) {
  store_->set_available(false);
  int errors = 0;
  const auto count = [&](const auto& answer) {
    errors += !answer && answer.error().kind == GroupProblem::unavailable;
  };
  calls_.read({}, {}, count);
  calls_.compare_and_swap({}, first_, {}, {}, count);
  CallFate lost;
  lost.arrives = false;
  calls_.read({}, lost, count);
  run_until(milliseconds(2));
  EXPECT_EQ(errors, 2);
  run_until(seconds(2));
  EXPECT_EQ(errors, 3);
}

TEST_F(FaultyCallsTest, AStorePutBackToAnOlderCopyIsSeenThrough) {
  for (std::uint64_t epoch = 1; epoch <= 3; ++epoch)
    ASSERT_EQ(
        register_.compare_and_swap(*register_.read({}), group_record(epoch, kNodeA, {kNodeA}), {})->outcome,
        CasOutcome::won);
  const GroupState third = *register_.read({});
  ASSERT_EQ(store_->history().size(), 3U);
  store_->restore(store_->history()[1]);
  const auto read = register_.read({{}, Epoch{3}});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, GroupProblem::register_behind);
  // Somebody who has seen less goes on from there; now revision 3 is there again, and is not what it was.
  ASSERT_EQ(
      register_.compare_and_swap(*register_.read({}), group_record(3, kNodeA, {kNodeA, kNodeB}), {})->outcome,
      CasOutcome::won);
  store_->restore({third.revision, encode_group_record(group_record(9, kNodeA, {kNodeA}))});
  const auto swapped = register_.compare_and_swap(third, group_record(4, kNodeA, {kNodeA}), {});
  ASSERT_TRUE(swapped) << swapped.error().what;
  EXPECT_EQ(swapped->outcome, CasOutcome::lost) << "the revision is the expected one, the epoch is not";
  EXPECT_EQ(swapped->current.epoch(), Epoch{9});
}

}  // namespace
}  // namespace mainstay::coordination
