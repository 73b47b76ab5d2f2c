// The store over voters against what every store promises, and what it does beside it.
#include "etcd/etcd_store.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <fstream>
#include <functional>

#include "coordination/group_conformance.h"
#include "coordination/store_conformance.h"
#include "etcd/open_register.h"
#include "etcd/test_etcd.h"

namespace mainstay::etcd {

std::uint16_t TestEtcd::free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  auto* address = reinterpret_cast<sockaddr*>(&at);
  const bool bound = ::bind(fd, address, size) == 0 && ::getsockname(fd, address, &size) == 0;
  ::close(fd);
  return bound ? ntohs(at.sin_port) : 0;
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
using testing::Not;

const coordination::Store::Rule kNoRule = [](const coordination::Stored&) {
  return std::optional<coordination::RegisterError>();
};

#define NEED(voters) \
  if (!(voters).problem().empty()) GTEST_SKIP() << (voters).problem()

/// Answers each HTTP request with what the test says, one connection each; an empty answer closes without
/// one.
class FakeMember {
 public:
  explicit FakeMember(std::function<std::string(const std::string& request)> answer)
      : answer_(std::move(answer)) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    auto* address = reinterpret_cast<sockaddr*>(&at);
    EXPECT_EQ(::bind(listener_, address, size), 0);
    EXPECT_EQ(::listen(listener_, 16), 0);
    EXPECT_EQ(::getsockname(listener_, address, &size), 0);
    port_ = ntohs(at.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~FakeMember() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
  }
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int asked(const std::string& path) {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(std::count(paths_.begin(), paths_.end(), path));
  }
  static std::string ok(const std::string& body, int status = 200) {
    return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\nConnection: close\r\n\r\n" + body;
  }
  [[nodiscard]] EtcdOptions options() const {
    EtcdOptions options;
    options.endpoints = {{"127.0.0.1", port_}};
    options.key = "/k";
    options.most = milliseconds(500);
    return options;
  }

 private:
  void serve() {
    for (;;) {
      const int peer = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (peer < 0) return;
      std::string request;
      char some[4096];
      std::size_t length = 0, head = std::string::npos;
      while (head == std::string::npos || request.size() < head + 4 + length) {
        const ssize_t got = ::recv(peer, some, sizeof some, 0);
        if (got <= 0) break;
        request.append(some, static_cast<std::size_t>(got));
        head = request.find("\r\n\r\n");
        if (const auto at = request.find("Content-Length: "); at != std::string::npos)
          length = std::stoul(request.substr(at + 16));
      }
      {
        const std::lock_guard lock(mutex_);
        paths_.push_back(request.substr(5, request.find(' ', 5) - 5));
      }
      const std::string answer = answer_(request);
      if (!answer.empty()) ::send(peer, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::close(peer);
    }
  }
  std::function<std::string(const std::string&)> answer_;
  int listener_ = -1;
  std::uint16_t port_ = 0;
  std::thread thread_;
  std::mutex mutex_;
  std::vector<std::string> paths_;
};

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

TEST(EtcdStore, AnotherClusterAtTheSameAddressIsAnError) {
  std::string answer = kNothingThere;
  FakeMember member([&](const std::string&) { return FakeMember::ok(answer); });
  io::SystemClock clock;
  EtcdStore store(member.options(), clock);
  ASSERT_TRUE(store.read());
  answer = R"({"header":{"cluster_id":"2","revision":"1"}})";
  const auto read = store.read();
  ASSERT_FALSE(read);
  EXPECT_THAT(read.error().what, HasSubstr("cluster 2 answers"));
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

TEST(EtcdVoters, ServeWhileAMajorityIsThereAndOtherwiseSayWhoIsMissing) {
  TestEtcd voters(3);
  NEED(voters);
  io::SystemClock clock;
  EtcdStore store(voters.options("/k"), clock);
  ASSERT_TRUE(TestEtcd::wait_for(store));
  ASSERT_EQ(store.compare_and_swap(0, "one", kNoRule)->outcome, coordination::CasOutcome::won);
  voters.kill(0);
  ASSERT_TRUE(TestEtcd::wait_for(store)) << "the two others elect a leader";
  ASSERT_EQ(store.read()->value, "one");
  ASSERT_EQ(store.compare_and_swap(1, "two", kNoRule)->outcome, coordination::CasOutcome::won);
  voters.kill(1);
  const auto alone = store.read();
  ASSERT_FALSE(alone) << "one of three knows nothing for certain";
  EXPECT_THAT(alone.error().what, HasSubstr("cannot connect"));
  const auto swapped = store.compare_and_swap(2, "three", kNoRule);
  EXPECT_TRUE(!swapped || swapped->outcome == coordination::CasOutcome::unknown);
  voters.start(0);
  voters.start(1);
  ASSERT_TRUE(TestEtcd::wait_for(store));
  EXPECT_EQ(store.read()->value, "two");
}

/// One request to the gateway, as an administrator's tool would make it.
void administer(const TestEtcd& voters, const std::string& path, const std::string& body) {
  io::HttpCall request;
  request.to = {"127.0.0.1", voters.port(0)};
  request.method = "POST";
  request.target = path;
  request.body = body;
  request.most = seconds(5);
  const auto answer = io::http_exchange(request);
  ASSERT_TRUE(answer) << answer.error().what;
  ASSERT_EQ(answer->status, 200) << path << ": " << answer->body;
}

TEST(EtcdVoters, WithAuthenticationTheUserAndPasswordDecide) {
  TestEtcd voters(1, {"--auth-token-ttl", "1"});
  NEED(voters);
  io::SystemClock clock;
  EtcdOptions options = voters.options("/k");
  EtcdStore open(options, clock);
  ASSERT_TRUE(TestEtcd::wait_for(open));
  administer(voters, "/v3/auth/user/add", R"({"name":"root","password":"secret"})");
  administer(voters, "/v3/auth/role/add", R"({"name":"root"})");
  administer(voters, "/v3/auth/user/grant", R"({"user":"root","role":"root"})");
  administer(voters, "/v3/auth/enable", "{}");
  EXPECT_FALSE(open.read()) << "nobody without a name any more";
  options.user = "root";
  options.password = "wrong";
  EtcdStore wrong(options, clock);
  const auto refused = wrong.read();
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().what, HasSubstr("user 'root' is not let in"));
  EXPECT_THAT(refused.error().what, Not(HasSubstr("wrong")));
  options.password = "secret";
  EtcdStore right(options, clock);
  ASSERT_EQ(right.compare_and_swap(0, "one", kNoRule)->outcome, coordination::CasOutcome::won);
  voters.kill(0);  // it forgets the tokens it gave out
  voters.start(0);
  ASSERT_TRUE(TestEtcd::wait_for(right)) << "a token that is not taken any more is replaced";
  EXPECT_EQ(right.compare_and_swap(1, "two", kNoRule)->outcome, coordination::CasOutcome::won);
}

void run(const std::string& command) {
  ASSERT_EQ(std::system((command + " >/dev/null 2>&1").c_str()), 0) << command;
}

TEST(EtcdVoters, WithTlsBothSidesAreChecked) {
  if (::access("/usr/bin/openssl", X_OK) != 0) GTEST_SKIP() << "no openssl to make certificates with";
  const std::string at = (std::filesystem::temp_directory_path() / "mainstay-tls-XXXXXX").string();
  std::string made = at;
  ASSERT_NE(::mkdtemp(made.data()), nullptr);
  const auto authority = [&](const std::string& name) {
    run("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=" + name + " -keyout " + made + "/" +
        name + ".key -out " + made + "/" + name + ".pem");
  };
  const auto sign = [&](const std::string& name, const std::string& by, const std::string& alternative) {
    std::ofstream(made + "/ext") << "subjectAltName=" << alternative << "\n";
    run("openssl req -newkey rsa:2048 -nodes -subj /CN=" + name + " -keyout " + made + "/" + name +
        ".key -out " + made + "/" + name + ".csr");
    run("openssl x509 -req -days 2 -in " + made + "/" + name + ".csr -CA " + made + "/" + by +
        ".pem -CAkey " + made + "/" + by + ".key -CAcreateserial -extfile " + made + "/ext -out " + made +
        "/" + name + ".pem");
  };
  authority("ca");
  authority("stranger");
  sign("server", "ca", "IP:127.0.0.1");
  sign("elsewhere", "ca", "DNS:elsewhere.example");
  sign("client", "ca", "DNS:client");
  const auto file = [&](const std::string& name) { return made + "/" + name; };
  const auto with = [&](const std::string& server) {
    return std::vector<std::string>{"--cert-file",         file(server + ".pem"), "--key-file",
                                    file(server + ".key"), "--trusted-ca-file",   file("ca.pem"),
                                    "--client-cert-auth"};
  };
  io::SystemClock clock;
  {
    TestEtcd voters(1, with("server"), true);
    NEED(voters);
    EtcdOptions options = voters.options("/k");
    options.tls = io::TlsFiles{file("ca.pem"), file("client.pem"), file("client.key")};
    EtcdStore store(options, clock);
    ASSERT_TRUE(TestEtcd::wait_for(store));
    EXPECT_EQ(store.compare_and_swap(0, "one", kNoRule)->outcome, coordination::CasOutcome::won);
    EtcdOptions nameless = options;
    nameless.tls = io::TlsFiles{file("ca.pem"), "", ""};
    EXPECT_FALSE(EtcdStore(nameless, clock).read()) << "the voters want to know who asks";
    EtcdOptions strange = options;
    strange.tls->ca = file("stranger.pem");
    const auto untrusted = EtcdStore(strange, clock).read();
    ASSERT_FALSE(untrusted);
    EXPECT_THAT(untrusted.error().what, HasSubstr("certificate verify failed"));
    EtcdOptions missing = options;
    missing.tls->ca = file("nowhere.pem");
    const auto no_file = EtcdStore(missing, clock).read();
    ASSERT_FALSE(no_file);
    EXPECT_THAT(no_file.error().what, HasSubstr("nowhere.pem"));
    EtcdOptions plain = options;
    plain.tls.reset();
    EXPECT_FALSE(EtcdStore(plain, clock).read());
  }
  {
    TestEtcd voters(1, with("elsewhere"), true);
    EtcdOptions options = voters.options("/k");
    options.tls = io::TlsFiles{file("ca.pem"), file("client.pem"), file("client.key")};
    std::string last;
    for (int turn = 0; turn < 100 && last.find("verify") == std::string::npos; ++turn) {
      const auto read = EtcdStore(options, clock).read();
      ASSERT_FALSE(read) << "a certificate for another name is not taken";
      last = read.error().what;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    EXPECT_THAT(last, HasSubstr("certificate verify failed"));
  }
  std::filesystem::remove_all(made);
}

}  // namespace
}  // namespace mainstay::etcd
