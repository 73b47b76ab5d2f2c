// A leader's and a follower's half of a full copy, joined by a wire that loses and breaks: all parts arrive,
// in order, at the pace that is allowed, whatever ends in between. H13.
#include "group/full_copy.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace mainstay::group {
namespace {

constexpr std::uint64_t kRecordBytes = 100;

Uuid uuid(std::uint8_t n) {
  Uuid id;
  id.bytes[0] = n;
  return id;
}

CopyPlan plan(std::uint8_t cut = 9) {
  CopyPlan plan;
  plan.cut = uuid(cut);
  plan.before = {Lsn{10}, 1};
  plan.end = {Lsn{60}, 2};
  plan.items = {
      {CopyKind::root, 0, 30}, {CopyKind::pages, 4, 1000}, {CopyKind::records, 0, 50 * kRecordBytes}};
  return plan;
}

TEST(FullCopy, PlacesFollowEachOther) {
  const CopyPlan p = plan();
  EXPECT_EQ(begin_of(p, 1), (CopyPlace{1, 0}));
  EXPECT_EQ(begin_of(p, 2), (CopyPlace{2, 11}));
  EXPECT_EQ(begin_of(p, 3), (CopyPlace{3, 0}));
  EXPECT_EQ(settled(p, {0, 30}), (CopyPlace{1, 0}));
  EXPECT_EQ(settled(p, {0, 29}), (CopyPlace{0, 29}));
  EXPECT_EQ(settled(p, {2, 60}), (CopyPlace{2, 60}));
  EXPECT_EQ(settled(p, {2, 61}), (CopyPlace{3, 0}));
  EXPECT_EQ(bytes_before(p, {0, 0}), 0U);
  EXPECT_EQ(bytes_before(p, {1, 500}), 530U);
  EXPECT_EQ(bytes_before(p, {2, 11}), 1030U);
  EXPECT_EQ(bytes_before(p, {2, 36}), 1030U + 2500);
  EXPECT_EQ(bytes_before(p, {3, 0}), p.bytes());
}

/// Leader and follower, each with a driver that does at once what is asked of it.
struct Halves {
  explicit Halves(std::uint64_t bytes_per_second = 1 << 20)
      : limits{.bytes_per_second = bytes_per_second, .part_bytes = 400}, giver(limits), taker(limits) {}

  void connect() {
    line = ++lines;
    taker.leader(line, now);
    act();
  }
  void disconnect() {
    taker.line_gone(line);
    line = 0;
  }
  /// Of one that has lost everything it had in memory.
  void follower_restarts() {
    disconnect();
    taker = CopyTaker(limits);
    if (have) taker.resume(*have, place);
  }
  void leader_restarts() {
    disconnect();
    giver = CopyGiver(limits);
    plans = static_cast<std::uint8_t>(plans + 1);
  }

  void act() {
    for (bool moved = true; moved;) {
      moved = false;
      std::vector<CopyTaker::Output> taking;
      taker.outputs(taking);
      for (auto& output : taking) {
        moved = true;
        if (auto* ask = std::get_if<CopyTaker::SendAsk>(&output)) {
          if (ask->to == line && !losing()) giver.asked(line, {"b", uuid(3)}, ask->ask, now);
        } else if (auto* prepare = std::get_if<CopyTaker::Prepare>(&output)) {
          have = prepare->plan;
          place = begin_of(*have, 0);
          taker.prepared(place, now);
        } else if (auto* put = std::get_if<CopyTaker::Put>(&output)) {
          EXPECT_EQ(put->at, place);
          const bool records = place.item == 2;
          place.offset += records ? put->bytes.size() / kRecordBytes : put->bytes.size();
          bytes += put->bytes.size();
          place = settled(*have, place);
          if (disk_fails) {
            taker.put(Failure{"no space"}, now);
          } else {
            taker.put(place, now);
          }
        } else if (std::holds_alternative<CopyTaker::Finish>(output)) {
          taker.finished(
              copy_is_bad ? Result<void, Failure>(Failure{"a page is damaged"}) : Result<void, Failure>{},
              now);
        } else if (std::holds_alternative<CopyTaker::Forget>(output)) {
          ++forgotten;
          have.reset();
          place = {};
          taker.forgotten(now);
        } else {
          installed = true;
        }
      }
      std::vector<CopyGiver::Output> giving;
      giver.outputs(giving);
      for (auto& output : giving) {
        moved = true;
        if (std::holds_alternative<CopyGiver::MakeCut>(output)) {
          if (no_cut) {
            giver.cut_made(Failure{"no space for a checkpoint"}, now);
          } else {
            ++cuts;
            giver.cut_made(plan(plans), now);
          }
        } else if (auto* read = std::get_if<CopyGiver::ReadPart>(&output)) {
          EXPECT_LE(read->ask.bytes, limits.part_bytes);
          std::size_t size = std::min<std::uint64_t>(read->ask.bytes, read->item.bytes - read->ask.offset);
          if (read->item.kind == CopyKind::records)
            size =
                std::min<std::uint64_t>(read->ask.bytes / kRecordBytes, 61 - read->ask.offset) * kRecordBytes;
          if (unreadable && read->item.kind == CopyKind::records) {
            giver.part_read(Failure{"LSN 30 is damaged"}, now);
          } else {
            giver.part_read(Buffer(size), now);
          }
        } else if (auto* sent_plan = std::get_if<CopyGiver::SendPlan>(&output)) {
          if (sent_plan->to == line && !losing()) taker.heard(line, sent_plan->plan, now);
        } else if (auto* part = std::get_if<CopyGiver::SendPart>(&output)) {
          if (part->to == line && !losing())
            taker.heard(line, CopyPart{part->ask.cut, part->ask.item, part->ask.offset, part->bytes}, now);
        } else if (auto* refused = std::get_if<CopyGiver::SendRefused>(&output)) {
          if (refused->to == line && !losing()) taker.heard(line, refused->refused, now);
        } else {
          ended = std::get<CopyGiver::Ended>(output).why;
        }
      }
    }
  }

  void pass(Duration time) {
    for (const Instant end = now + time; now < end && !installed;) {
      now = now + step;
      giver.tick(now);
      taker.tick(now);
      act();
    }
  }

  /// What the leader says to an ask that it does not act on.
  CopyRefused refusal_of(PeerId from, const MemberId& who, const CopyAsk& ask) {
    giver.asked(from, who, ask, now);
    std::vector<CopyGiver::Output> outputs;
    giver.outputs(outputs);
    const auto* said = outputs.empty() ? nullptr : std::get_if<CopyGiver::SendRefused>(&outputs.front());
    if (said == nullptr || outputs.size() > 1) {
      ADD_FAILURE() << "one refusal is due, there are " << outputs.size() << " outputs";
      return {};
    }
    EXPECT_EQ(said->to, from);
    return said->refused;
  }

  [[nodiscard]] bool losing() { return lose != 0 && random.below(lose) == 0; }

  CopyLimits limits;
  CopyGiver giver;
  CopyTaker taker;
  Instant now{1'000'000'000};
  PeerId line = 0, lines = 0;
  std::optional<CopyPlan> have;
  CopyPlace place;
  std::uint64_t bytes = 0;
  std::uint8_t plans = 9;
  int cuts = 0, forgotten = 0;
  bool disk_fails = false, copy_is_bad = false, no_cut = false, unreadable = false, installed = false;
  Duration step = milliseconds(1);  ///< of pass()
  std::string ended;
  std::uint64_t lose = 0;  ///< one in so many
  SeededRandom random{5};
};

TEST(FullCopy, EveryPartArrivesOnceAndInOrder) {
  Halves it;
  it.connect();
  it.pass(seconds(1));
  EXPECT_TRUE(it.installed);
  EXPECT_EQ(it.bytes, plan().bytes());
  EXPECT_EQ(it.cuts, 1);
  EXPECT_STREQ(it.taker.phase(), "installing");
  EXPECT_EQ(it.taker.bytes_done(), plan().bytes());
}

TEST(FullCopy, TheLeaderKeepsToItsPace) {
  Halves it(1000);
  it.connect();
  it.pass(seconds(5));
  EXPECT_FALSE(it.installed);
  EXPECT_NEAR(static_cast<double>(it.bytes), 5000, 500);
  it.pass(seconds(2));
  EXPECT_TRUE(it.installed);
}

TEST(FullCopy, ItGoesOnWhereItWasAfterABrokenLineAndAfterARestartOfTheFollower) {
  Halves it(1000);
  it.connect();
  it.pass(seconds(2));
  it.disconnect();
  it.pass(seconds(20));
  it.connect();
  it.pass(seconds(2));
  it.follower_restarts();
  it.pass(seconds(20));
  it.connect();
  it.pass(seconds(4));
  EXPECT_TRUE(it.installed);
  EXPECT_EQ(it.cuts, 1);
  EXPECT_LE(it.bytes, plan().bytes() + 2 * 400) << "at most the part under way is sent again";
}

TEST(FullCopy, AfterARestartOfTheLeaderItBeginsAnew) {
  Halves it(1000);
  it.connect();
  it.pass(seconds(2));
  it.leader_restarts();
  it.connect();
  it.pass(seconds(8));
  EXPECT_TRUE(it.installed);
  EXPECT_EQ(it.cuts, 2);
  EXPECT_EQ(it.forgotten, 1);
}

TEST(FullCopy, ACutThatNobodyAsksForIsGivenUpAndANewOneTaken) {
  Halves it(1000);
  it.connect();
  it.pass(seconds(2));
  EXPECT_EQ(it.giver.keeps(), Lsn{11}) << "the log is kept for it";
  it.disconnect();
  it.pass(seconds(62));
  EXPECT_FALSE(it.giver.active());
  EXPECT_EQ(it.giver.keeps(), std::nullopt);
  EXPECT_NE(it.ended.find("has not asked"), std::string::npos) << it.ended;
  it.connect();
  it.pass(seconds(8));
  EXPECT_TRUE(it.installed);
  EXPECT_EQ(it.cuts, 2);
}

TEST(FullCopy, AWholeCopyIsNotDroppedBeforeItIsInstalled) {
  Halves it;
  EXPECT_FALSE(it.taker.busy());
  it.connect();
  it.pass(seconds(1));
  ASSERT_TRUE(it.installed);
  // The member that asked for it is over by now, and so wants none: between here and the restart a driver
  // that looks must not take that for a copy that nobody needs.
  EXPECT_TRUE(it.taker.busy());
}

TEST(FullCopy, ALogThatGrowsQuickerThanTheCopyIsTakenMayGrowFurtherTheNextTime) {
  Halves it(1000);  // a copy takes six seconds
  it.limits.keep_log_bytes = 100;
  it.giver = CopyGiver(it.limits);
  it.connect();
  std::uint64_t grown = 0;
  int cuts = it.cuts;
  for (int second = 0; second < 60 && !it.installed; ++second) {
    it.pass(seconds(1));
    grown = cuts == it.cuts ? grown + 100 : 0;
    cuts = it.cuts;
    it.giver.log_grew(grown);
  }
  EXPECT_TRUE(it.installed);
  EXPECT_EQ(it.cuts, 4) << "after 100, 200, 400 bytes; with 800 it is whole";
  EXPECT_NE(it.ended.find("grown by more than 4 times keep_log_bytes"), std::string::npos) << it.ended;
  // A node that came in sync ends it: the next copy begins with the limit that was set.
  it.giver.in_sync();
  EXPECT_FALSE(it.giver.active());
  it.giver.asked(it.line, {"b", uuid(3)}, CopyAsk{}, it.now);
  it.giver.cut_made(plan(), it.now);
  it.giver.log_grew(101);
  EXPECT_FALSE(it.giver.active());
}

TEST(FullCopy, LostMessagesAreAskedForAgain) {
  for (std::uint64_t lose = 3; lose < 8; ++lose) {
    Halves it;
    it.lose = lose;
    it.connect();
    it.pass(seconds(900));
    EXPECT_TRUE(it.installed) << "one in " << lose << " lost";
  }
}

TEST(FullCopy, ACopyThatIsNotWholeIsDroppedAndTakenAnewLater) {
  Halves it;
  it.copy_is_bad = true;
  it.connect();
  it.pass(seconds(1));
  EXPECT_FALSE(it.installed);
  EXPECT_EQ(it.forgotten, 1);
  EXPECT_EQ(it.taker.problem(), "a page is damaged");
  EXPECT_EQ(it.cuts, 1) << "not again and again";
  it.copy_is_bad = false;
  it.pass(seconds(11));
  EXPECT_TRUE(it.installed);
  EXPECT_EQ(it.cuts, 2);
}

TEST(FullCopy, ACopyThatIsNeverWholeIsTakenMoreAndMoreSeldom) {
  Halves it;
  it.copy_is_bad = true;
  it.step = milliseconds(100);
  it.connect();
  it.pass(seconds(3600));
  EXPECT_GE(it.cuts, 7);
  EXPECT_LE(it.cuts, 14) << "10 s, 20 s and so on, then every ten minutes";
  it.copy_is_bad = false;
  it.pass(seconds(601));
  EXPECT_TRUE(it.installed);
}

TEST(FullCopy, ACutThatCannotBeReadIsToldAndNotMadeAgainAtOnce) {
  Halves it;
  it.unreadable = true;
  it.step = milliseconds(100);
  it.connect();
  it.pass(seconds(20));
  EXPECT_EQ(it.cuts, 1);
  EXPECT_NE(it.taker.problem().find("cannot be read: LSN 30 is damaged"), std::string::npos)
      << it.taker.problem();
  it.pass(seconds(600));
  EXPECT_GE(it.cuts, 3);
  EXPECT_LE(it.cuts, 6);
  EXPECT_FALSE(it.installed);
  it.unreadable = false;
  it.pass(seconds(1000));
  EXPECT_TRUE(it.installed);
}

TEST(FullCopy, ADiskThatFailsAndACutThatCannotBeMadeAreToldAndTriedAgain) {
  Halves it;
  it.no_cut = true;
  it.connect();
  it.pass(seconds(3));
  EXPECT_EQ(it.taker.problem(), "no space for a checkpoint");
  it.no_cut = false;
  it.disk_fails = true;
  it.pass(seconds(3));
  EXPECT_EQ(it.taker.problem(), "no space");
  it.disk_fails = false;
  it.pass(seconds(12));
  EXPECT_TRUE(it.installed);
}

TEST(FullCopy, OneNodeAfterTheOther) {
  Halves it(1000);
  it.connect();
  it.pass(seconds(1));
  EXPECT_EQ(it.refusal_of(77, {"c", uuid(5)}, CopyAsk{}).code, CopyRefusal::later);
}

TEST(FullCopy, AnAskForWhatIsNotThereIsRefused) {
  Halves it;
  it.connect();
  it.pass(milliseconds(2));
  for (const CopyAsk& ask :
       {CopyAsk{plan().cut, 3, 0, 1}, CopyAsk{plan().cut, 0, 30, 1}, CopyAsk{plan().cut, 2, 10, 1},
        CopyAsk{plan().cut, 2, 61, 1}, CopyAsk{uuid(200), 0, 0, 1}}) {
    EXPECT_EQ(it.refusal_of(it.line, {"b", uuid(3)}, ask).code, CopyRefusal::gone);
  }
}

TEST(FullCopy, AFollowerThatIsBusyWithItsDiskKeepsTheCut) {
  CopyLimits limits;
  CopyTaker taker(limits);
  Instant now{};
  taker.resume(plan(), {3, 0});
  taker.leader(1, now);
  std::vector<CopyTaker::Output> outputs;
  taker.outputs(outputs);
  ASSERT_EQ(outputs.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<CopyTaker::Finish>(outputs.front()));
  EXPECT_STREQ(taker.phase(), "verifying");
  int alive = 0;
  for (int second = 0; second < 60; ++second) {
    now = now + seconds(1);
    taker.tick(now);
    outputs.clear();
    taker.outputs(outputs);
    for (const auto& output : outputs) alive += std::get<CopyTaker::SendAsk>(output).ask.bytes == 0 ? 1 : 100;
  }
  EXPECT_EQ(alive, 12);
}

}  // namespace
}  // namespace mainstay::group
