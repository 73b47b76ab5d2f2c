// A member whose own log cannot be read where it needs it.
#include <gtest/gtest.h>

#include "group/member_test_support.h"
#include "journal/format.h"

namespace mainstay::group::testing {
namespace {

bool saw(const TestGroup::Node& node, const std::string& what) {
  return std::find(node.seen.begin(), node.seen.end(), what) != node.seen.end();
}

/// A bit of the record's body, or of its header, is another one.
void damage(TestGroup::Node& node, Lsn lsn) {
  for (const std::string& path : node.disk->paths()) {
    if (!journal::parse_segment_name(path)) continue;
    const Buffer content = node.disk->contents(path);
    std::uint64_t at = journal::kRecordsAt;
    journal::Record record;
    while (journal::decode_record(BytesView(content).subspan(at), record) == journal::DecodeStatus::ok) {
      if (record.header.lsn == lsn) {
        const std::uint64_t where = at + journal::kRecordHeaderBytes;
        node.disk->overwrite(path, where, Buffer{content[where] ^ std::byte{1}});
        return;
      }
      at += record.raw.size();
    }
  }
  FAIL() << node.name << " has no LSN " << lsn.value;
}

/// Both in sync, then b away; a has gone on alone.
class LeaderAlone : public ::testing::Test {
 protected:
  LeaderAlone() : group({"a", "b"}) {
    group.start("a");
    EXPECT_TRUE(group.pass_until_leader("a"));
    group.start("b");
    group.pass(seconds(2));
    EXPECT_EQ(group.isr().size(), 2U);
    common = group.append("a");
    group.pass(milliseconds(200));
    group.stop("b");
    group.pass(seconds(2));
    EXPECT_EQ(group.isr().size(), 1U);
    for (int i = 0; i < 3; ++i) alone = group.append("a");
    group.pass(milliseconds(200));
  }
  TestGroup group;
  Lsn common{}, alone{};
};

TEST_F(LeaderAlone, WhoCannotReadWhatAFollowerLacksSaysSoOnceAndOffersACopy) {
  damage(group.node("a"), alone);
  (void)group.append("a");
  group.start("b");
  group.pass(seconds(5));
  EXPECT_TRUE(saw(group.node("a"), "unreadable " + std::to_string(common.value + 1)) ||
              saw(group.node("a"), "unreadable " + std::to_string(alone.value)))
      << "what begins there was to be read at once";
  EXPECT_TRUE(saw(group.node("b"), "need copy"));
  EXPECT_EQ(std::count(group.node("b").seen.begin(), group.node("b").seen.end(), "need copy"), 1)
      << "not again and again";
  EXPECT_TRUE(group.leads("a")) << "it leads on with what is whole";
  EXPECT_TRUE(group.node("a").alarms.empty());
  EXPECT_TRUE(group.node("b").alarms.empty()) << "nothing is wrong with its log";
  EXPECT_EQ(group.isr().size(), 1U);
}

TEST_F(LeaderAlone, WhoCannotReadWhereAFollowersLogEndsOffersACopyToo) {
  const Lsn end = group.node("b").journal == nullptr ? common : Lsn{};
  damage(group.node("a"), end);
  group.start("b");
  group.pass(seconds(5));
  const auto& seen = group.node("a").seen;
  EXPECT_TRUE(std::any_of(seen.begin(), seen.end(),
                          [](const std::string& what) { return what.starts_with("unreadable"); }));
  EXPECT_TRUE(saw(group.node("b"), "need copy"));
  EXPECT_TRUE(group.node("b").alarms.empty());
}

TEST_F(LeaderAlone, AReadThatFailsOnceIsNoDamage) {
  for (std::uint64_t nth = 0; nth < 3; ++nth) {
    group.node("a").disk->fail_next_read(nth);
    group.start("b");
    group.pass(seconds(2));
    EXPECT_EQ(group.isr().size(), 2U) << nth;
    group.stop("b");
    group.pass(seconds(2));
    for (int i = 0; i < 3; ++i) (void)group.append("a");
  }
  const auto& seen = group.node("a").seen;
  EXPECT_FALSE(std::any_of(seen.begin(), seen.end(),
                           [](const std::string& what) { return what.starts_with("unreadable"); }));
  EXPECT_TRUE(group.node("a").alarms.empty());
}

TEST(MemberDamage, ALogThatHasToBeCutWhereItIsDamagedStopsTheNodeWhichSaysWhy) {
  TestGroup group({"a", "b"});
  group.start("a");
  ASSERT_TRUE(group.pass_until_leader("a"));
  group.start("b");
  group.pass(seconds(2));
  const Lsn common = group.append("a");
  group.pass(milliseconds(200));
  group.cut("a", "b");
  (void)group.append("a");  // on its own disk only, and never committed
  group.stop("a", false);
  ASSERT_TRUE(group.pass_until_leader("b"));
  group.mend_cuts();
  group.cut("a", "b");
  group.cut("b", "a");
  group.start("a");
  damage(group.node("a"), common);
  group.mend_cuts();
  group.heal();
  group.pass(seconds(2));
  EXPECT_EQ(group.member("a").role(), Role::stopped);
  EXPECT_TRUE(group.member("a").status().cannot_cut);
  EXPECT_TRUE(saw(group.node("a"), "unreadable " + std::to_string(common.value)));
  EXPECT_FALSE(group.node("a").restart) << "nothing is cut";
  EXPECT_TRUE(group.leads("b"));
}

}  // namespace
}  // namespace mainstay::group::testing
