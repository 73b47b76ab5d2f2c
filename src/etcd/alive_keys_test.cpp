// Keys that say who is there, against real voters.
#include "etcd/alive_keys.h"

#include <gmock/gmock.h>

#include "etcd/fake_member.h"
#include "etcd/test_etcd.h"

namespace mainstay::etcd {
namespace {

using testing::HasSubstr;

class AliveKeysOf : public testing::Test {
 protected:
  AliveKeys keys(const EtcdOptions& options) {
    RegisterPlace place;
    place.etcd = options;
    place.group = testing::UnitTest::GetInstance()->current_test_info()->name();
    return *AliveKeys::of(place, "east", clock_);
  }
  static Alive alive(const std::string& node, const std::string& role = "backup", std::uint64_t epoch = 3) {
    return {node, "5f0c9a52", role, epoch, {1'700'000'000'000}};
  }
  io::SystemClock clock_;
};

TEST_F(AliveKeysOf, AFileHasNone) {
  RegisterPlace place;
  place.file = "register.db";
  EXPECT_FALSE(AliveKeys::of(place, "east", clock_));
}

TEST_F(AliveKeysOf, WhatANodeSaysIsReadAndGoesWhenItLeaves) {
  NEED(etcd());
  AliveKeys one = keys(etcd().options("/unused")), other = keys(etcd().options("/unused"));
  ASSERT_TRUE(one.say(alive("east-1", "leader", 12)));
  ASSERT_TRUE(other.say(alive("east-2")));
  auto all = one.read();
  ASSERT_TRUE(all) << all.error().what;
  ASSERT_EQ(all->size(), 2U);
  EXPECT_EQ(all->at("east-1").role, "leader");
  EXPECT_EQ(all->at("east-1").epoch, 12U);
  EXPECT_EQ(all->at("east-2").at.ms, 1'700'000'000'000);
  ASSERT_TRUE(one.say(alive("east-1", "backup", 13)));
  EXPECT_EQ(one.read()->at("east-1").role, "backup") << "under the same lease";
  ASSERT_TRUE(one.leave());
  all = other.read();
  EXPECT_EQ(all->size(), 1U);
  EXPECT_FALSE(all->contains("east-1"));
}

TEST_F(AliveKeysOf, ALeaseThatIsGoneIsReplaced) {
  NEED(etcd());
  AliveKeys one = keys(etcd().options("/unused"));
  ASSERT_TRUE(one.say(alive("east-1")));
  // Somebody takes all leases away, as time does with a node that was stopped for long.
  io::HttpCall call;
  call.to = {"127.0.0.1", etcd().port(0)};
  call.method = "POST";
  call.target = "/v3/lease/leases";
  call.body = "{}";
  call.most = seconds(5);
  const std::string leases = io::http_exchange(call)->body;
  for (std::size_t at = leases.find("\"ID\":\""); at != std::string::npos;
       at = leases.find("\"ID\":\"", at + 6)) {
    call.target = "/v3/lease/revoke";
    call.body = "{\"ID\":\"" + leases.substr(at + 6, leases.find('"', at + 6) - at - 6) + "\"}";
    ASSERT_EQ(io::http_exchange(call)->status, 200);
  }
  ASSERT_TRUE(one.read()->empty());
  ASSERT_TRUE(one.say(alive("east-1")));
  EXPECT_EQ(one.read()->size(), 1U);
}

TEST_F(AliveKeysOf, VotersThatAreAwayAreAnErrorThatNamesThem) {
  FakeMember silent([](const std::string&) { return std::string(); });
  AliveKeys one = keys(silent.options());
  const auto said = one.say(alive("east-1"));
  ASSERT_FALSE(said);
  EXPECT_THAT(said.error().what, HasSubstr("127.0.0.1:" + std::to_string(silent.port())));
  EXPECT_FALSE(one.read());
  EXPECT_TRUE(one.leave()) << "nothing was said";
}

TEST(AliveText, ComesBackAndNonsenseIsLeftOut) {
  const Alive sent{"east-1", "5f0c", "leader", 12, {34}};
  const auto got = decode_alive(encode_alive(sent));
  ASSERT_TRUE(got);
  EXPECT_EQ(encode_alive(*got), encode_alive(sent));
  for (const char* bad : {"", "[]", "{}", R"({"format":2,"node":"a","role":"leader","epoch":1,"at_ms":1})",
                          R"({"format":1,"node":"","role":"leader","epoch":1,"at_ms":1})",
                          R"({"format":1,"node":"a","role":"leader","epoch":-1,"at_ms":1})"})
    EXPECT_FALSE(decode_alive(bad)) << bad;
}

}  // namespace
}  // namespace mainstay::etcd
