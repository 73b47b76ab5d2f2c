// Who may ask the voters, and whether they are the ones meant: user and password, certificates of both sides.
#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>

#include "etcd/test_etcd.h"

namespace mainstay::etcd {
namespace {

using testing::HasSubstr;
using testing::Not;

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

TEST(EtcdSecurity, WithAuthenticationTheUserAndPasswordDecide) {
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

TEST(EtcdSecurity, WithTlsBothSidesAreChecked) {
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
