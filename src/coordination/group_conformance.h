// What every store promises through a group's register: included beside store_conformance.h, whose suite
// these tests belong to.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "coordination/group_register.h"
#include "coordination/group_test_support.h"
#include "coordination/store_conformance.h"

namespace mainstay::coordination {

inline std::shared_ptr<GroupRegister> open_group(Kept& kept) {
  return std::make_shared<GroupRegister>(kept.open_store(), "payments");
}

TEST_P(StoreConformance, GroupRecordComesBackWholeThroughAnotherHandle) {
  const auto empty = open_group(*store_)->read(kNothingSeen);
  ASSERT_TRUE(empty) << empty.error().what;
  EXPECT_EQ(empty->epoch(), Epoch{});
  const GroupRecord first = group_record(1, kNodeA, {kNodeA, kNodeB});
  const auto won = open_group(*store_)->compare_and_swap(*empty, first, kNothingSeen);
  ASSERT_TRUE(won) << won.error().what;
  ASSERT_EQ(won->outcome, CasOutcome::won);
  EXPECT_EQ(won->current.record, first);
  const auto back = open_group(*store_)->read({first.cluster, Epoch{1}});
  ASSERT_TRUE(back) << back.error().what;
  EXPECT_EQ(back->revision, won->current.revision);
  EXPECT_EQ(back->record, first);
}

TEST_P(StoreConformance, GroupIsChangedByTheNextEpochOnlyAndByTheRules) {
  const auto group = open_group(*store_);
  const auto first = group->compare_and_swap({}, group_record(1, kNodeA, {kNodeA, kNodeB}), kNothingSeen);
  ASSERT_EQ(first->outcome, CasOutcome::won);
  const GroupState there = first->current;
  const auto refused = [&](const GroupRecord& next) {
    const auto swapped = group->compare_and_swap(there, next, kNothingSeen);
    return !swapped && swapped.error().kind == GroupProblem::refused;
  };
  EXPECT_TRUE(refused(group_record(1, kNodeA, {kNodeA}))) << "the same epoch again";
  EXPECT_TRUE(refused(group_record(3, kNodeA, {kNodeA}))) << "an epoch left out";
  EXPECT_TRUE(refused(group_record(2, kNodeC, {kNodeC}))) << "a leader that is not in sync";
  EXPECT_TRUE(refused(group_record(2, kNodeB, {kNodeB}))) << "a new leader that changes the set";
  EXPECT_TRUE(refused(group_record(2, kNodeB, {}))) << "no valid record";
  EXPECT_EQ(group->read(kNothingSeen)->revision, there.revision) << "a refusal writes nothing";

  const auto second = group->compare_and_swap(there, group_record(2, kNodeB, {kNodeA, kNodeB}), kNothingSeen);
  ASSERT_EQ(second->outcome, CasOutcome::won);
  const auto third =
      group->compare_and_swap(second->current, group_record(3, kNodeB, {kNodeB}), kNothingSeen);
  ASSERT_EQ(third->outcome, CasOutcome::won);
  const auto late = group->compare_and_swap(there, group_record(2, kNodeA, {kNodeA}), kNothingSeen);
  ASSERT_TRUE(late) << late.error().what;
  EXPECT_EQ(late->outcome, CasOutcome::lost);
  EXPECT_EQ(late->current.record, third->current.record) << "the loser sees what is there";
}

TEST_P(StoreConformance, GroupThatIsOlderThanWhatWasSeenDecidesNothing) {
  const auto group = open_group(*store_);
  const auto behind = [&](const Seen& seen) {
    const auto read = group->read(seen);
    return !read && read.error().kind == GroupProblem::register_behind &&
           read.error().what.find("repair-register") != std::string::npos;
  };
  EXPECT_TRUE(behind({{}, Epoch{1}})) << "it is empty and was not";
  const auto first = group->compare_and_swap({}, group_record(1, kNodeA, {kNodeA}), kNothingSeen);
  ASSERT_EQ(first->outcome, CasOutcome::won);
  EXPECT_TRUE(group->read({{}, Epoch{1}}));
  EXPECT_TRUE(behind({{}, Epoch{2}}));
  const auto swapped =
      group->compare_and_swap(first->current, group_record(2, kNodeA, {kNodeA}), {{}, Epoch{2}});
  ASSERT_FALSE(swapped);
  EXPECT_EQ(swapped.error().kind, GroupProblem::register_behind);
  EXPECT_EQ(group->read(kNothingSeen)->epoch(), Epoch{1});
  const auto stranger = group->read({test_uuid(98), Epoch{}});
  ASSERT_FALSE(stranger);
  EXPECT_EQ(stranger.error().kind, GroupProblem::other_cluster);
}

TEST_P(StoreConformance, GroupIsRepairedToAHigherEpochWhateverIsThere) {
  const auto store = store_->open_store();
  const auto group = open_group(*store_);
  ASSERT_EQ(store->compare_and_swap(0, "not a record", [](const Stored&) { return std::nullopt; })->outcome,
            CasOutcome::won);
  const auto unreadable = group->read(kNothingSeen);
  ASSERT_FALSE(unreadable);
  EXPECT_EQ(unreadable.error().kind, GroupProblem::unreadable);
  const auto blind =
      group->compare_and_swap({1, std::nullopt}, group_record(1, kNodeA, {kNodeA}), kNothingSeen);
  ASSERT_FALSE(blind);
  EXPECT_EQ(blind.error().kind, GroupProblem::unreadable);

  EXPECT_EQ(group->read_raw()->value, "not a record");
  EXPECT_EQ(*group->repair(0, group_record(8, kNodeA, {kNodeA})), CasOutcome::lost);
  ASSERT_EQ(*group->repair(1, group_record(8, kNodeA, {kNodeA})), CasOutcome::won);
  EXPECT_EQ(group->read({test_uuid(99), Epoch{7}})->epoch(), Epoch{8});
  EXPECT_FALSE(group->repair(2, group_record(8, kNodeB, {kNodeB}))) << "an epoch has one record";
  EXPECT_EQ(*group->repair(2, group_record(20, kNodeB, {kNodeB})), CasOutcome::won);
}

TEST_P(StoreConformance, GroupHasOneLeaderPerEpochWhoeverAsksAtTheSameTime) {
  constexpr std::uint64_t kEpochs = 12;
  const std::array<Member, 3> members = {kNodeA, kNodeB, kNodeC};
  const std::set<Member> all(members.begin(), members.end());
  ASSERT_EQ(open_group(*store_)->compare_and_swap({}, group_record(1, kNodeA, all), kNothingSeen)->outcome,
            CasOutcome::won);
  std::array<std::vector<std::uint64_t>, 3> led;
  {
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < members.size(); ++i) {
      threads.emplace_back([this, i, &members, &all, &led] {
        const auto group = open_group(*store_);
        Seen seen;
        for (;;) {
          const auto there = group->read(seen);
          if (!there) continue;
          seen.epoch = there->epoch();
          if (there->epoch() >= Epoch{kEpochs}) return;
          const auto next = group_record(there->epoch().value + 1, members[i], all);
          const auto swapped = group->compare_and_swap(*there, next, seen);
          if (swapped && swapped->outcome == CasOutcome::won) led[i].push_back(next.epoch.value);
        }
      });
    }
  }
  std::vector<std::uint64_t> epochs;
  for (const auto& some : led) epochs.insert(epochs.end(), some.begin(), some.end());
  std::sort(epochs.begin(), epochs.end());
  ASSERT_EQ(epochs.size(), kEpochs - 1);
  for (std::size_t i = 0; i < epochs.size(); ++i) EXPECT_EQ(epochs[i], i + 2);
}

}  // namespace mainstay::coordination
