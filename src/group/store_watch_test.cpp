#include "group/store_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mainstay::group {
namespace {

using testing::HasSubstr;

Uuid uuid(std::uint8_t last) {
  Uuid id;
  id.bytes[15] = last;
  return id;
}

/// One standby, its time, and the last thing it asked for.
struct Standby {
  /// @param register_every  by default it looks for nothing but the lead
  explicit Standby(bool lock_required = true, bool may_create = true,
                   Duration register_every = seconds(3'600), std::size_t lost_lately = 0) {
    WatchOptions options;
    options.cluster = uuid(1);
    options.node = "n1";
    options.may_create = may_create;
    options.lock_required = lock_required;
    options.register_every = register_every;
    options.lost_lately = lost_lately;
    watch.emplace(options, random, now);
  }
  /// Nothing: it asks for nothing.
  template <class T>
  std::optional<T> asked() {
    std::vector<WatchOutput> outputs;
    watch->outputs(outputs);
    for (const WatchOutput& output : outputs) {
      if (const auto* alarm = std::get_if<Alarm>(&output)) alarms.push_back(alarm->why);
      gave_up_lock = gave_up_lock || std::holds_alternative<GiveUpLock>(output);
      EXPECT_FALSE(last) << "one question at a time";
      if (!std::holds_alternative<Alarm>(output) && !std::holds_alternative<GiveUpLock>(output))
        last = output;
    }
    if (!last || !std::holds_alternative<T>(*last)) return std::nullopt;
    T out = std::get<T>(*last);
    last.reset();
    return out;
  }
  void pass(Duration time) {
    now = now + time;
    watch->tick(now);
  }
  /// Until it asks for the lock; asserted within a minute.
  void to_lock() {
    for (int i = 0; i < 6'000; ++i) {
      watch->tick(now);
      if (asked<TryLock>()) return;
      now = now + milliseconds(10);
    }
    ADD_FAILURE() << "it never asked for the lock";
  }
  void to_register() {
    to_lock();
    watch->lock_tried(StoreWatch::Lock::taken, "", now);
    EXPECT_TRUE(asked<LookAtStore>());
    watch->looked(sight, now);
    EXPECT_TRUE(asked<ReadRegister>());
  }
  coordination::GroupState state(std::uint64_t epoch, const std::string& leader, Uuid disk = uuid(2)) const {
    coordination::GroupState out;
    out.revision = epoch;
    out.record.emplace();
    out.record->cluster = uuid(1);
    out.record->epoch = Epoch{epoch};
    out.record->leader = {leader, disk};
    out.record->isr = {out.record->leader};
    return out;
  }

  SeededRandom random{1};
  Instant now{1'000'000'000};
  std::optional<StoreWatch> watch;
  StoreSight sight{StoreIdentity{uuid(1), uuid(2), true}, Epoch{6}, Epoch{6}, Epoch{7}};
  std::optional<WatchOutput> last;
  std::vector<std::string> alarms;
  bool gave_up_lock = false;
};

TEST(StoreWatch, LeadsInTheOrderLockStoreRegisterFence) {
  Standby it;
  it.to_register();
  it.watch->register_read(RegisterOutcome::done, it.state(7, "n2"), it.now, {});
  const auto change = it.asked<ChangeRegister>();
  ASSERT_TRUE(change);
  EXPECT_EQ(change->next.epoch, Epoch{8});
  EXPECT_EQ(change->next.leader, (MemberId{"n1", uuid(2)}));
  EXPECT_EQ(coordination::forbidden(*change->expected.record, change->next), "");
  EXPECT_FALSE(it.asked<TakeStore>()) << "not before the register said yes";
  it.watch->register_changed(RegisterOutcome::done, it.state(8, "n1"), it.now);
  const auto take = it.asked<TakeStore>();
  ASSERT_TRUE(take);
  EXPECT_EQ(take->claim.epoch, Epoch{8});
  it.watch->taken(TakenStore{"epoch-8", Epoch{6}}, it.now);
  const auto lead = it.asked<LeadOnStore>();
  ASSERT_TRUE(lead);
  EXPECT_TRUE(lead->locked);
  EXPECT_THAT(lead->why, HasSubstr("n2 is gone"));
}

TEST(StoreWatch, WithTheLockRequiredNobodyLeadsWhileItIsHeldHoweverSilentItsHolderIs) {
  Standby it;
  for (int i = 0; i < 300; ++i) {
    it.to_lock();
    it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
    ASSERT_FALSE(it.asked<LookAtStore>());
  }
  EXPECT_THAT(it.watch->status(it.now).why, HasSubstr("process 7"));
}

TEST(StoreWatch, AHolderOfTheLockHasItsTimeToBeHeardBeforeAnybodyIsToldToEndIt) {
  Standby it;
  it.to_lock();
  it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
  EXPECT_THAT(it.watch->status(it.now).why, HasSubstr("is given its time"));
  EXPECT_THAT(it.watch->status(it.now + seconds(10)).why, HasSubstr("End that process"));
}

TEST(StoreWatch, WithTheLockPreferredASilentHolderIsTakenToBeGoneAfterSuspectAfter) {
  Standby it(false);
  const Instant begun = it.now;
  for (;;) {
    it.to_lock();
    it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
    if (it.asked<LookAtStore>()) break;
    ASSERT_LT((it.now - begun).milliseconds(), 5'000);
  }
  EXPECT_GT((it.now - begun).milliseconds(), 1'200);
}

TEST(StoreWatch, ALeaderThatIsHeardIsLeftAloneThoughTheLockIsFree) {
  for (const bool required : {true, false}) {
    Standby it(required);
    for (int i = 0; i < 100; ++i) {
      it.watch->heard("n2", Epoch{7}, it.now);
      it.to_lock();
      it.watch->lock_tried(StoreWatch::Lock::taken, "", it.now);
      ASSERT_FALSE(it.asked<LookAtStore>());
      ASSERT_TRUE(std::exchange(it.gave_up_lock, false))
          << "the leader, or whoever it invited, is to have it";
    }
    it.watch->line_ended("n2");
    it.to_lock();
    it.watch->lock_tried(StoreWatch::Lock::taken, "", it.now);
    EXPECT_TRUE(it.asked<LookAtStore>()) << "its line ended and its lock is free: it is gone";
  }
}

TEST(StoreWatch, ALeaderWhoseLineIsUpAndSaysNothingIsGoneAfterSuspectAfter) {
  Standby it;
  it.watch->heard("n2", Epoch{7}, it.now);
  const Instant begun = it.now;
  for (;;) {
    it.to_lock();
    it.watch->lock_tried(StoreWatch::Lock::taken, "", it.now);
    if (it.asked<LookAtStore>()) break;
    ASSERT_LT((it.now - begun).milliseconds(), 5'000);
  }
  EXPECT_GT((it.now - begun).milliseconds(), 1'200);
}

TEST(StoreWatch, AskedToTakeTheStoreItIsThereAsSoonAsTheLockIsFree) {
  Standby it;
  it.watch->heard("n2", Epoch{7}, it.now);
  it.to_lock();
  it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
  EXPECT_FALSE(it.asked<LookAtStore>());
  it.watch->invited("n2", Epoch{7}, it.now);
  it.to_lock();
  it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
  EXPECT_FALSE(it.asked<LookAtStore>());
  const Instant before = it.now;
  it.to_lock();
  EXPECT_LE((it.now - before).milliseconds(), 10);
  it.watch->lock_tried(StoreWatch::Lock::taken, "", it.now);
  it.asked<LookAtStore>();
  it.watch->looked(it.sight, it.now);
  it.asked<ReadRegister>();
  it.watch->register_read(RegisterOutcome::done, it.state(7, "n2"), it.now, {});
  EXPECT_THAT(it.asked<ChangeRegister>()->next.reason, HasSubstr("planned move from n2"));
}

TEST(StoreWatch, ItGivesTheLockUpWhereverItGetsNoFurther) {
  const auto until_register = [](const std::function<void(Standby&)>& then) {
    Standby it;
    it.to_register();
    then(it);
    EXPECT_FALSE(it.asked<TakeStore>());
    EXPECT_TRUE(it.gave_up_lock);
    it.to_lock();  // and tries again
    return it.alarms.empty() ? std::string() : it.alarms.front();
  };
  const auto reads = [](RegisterOutcome outcome, coordination::GroupState state) {
    return [outcome, state](Standby& it) { it.watch->register_read(outcome, state, it.now, {}); };
  };
  Standby of;
  EXPECT_EQ(until_register(reads(RegisterOutcome::unavailable, {})), "");
  EXPECT_THAT(until_register(reads(RegisterOutcome::done, of.state(5, "n2"))), HasSubstr("put back"));
  EXPECT_THAT(until_register(reads(RegisterOutcome::done, {})), HasSubstr("lost or put back"));
  EXPECT_THAT(until_register(reads(RegisterOutcome::done, of.state(9, "n2", uuid(3)))),
              HasSubstr("not on this store"));
  auto foreign = of.state(9, "n2");
  foreign.record->cluster = uuid(9);
  EXPECT_THAT(until_register(reads(RegisterOutcome::done, foreign)), HasSubstr("another cluster"));
  EXPECT_EQ(until_register([&](Standby& it) {
              it.watch->register_read(RegisterOutcome::done, of.state(7, "n2"), it.now, {});
              it.asked<ChangeRegister>();
              it.watch->register_changed(RegisterOutcome::lost, of.state(8, "n3"), it.now);
            }),
            "");
}

TEST(StoreWatch, AChangeWhoseOutcomeIsUnknownCountsOnlyIfItIsThere) {
  for (const bool landed : {true, false}) {
    Standby it;
    it.to_register();
    it.watch->register_read(RegisterOutcome::done, it.state(7, "n2"), it.now, {});
    const auto change = it.asked<ChangeRegister>();
    it.watch->register_changed(RegisterOutcome::unknown, {}, it.now);
    ASSERT_TRUE(it.asked<ReadRegister>());
    // The same node's earlier life may have asked for the same epoch.
    coordination::GroupState there = it.state(8, "n1");
    if (landed) there.record = change->next;
    it.watch->register_read(RegisterOutcome::done, there, it.now, {});
    EXPECT_EQ(it.asked<TakeStore>().has_value(), landed);
  }
}

TEST(StoreWatch, AnEmptyDirectoryIsMadeAStoreOnlyForAGroupThatIsNotInTheRegister) {
  Standby known;
  known.sight = {};
  known.to_register();
  known.watch->register_read(RegisterOutcome::done, known.state(7, "n2"), known.now, {});
  EXPECT_FALSE(known.asked<MakeStore>());
  EXPECT_THAT(known.alarms.front(), HasSubstr("mounted"));

  Standby fresh;
  fresh.sight = {};
  fresh.to_register();
  fresh.watch->register_read(RegisterOutcome::done, {}, fresh.now, {});
  ASSERT_TRUE(fresh.asked<MakeStore>());
  fresh.sight.identity = StoreIdentity{uuid(1), uuid(2), false};
  fresh.watch->looked(fresh.sight, fresh.now);
  ASSERT_TRUE(fresh.asked<ReadRegister>());
  fresh.watch->register_read(RegisterOutcome::done, {}, fresh.now, {});
  EXPECT_EQ(fresh.asked<ChangeRegister>()->next.epoch, Epoch{1});

  Standby may_not(true, false);
  may_not.sight = {};
  may_not.to_register();
  may_not.watch->register_read(RegisterOutcome::done, {}, may_not.now, {});
  EXPECT_FALSE(may_not.asked<MakeStore>());
}

TEST(StoreWatch, WhatIsTakenInVainIsTriedAgainUnderAnotherEpoch) {
  Standby it;
  it.to_register();
  it.watch->register_read(RegisterOutcome::done, it.state(7, "n2"), it.now, {});
  it.asked<ChangeRegister>();
  it.watch->register_changed(RegisterOutcome::done, it.state(8, "n1"), it.now);
  it.asked<TakeStore>();
  it.watch->taken(Failure{"no space"}, it.now);
  EXPECT_FALSE(it.asked<LeadOnStore>());
  EXPECT_TRUE(it.gave_up_lock);
  it.to_register();
  it.watch->register_read(RegisterOutcome::done, it.state(8, "n1"), it.now, {});
  EXPECT_EQ(it.asked<ChangeRegister>()->next.epoch, Epoch{9});
}

TEST(StoreWatch, AnInvitationByALeaderOfThePastIsNone) {
  Standby it;
  it.watch->heard("n3", Epoch{9}, it.now);
  it.watch->invited("n2", Epoch{7}, it.now);
  it.to_lock();
  it.watch->lock_tried(StoreWatch::Lock::taken, "", it.now);
  EXPECT_FALSE(it.asked<LookAtStore>()) << "n3 leads, with the lock or without";
}

/// With the store taken from epoch 6; the last answer is due.
void take(Standby& it) {
  it.watch->looked(it.sight, it.now);
  ASSERT_TRUE(it.asked<ReadRegister>());
  it.watch->register_read(RegisterOutcome::done, it.state(7, "n2"), it.now, {});
  ASSERT_TRUE(it.asked<ChangeRegister>());
  it.watch->register_changed(RegisterOutcome::done, it.state(8, "n1"), it.now);
  ASSERT_TRUE(it.asked<TakeStore>());
  it.watch->taken(TakenStore{"epoch-8", Epoch{6}}, it.now);
}

TEST(StoreWatch, WhereTheLockProvesNothingTheLastLeadersLeaseIsWaitedOut) {
  for (const bool locked : {false, true}) {
    Standby it(false);
    for (;;) {
      it.to_lock();
      it.watch->lock_tried(locked ? StoreWatch::Lock::taken : StoreWatch::Lock::held, "process 7", it.now);
      if (it.asked<LookAtStore>()) break;
      ASSERT_LT(it.now.ns, seconds(30).ns);
    }
    take(it);
    const Instant fenced = it.now;
    EXPECT_TRUE(it.watch->status(it.now).trying);
    while (!it.asked<LeadOnStore>()) {
      it.pass(milliseconds(1));
      ASSERT_LT((it.now - fenced).milliseconds(), 2'000);
    }
    EXPECT_GE((it.now - fenced).milliseconds(), 800) << "it may have seen its fence whole until just before";
    EXPECT_LE((it.now - fenced).milliseconds(), 802);
  }
}

TEST(StoreWatch, WhoeverWasAskedToTakeTheStoreDoesNotWait) {
  Standby it(false);
  it.watch->heard("n2", Epoch{7}, it.now);
  it.watch->invited("n2", Epoch{7}, it.now);
  it.to_lock();
  it.watch->lock_tried(StoreWatch::Lock::taken, "", it.now);
  ASSERT_TRUE(it.asked<LookAtStore>());
  take(it);
  EXPECT_TRUE(it.asked<LeadOnStore>());
}

TEST(StoreWatch, WhoeverHasJustTakenTheStoreGetsTimeToReadItAndTheNextOneMore) {
  Standby it(false);
  it.sight.claims = 1;
  // Without the lock nothing is known of others but what the store shows.
  const auto until_it_takes = [&] {
    const Instant begun = it.now;
    for (;;) {
      it.to_lock();
      it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
      if (!it.asked<LookAtStore>()) continue;
      it.watch->looked(it.sight, it.now);
      if (it.asked<ReadRegister>()) {
        it.watch->register_read(RegisterOutcome::unavailable, {}, it.now, {});
        return (it.now - begun).milliseconds();
      }
      if ((it.now - begun).milliseconds() > 60'000) return std::int64_t{-1};
    }
  };
  EXPECT_LT(until_it_takes(), 1'700);
  std::int64_t before = 1'200;
  for (std::uint64_t epoch = 7; epoch < 11; ++epoch) {
    it.sight.highest = Epoch{epoch};  // another takes it and is not heard
    ++it.sight.claims;
    const std::int64_t waited = until_it_takes();
    EXPECT_GE(waited, 2 * before);
    EXPECT_LT(waited, 2 * before + 12'000);
    before = 2 * before;
  }
}

TEST(StoreWatch, WhatKeepsItFromLeadingIsToldBeforeItIsNeeded) {
  Standby it(true, true, seconds(2));
  const auto look = [&](RegisterOutcome outcome, const coordination::GroupState& state) {
    for (int i = 0; i < 1'000; ++i) {
      it.watch->heard("n2", Epoch{7}, it.now);
      it.pass(milliseconds(10));
      if (it.asked<TryLock>()) it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
      if (!it.asked<LookAtStore>()) continue;
      it.watch->looked(it.sight, it.now);
      ASSERT_TRUE(it.asked<ReadRegister>());
      it.watch->register_read(outcome, state, it.now, {});
      ASSERT_FALSE(it.asked<ChangeRegister>()) << "it wants nothing";
      return;
    }
    ADD_FAILURE() << "it never looked";
  };
  look(RegisterOutcome::done, it.state(7, "n2"));
  EXPECT_EQ(it.watch->status(it.now).unwell, "");
  look(RegisterOutcome::unavailable, {});
  EXPECT_THAT(it.watch->status(it.now).why, HasSubstr("node n2 leads; and the register does not answer"));
  EXPECT_FALSE(it.watch->status(it.now).register_refused);
  look(RegisterOutcome::done, it.state(5, "n2"));
  EXPECT_TRUE(it.watch->status(it.now).register_refused);
  look(RegisterOutcome::done, it.state(5, "n2"));
  look(RegisterOutcome::done, {});
  EXPECT_TRUE(it.watch->status(it.now).register_refused);
  it.asked<TryLock>();
  ASSERT_EQ(it.alarms.size(), 2U) << "each once";
  EXPECT_THAT(it.alarms.front(), HasSubstr("put back"));
  look(RegisterOutcome::done, it.state(9, "n2"));
  EXPECT_EQ(it.watch->status(it.now).unwell, "") << "repaired";
  EXPECT_FALSE(it.watch->status(it.now).register_refused);
}

TEST(StoreWatch, AStoreThatIsNotMadeYetIsNoReasonForAnAlarm) {
  Standby it(true, true, seconds(2));
  it.sight = {};
  for (int i = 0; i < 1'000; ++i) {
    it.pass(milliseconds(10));
    if (it.asked<TryLock>()) it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
    if (it.asked<LookAtStore>()) it.watch->looked(it.sight, it.now);
    ASSERT_FALSE(it.asked<ReadRegister>());
  }
  EXPECT_TRUE(it.alarms.empty());
}

TEST(StoreWatch, WhoeverLostTheStoreLatelyLeavesTheOtherInPeaceForLongerUnlessTheLockIsFree) {
  std::int64_t before = 0;
  for (std::size_t lost = 0; lost < 4; ++lost) {
    Standby it(false, true, seconds(3'600), lost);
    const Instant begun = it.now;
    for (;;) {
      it.to_lock();
      it.watch->lock_tried(StoreWatch::Lock::held, "process 7", it.now);
      if (it.asked<LookAtStore>()) break;
      ASSERT_LT((it.now - begun).milliseconds(), 60'000);
    }
    EXPECT_GT((it.now - begun).milliseconds(), before + before / 2);
    before = (it.now - begun).milliseconds();
    Standby free(false, true, seconds(3'600), lost);
    free.to_lock();
    free.watch->lock_tried(StoreWatch::Lock::taken, "", free.now);
    EXPECT_TRUE(free.asked<LookAtStore>());
  }
}

}  // namespace
}  // namespace mainstay::group
