// Nodes of two releases in one group: a rolling upgrade.
#include <gtest/gtest.h>

#include "group/member_test_support.h"

namespace mainstay::group {
namespace {

using testing::TestGroup;
using Names = std::vector<std::string>;

void start(TestGroup& group, const std::string& name, std::uint16_t version) {
  group.options.packet_version = version;
  group.start(name);
}

/// As nodes do: who lost a line dials again.
void pass_redialling(TestGroup& group, Duration time) {
  for (Duration passed{}; passed < time; passed = passed + milliseconds(100)) {
    group.pass(milliseconds(100));
    group.reconnect_lost();
  }
}

/// a leads, b comes (who starts dials), each in its version.
void b_dials_leader_a(TestGroup& group, std::uint16_t version_of_a, std::uint16_t version_of_b) {
  start(group, "a", version_of_a);
  ASSERT_TRUE(group.pass_until_leader("a"));
  start(group, "b", version_of_b);
  pass_redialling(group, milliseconds(1'500));
}

std::uint16_t spoken(TestGroup& group, const std::string& name, const std::string& with) {
  const auto all = group.member(name).status().versions;
  const auto found = all.find(with);
  return found == all.end() ? std::uint16_t{0} : found->second;
}

TEST(GroupMixedVersions, ANewNodeThatDialsAnOldOneSpeaksAsItDoes) {
  TestGroup group({"a", "b"});
  ASSERT_NO_FATAL_FAILURE(b_dials_leader_a(group, 1, 2));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(spoken(group, "b", "a"), 1);
  const Lsn lsn = group.append("a");
  EXPECT_EQ(group.member("a").committed(), lsn);
  group.stop("a");
  ASSERT_TRUE(group.pass_until_leader("b")) << "the new one takes over";
}

TEST(GroupMixedVersions, AnOldNodeThatDialsANewOneIsAnsweredInItsVersion) {
  TestGroup group({"a", "b"});
  ASSERT_NO_FATAL_FAILURE(b_dials_leader_a(group, 2, 1));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(spoken(group, "a", "b"), 1);
  // A new leader delivers by what its old follower says, although that grants no lease.
  for (int i = 0; i < 30; ++i) {
    group.pass(milliseconds(100));
    ASSERT_EQ(group.member("a").delivery_refusal(group.now()), std::nullopt);
  }
  group.append("a");
  group.stop("a");
  ASSERT_TRUE(group.pass_until_leader("b")) << "the old one takes over";
}

TEST(GroupMixedVersions, OnceBothAreNewTheySpeakTheNewVersion) {
  TestGroup group({"a", "b"});
  ASSERT_NO_FATAL_FAILURE(b_dials_leader_a(group, 1, 2));
  ASSERT_EQ(spoken(group, "b", "a"), 1);
  group.stop("a", false);
  ASSERT_TRUE(group.pass_until_leader("b"));
  start(group, "a", 2);
  pass_redialling(group, milliseconds(1'500));
  EXPECT_EQ(group.isr(), (Names{"a", "b"}));
  EXPECT_EQ(spoken(group, "b", "a"), 2);
  EXPECT_EQ(spoken(group, "a", "b"), 2);
}

TEST(GroupMixedVersions, AVersionFromTheFutureIsAnsweredAndRefused) {
  TestGroup group({"a"});
  group.start("a");
  Buffer packet;
  encode(Sender{group.cluster_of("a"), {"x", Uuid{{8}}}, Epoch{1}, false}, Hello{}, packet);
  store_le(packet.data() + 16, std::uint16_t{kPacketVersion + 1});
  group.member("a").connected(77, "", group.now(), {});
  group.member("a").packet(77, packet, group.now(), {});
  std::vector<Output> outputs;
  group.member("a").outputs(outputs);
  ASSERT_EQ(outputs.size(), 1U) << "what is said before a close may be lost";
  const auto* answer = std::get_if<SendPacket>(&outputs[0]);
  ASSERT_NE(answer, nullptr) << "so that the newer one knows what to speak";
  EXPECT_EQ(decode(answer->packet)->version, kPacketVersion);
  group.member("a").packet(77, packet, group.now(), {});
  outputs.clear();
  group.member("a").outputs(outputs);
  ASSERT_EQ(outputs.size(), 1U);
  const auto* closing = std::get_if<ClosePeer>(&outputs[0]);
  ASSERT_NE(closing, nullptr) << "it goes on in it";
  EXPECT_NE(closing->why.find("version 3"), std::string::npos) << closing->why;
}

}  // namespace
}  // namespace mainstay::group
