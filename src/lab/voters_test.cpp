// Real etcd members in namespaces of their own. Skipped where etcd or namespaces are missing.
#include "lab/voters.h"

#include <gmock/gmock.h>
#include <signal.h>

#include "lab/test_directory.h"

namespace mainstay::lab {
namespace {

using ::testing::HasSubstr;

class ThreeVoters : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = Voters::why_impossible(); !why.empty()) GTEST_SKIP() << why;
    auto made = Network::create({"a", "b", "c", "seat"}, 7);
    ASSERT_TRUE(made.has_value()) << made.error().what;
    network = std::move(*made);
    auto started = Voters::start(*network, {"a", "b", "c"}, "seat", directory.path() + "/voters");
    ASSERT_TRUE(started.has_value()) << started.error().what;
    voters = std::move(*started);
  }
  void put(const std::string& value) {
    const auto done = voters->ask({"put", "term", value});
    ASSERT_TRUE(done.has_value()) << done.error().what;
  }
  [[nodiscard]] std::string get() {
    const auto value = voters->ask({"get", "term", "--print-value-only"});
    return value ? *value : value.error().what;
  }
  TestDirectory directory;
  std::unique_ptr<Network> network;
  std::unique_ptr<Voters> voters;
};

TEST_F(ThreeVoters, AMinorityMayDieOrBeCutOffAndAMajorityMayNot) {
  put("7");
  voters->kill("a");
  ASSERT_TRUE(voters->wait_until_serving(seconds(20)));
  EXPECT_EQ(get(), "7\n");
  network->isolate("b");
  EXPECT_FALSE(voters->ask({"get", "term"}).has_value());
  network->rejoin("b");
  ASSERT_TRUE(voters->wait_until_serving(seconds(20)));
  voters->kill_all();
  EXPECT_FALSE(voters->ask({"get", "term"}).has_value());
  ASSERT_TRUE(voters->restart_all());
  ASSERT_TRUE(voters->wait_until_serving(seconds(20)));
  EXPECT_EQ(get(), "7\n");
}

TEST_F(ThreeVoters, AnOldSnapshotForgetsWhatWasWrittenAfterIt) {
  put("7");
  const std::string file = directory.path() + "/snapshot";
  const auto saved = voters->save_snapshot("a", file);
  ASSERT_TRUE(saved.has_value()) << saved.error().what;
  put("8");
  EXPECT_EQ(get(), "8\n");
  const auto restored = voters->restore_snapshot(file);
  ASSERT_TRUE(restored.has_value()) << restored.error().what;
  EXPECT_EQ(get(), "7\n");
}

TEST_F(ThreeVoters, AFrozenMemberComesBackWithWhatTheOthersDecided) {
  put("7");
  voters->process("a").signal(SIGSTOP);
  ASSERT_TRUE(voters->wait_until_serving(seconds(20)));
  put("8");
  voters->process("a").signal(SIGCONT);
  for (const char* other : {"b", "c"}) network->cut("seat", other);
  ASSERT_TRUE(voters->wait_until_serving(seconds(20)));
  EXPECT_THAT(get(), HasSubstr("8"));
}

}  // namespace
}  // namespace mainstay::lab
