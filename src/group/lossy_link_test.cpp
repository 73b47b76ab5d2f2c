// A group on a link that loses 30 % of all packets and delays the others by up to 200 ms, for ten minutes of
// virtual time: who leads must not flap, and what is published must get through.
#include <gtest/gtest.h>

#include <iostream>

#include "group/member_test_support.h"

namespace mainstay::group {
namespace {

using testing::TestGroup;

/// What TCP makes of such a link, one way. A lost packet is found out by what follows it (a beacon every
/// 100 ms, two at least) and is sent again, and again when that is lost, too; what is behind it waits.
class LossyLine {
 public:
  LossyLine(double loss, Duration jitter)
      : loss_permille_(static_cast<std::uint64_t>(loss * 1'000)), jitter_(jitter) {}
  Duration delay(Random& random) const {
    Duration time = Duration{static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(jitter_.ns)))};
    while (random.below(1'000) < loss_permille_) time = time + milliseconds(300);
    return time;
  }

 private:
  std::uint64_t loss_permille_;
  Duration jitter_;
};

struct Course {
  int takeovers = 0, drops = 0, refusals = 0, looks = 0, looks_in_sync = 0;
  [[nodiscard]] double in_sync() const { return static_cast<double>(looks_in_sync) / looks; }
  Duration longest_wait{};  ///< of a record for its commit
};

Course ten_minutes(std::uint64_t seed, const MemberOptions& options) {
  Course course;
  SeededRandom random(seed);
  const LossyLine line(0.3, milliseconds(200));
  TestGroup group({"a", "b"});
  group.options = options;
  group.step = milliseconds(10);
  group.start("a");
  EXPECT_TRUE(group.pass_until_leader("a"));
  group.start("b");
  group.pass(seconds(1));
  group.delay = [&](const auto&, const auto&) { return line.delay(random); };
  std::string leader = "a";
  std::size_t in_sync = 2;
  Lsn waits{};
  Instant since = group.now();
  for (const Instant end = group.now() + seconds(600); group.now() < end;) {
    group.pass(milliseconds(50));
    for (const char* name : {"a", "b"})
      if (group.node(name).restart) group.begin_anew(name);
    const auto& record = group.in_register().record;
    if (record->leader.node != leader) ++course.takeovers;
    if (record->isr.size() < in_sync) ++course.drops;
    leader = record->leader.node;
    in_sync = record->isr.size();
    ++course.looks;
    if (in_sync == 2) ++course.looks_in_sync;
    if (!group.leads(leader)) continue;
    if (group.member(leader).delivery_refusal(group.now())) ++course.refusals;
    // One record after the other: each waits for the one before.
    if (group.member(leader).committed() >= waits) {
      since = group.now();
      waits = group.append(leader);
    }
    course.longest_wait = std::max(course.longest_wait, group.now() - since);
  }
  return course;
}

class LossyLink : public ::testing::TestWithParam<std::uint64_t> {};
INSTANTIATE_TEST_SUITE_P(Seeds, LossyLink, ::testing::Values(1U, 2U, 3U));

TEST_P(LossyLink, TenMinutesDoNotMakeTheLeadFlap) {
  MemberOptions options;
  options.suspect_after_max = milliseconds(6'000);
  const Course course = ten_minutes(GetParam(), options);
  std::cout << course.takeovers << " takeovers, " << course.drops << " times without the backup, fenced in "
            << course.refusals << " looks, in sync " << course.in_sync() << " of the time, longest commit "
            << course.longest_wait.milliseconds() << " ms\n";
  EXPECT_LE(course.takeovers, 2);
  EXPECT_GE(course.in_sync(), 0.9);
  EXPECT_LE(course.drops, 20) << "two a minute";
  EXPECT_EQ(course.refusals, 0) << "the leader is never in doubt";
  EXPECT_LE(course.longest_wait, seconds(5));
}

TEST(LossyLinkWithoutMeasuring, TheBackupIsAwayAllTheTime) {
  MemberOptions options;  // no room to grow
  const Course course = ten_minutes(1, options);
  std::cout << course.takeovers << " takeovers, " << course.drops << " times without the backup, in sync "
            << course.in_sync() << " of the time\n";
  EXPECT_LE(course.in_sync(), 0.7) << "else the test above would see nothing";
}

}  // namespace
}  // namespace mainstay::group
