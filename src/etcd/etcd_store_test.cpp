// The store over voters against what every store promises, and what it does beside it.
#include "etcd/etcd_store.h"

#include <gmock/gmock.h>

#include "coordination/group_conformance.h"
#include "coordination/store_conformance.h"
#include "etcd/fake_member.h"
#include "etcd/open_register.h"
#include "etcd/test_etcd.h"

namespace mainstay::etcd {

std::uint16_t TestEtcd::free_port() {
  // Below the ports that the kernel gives to connections: a member's must still be free when it starts again.
  static std::uint32_t tried = static_cast<std::uint32_t>(::getpid()) * 31;
  for (int turn = 0; turn < 12'000; ++turn) {
    const auto port = static_cast<std::uint16_t>(20'000 + tried++ % 12'000);
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(port);
    const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0;
    ::close(fd);
    if (bound) return port;
  }
  return 0;
}

TestEtcd& etcd() {
  static TestEtcd one(1);
  static const bool ready = [] {
    if (!one.problem().empty()) return false;
    io::SystemClock clock;
    EtcdStore store(one.options("/ready"), clock);
    return static_cast<bool>(TestEtcd::wait_for(store));
  }();
  EXPECT_TRUE(ready || !one.problem().empty()) << "etcd did not answer in 30 s";
  return one;
}

namespace {

using coordination::StoreConformance;
using testing::HasSubstr;

const std::string kNothingThere = R"({"header":{"cluster_id":"1","revision":"5"}})";

/// A key of its own among the voters of this test program.
class KeptInEtcd final : public coordination::Kept {
 public:
  std::shared_ptr<coordination::Store> open_store() override {
    return std::make_shared<EtcdStore>(etcd().options(key_), clock_);
  }
  [[nodiscard]] std::string problem() const override { return etcd().problem(); }

 private:
  static inline int keys_ = 0;
  const std::string key_ = "/test/" + std::to_string(++keys_);
  io::SystemClock clock_;
};

INSTANTIATE_TEST_SUITE_P(Voters, StoreConformance,
                         testing::Values(coordination::Kind{"etcd",
                                                            [] { return std::make_unique<KeptInEtcd>(); }}),
                         [](const auto& instance) { return std::string(instance.param.name); });

TEST(Base64, ComesBackAsItWas) {
  for (const std::string& text : {std::string(), std::string("f"), std::string("fo"), std::string("foo"),
                                  std::string("\0\xff\xfe\x80", 4), std::string(100, '\xaa')}) {
    EXPECT_EQ(from_base64(base64_of(text)), text);
  }
  EXPECT_EQ(base64_of("foob"), "Zm9vYg==");
  EXPECT_EQ(base64_of("fooba"), "Zm9vYmE=");
  for (const char* bad : {"Zg=", "Z===", "Zm9v!A==", "=m9v"}) EXPECT_FALSE(from_base64(bad)) << bad;
}

TEST(EtcdStore, ASwapWithoutAnAnswerIsUnknownAndNotTriedAtAnotherMember) {
  FakeMember silent([&](const std::string& request) {
    return request.find("/v3/kv/range") != std::string::npos ? FakeMember::ok(kNothingThere) : std::string();
  });
  FakeMember other([&](const std::string&) { return FakeMember::ok(kNothingThere); });
  EtcdOptions options = silent.options();
  options.endpoints.push_back({"127.0.0.1", other.port()});
  io::SystemClock clock;
  EtcdStore store(options, clock);
  const auto swapped = store.compare_and_swap(0, "x", kNoRule);
  ASSERT_TRUE(swapped) << swapped.error().what;
  EXPECT_EQ(swapped->outcome, coordination::CasOutcome::unknown);
  EXPECT_EQ(silent.asked("/v3/kv/txn"), 1);
  EXPECT_EQ(other.asked("/v3/kv/txn"), 0);
}

TEST(EtcdStore, ATimeOutOfTheVotersIsUnknownAndARefusalIsAnError) {
  std::string error = R"({"error":"etcdserver: request timed out","code":14})";
  FakeMember member([&](const std::string& request) {
    return request.find("/v3/kv/range") != std::string::npos ? FakeMember::ok(kNothingThere)
                                                             : FakeMember::ok(error, 503);
  });
  io::SystemClock clock;
  EtcdStore store(member.options(), clock);
  EXPECT_EQ(store.compare_and_swap(0, "x", kNoRule)->outcome, coordination::CasOutcome::unknown);
  error = R"({"error":"etcdserver: mvcc: database space exceeded","code":8})";
  const auto full = store.compare_and_swap(0, "x", kNoRule);
  ASSERT_FALSE(full);
  EXPECT_THAT(full.error().what, HasSubstr("database space exceeded"));
}

TEST(EtcdStore, ASwapWhoseAnswerSaysNothingIsUnknownAndNotTriedAtAnotherMember) {
  std::string nonsense;
  FakeMember member([&](const std::string& request) {
    return request.find("/v3/kv/range") != std::string::npos ? FakeMember::ok(kNothingThere) : nonsense;
  });
  FakeMember other([&](const std::string&) { return FakeMember::ok(kNothingThere); });
  EtcdOptions options = member.options();
  options.endpoints.push_back({"127.0.0.1", other.port()});
  io::SystemClock clock;
  for (const std::string& answer :
       {FakeMember::ok("<html>", 502), FakeMember::ok("<html>"), FakeMember::ok("{}", 500),
        FakeMember::ok(R"({"header":{"cluster_id":"1"}})"),
        FakeMember::ok(R"({"header":{"cluster_id":"2"},"succeeded":true})")}) {
    nonsense = answer;
    EtcdStore store(options, clock);
    const auto swapped = store.compare_and_swap(0, "x", kNoRule);
    ASSERT_TRUE(swapped) << swapped.error().what;
    EXPECT_EQ(swapped->outcome, coordination::CasOutcome::unknown) << answer;
  }
  EXPECT_EQ(member.asked("/v3/kv/txn"), 5);
  EXPECT_EQ(other.asked("/v3/kv/txn"), 0);
}

/// Three endpoints whose answers the test sets.
class EtcdClusters : public testing::Test {
 protected:
  static std::string answer(const std::string& cluster, const std::string& member) {
    return R"({"header":{"cluster_id":")" + cluster + R"(","member_id":")" + member + R"("}})";
  }
  /// Empty: it closes without a word.
  void say(std::size_t i, const std::string& body) {
    const std::lock_guard lock(mutex_);
    answers_[i] = body;
  }
  std::unique_ptr<FakeMember> member(std::size_t i) {
    return std::make_unique<FakeMember>([this, i](const std::string&) {
      const std::lock_guard lock(mutex_);
      return answers_[i].empty() ? std::string() : FakeMember::ok(answers_[i]);
    });
  }
  EtcdClusters() {
    for (std::size_t i = 0; i < 3; ++i) {
      say(i, answer("1", std::to_string(i)));
      members_[i] = member(i);
    }
    options_ = members_[0]->options();
    options_.endpoints = {};
    for (const auto& each : members_) options_.endpoints.push_back({"127.0.0.1", each->port()});
    options_.follow_restored = true;
    options_.tell = [this](const std::string& what) { told_.push_back(what); };
  }

  std::mutex mutex_;
  std::string answers_[3];
  std::unique_ptr<FakeMember> members_[3];
  EtcdOptions options_;
  std::vector<std::string> told_;
  io::SystemClock clock_;
};

TEST_F(EtcdClusters, ARestoredOneIsFollowedWhenAMajorityAnswersAsIt) {
  EtcdStore store(options_, clock_);
  ASSERT_TRUE(store.read());
  say(0, answer("2", "7"));
  say(1, "");
  say(2, answer("2", "9"));
  EXPECT_TRUE(store.read()) << "one of the three is down";
  ASSERT_EQ(told_.size(), 1U);
  EXPECT_THAT(told_[0], HasSubstr("another cluster now, 2 instead of 1: 2 of 3 endpoints"));
  EXPECT_TRUE(store.read());
  EXPECT_EQ(told_.size(), 1U) << "told once";
  // The old one has no majority left: its last member is the stranger now.
  say(0, "");
  say(1, answer("1", "1"));
  EXPECT_TRUE(store.read());
  say(2, "");
  EXPECT_FALSE(store.read());
}

TEST_F(EtcdClusters, OneStrangerIsNeverBelieved) {
  EtcdStore store(options_, clock_);
  ASSERT_TRUE(store.read());
  say(0, answer("2", "7"));
  EXPECT_TRUE(store.read()) << "the others are asked";
  say(1, "");
  say(2, "");
  const auto read = store.read();
  ASSERT_FALSE(read) << "though nobody else answers";
  EXPECT_THAT(read.error().what, HasSubstr("cluster 2 answers, and before cluster 1"));
  // It answers at two of the addresses, and is one member all the same.
  say(1, answer("2", "7"));
  EXPECT_FALSE(store.read());
  say(1, answer("3", "8"));
  EXPECT_FALSE(store.read()) << "two strangers who are none of one cluster";
  EXPECT_TRUE(told_.empty());
}

TEST_F(EtcdClusters, AsLongAsTheKnownOneAnswersItCounts) {
  EtcdStore store(options_, clock_);
  ASSERT_TRUE(store.read());
  say(0, answer("2", "7"));
  say(1, answer("2", "8"));
  EXPECT_TRUE(store.read());
  EXPECT_TRUE(told_.empty());
}

TEST_F(EtcdClusters, AnotherOneIsAnErrorForARecordWhoseReadersCannotTell) {
  options_.follow_restored = false;
  EtcdStore store(options_, clock_);
  ASSERT_TRUE(store.read());
  for (std::size_t i = 0; i < 3; ++i) say(i, answer("2", std::to_string(i)));
  const auto read = store.read();
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().what, HasSubstr("cluster 2 answers"));
  EXPECT_TRUE(told_.empty());
}

TEST_F(EtcdClusters, AChangeThatAStrangerAnsweredIsUnknown) {
  std::string txn_by = "1";
  FakeMember one([&](const std::string& request) {
    return FakeMember::ok(answer(request.find("/v3/kv/txn") != std::string::npos ? txn_by : "1", "0"));
  });
  options_.endpoints = {{"127.0.0.1", one.port()}};
  EtcdStore store(options_, clock_);
  ASSERT_TRUE(store.read());
  txn_by = "2";
  const auto swapped = store.compare_and_swap(0, "x", kNoRule);
  ASSERT_TRUE(swapped) << swapped.error().what;
  EXPECT_EQ(swapped->outcome, coordination::CasOutcome::unknown);
}

TEST(EtcdStore, WhatIsNotEtcdIsToldSo) {
  FakeMember member([](const std::string&) { return FakeMember::ok("<html>", 404); });
  io::SystemClock clock;
  EtcdStore store(member.options(), clock);
  const auto read = store.read();
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().what, HasSubstr("is it etcd's client port?"));
  EXPECT_THAT(read.error().what, HasSubstr("127.0.0.1:" + std::to_string(member.port())));
}

TEST(EtcdStore, AnAnswerThatCannotBeReadIsAnErrorAndNotAnEmptyRegister) {
  FakeMember member([](const std::string&) {
    return FakeMember::ok(
        R"({"header":{"cluster_id":"1"},"kvs":[{"version":"1","mod_revision":"7","value":"!"}]})");
  });
  io::SystemClock clock;
  EtcdStore store(member.options(), clock);
  EXPECT_FALSE(store.read());
}

TEST(OpenRegister, RecordsInOneFileAreApart) {
  std::string directory = (std::filesystem::temp_directory_path() / "mainstay-place-XXXXXX").string();
  ASSERT_NE(::mkdtemp(directory.data()), nullptr);
  RegisterPlace place;
  place.file = directory + "/register.db";
  place.group = "payments";
  io::SystemClock clock;
  const auto region = open_register(place, clock).value();
  const auto east = open_group_register(place, "east", clock).value();
  const auto west = open_group_register(place, "west", clock).value();
  using coordination::kNodeA;
  ASSERT_EQ(region->compare_and_swap(0, coordination::record_of(1, "east"))->outcome,
            coordination::CasOutcome::won);
  ASSERT_EQ(east->compare_and_swap({}, coordination::group_record(1, kNodeA, {kNodeA}), {})->outcome,
            coordination::CasOutcome::won);
  EXPECT_EQ(west->read({})->epoch(), Epoch{});
  EXPECT_EQ(region->read()->region, "east");
  EXPECT_EQ(east->read({})->record->leader, kNodeA);
  EXPECT_FALSE(open_group_register(place, "", clock));
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace mainstay::etcd
