// For tests: real voters, one etcd process each, on loopback and in a directory that goes with them.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "etcd/etcd_store.h"
#include "io/system_clock.h"

extern char** environ;

namespace mainstay::etcd {

class TestEtcd {
 public:
  /// @param more  further arguments of each member
  explicit TestEtcd(unsigned members, std::vector<std::string> more = {}, bool tls = false)
      : more_(std::move(more)) {
    if (::access("/usr/bin/etcd", X_OK) != 0) {
      problem_ = "etcd is not installed (Debian package etcd-server): nothing of it is tested";
      return;
    }
    std::string name = (std::filesystem::temp_directory_path() / "mainstay-etcd-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
    scheme_ = tls ? "https://" : "http://";
    for (unsigned i = 0; i < members; ++i) {
      ports_.push_back(free_port());
      peer_ports_.push_back(free_port());
      cluster_ += (i == 0 ? "" : ",") + member(i) + "=http://127.0.0.1:" + std::to_string(peer_ports_[i]);
    }
    pids_.resize(members);
    for (unsigned i = 0; i < members; ++i) start(i);
  }
  ~TestEtcd() {
    for (unsigned i = 0; i < pids_.size(); ++i) kill(i);
    std::error_code ignored;
    if (!directory_.empty()) std::filesystem::remove_all(directory_, ignored);
  }
  TestEtcd(const TestEtcd&) = delete;
  TestEtcd& operator=(const TestEtcd&) = delete;

  /// Why there are none; empty when there are.
  [[nodiscard]] const std::string& problem() const { return problem_; }
  [[nodiscard]] std::uint16_t port(unsigned i) const { return ports_[i]; }
  [[nodiscard]] const std::string& directory() const { return directory_; }
  [[nodiscard]] EtcdOptions options(const std::string& key) const {
    EtcdOptions options;
    for (const std::uint16_t port : ports_) options.endpoints.push_back({"127.0.0.1", port});
    options.key = key;
    options.most = seconds(5);
    return options;
  }

  void start(unsigned i) {
    const std::string client = scheme_ + "127.0.0.1:" + std::to_string(ports_[i]);
    const std::string peer = "http://127.0.0.1:" + std::to_string(peer_ports_[i]);
    std::vector<std::string> arguments = {"etcd",
                                          "--name",
                                          member(i),
                                          "--data-dir",
                                          directory_ + "/" + member(i),
                                          "--listen-client-urls",
                                          client,
                                          "--advertise-client-urls",
                                          client,
                                          "--listen-peer-urls",
                                          peer,
                                          "--initial-advertise-peer-urls",
                                          peer,
                                          "--initial-cluster",
                                          cluster_,
                                          "--heartbeat-interval",
                                          "50",
                                          "--election-timeout",
                                          "500",
                                          "--log-level",
                                          "error"};
    arguments.insert(arguments.end(), more_.begin(), more_.end());
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    const std::string log = directory_ + "/" + member(i) + ".log";
    ::posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::posix_spawn_file_actions_adddup2(&actions, 1, 2);
    if (::posix_spawn(&pids_[i], "/usr/bin/etcd", &actions, nullptr, pointers.data(), environ) != 0)
      problem_ = "etcd could not be started";
    ::posix_spawn_file_actions_destroy(&actions);
  }
  void kill(unsigned i) {
    if (pids_[i] <= 0) return;
    ::kill(pids_[i], SIGKILL);
    ::waitpid(pids_[i], nullptr, 0);
    pids_[i] = 0;
  }
  /// It stands still, its connections stay open and it says nothing: a machine that hangs.
  void pause(unsigned i) { ::kill(pids_[i], SIGSTOP); }
  void resume(unsigned i) { ::kill(pids_[i], SIGCONT); }
  [[nodiscard]] unsigned members() const { return static_cast<unsigned>(pids_.size()); }
  /// Waits until the store answers, 30 s at most.
  static testing::AssertionResult wait_for(coordination::Store& store) {
    std::string last;
    for (int turn = 0; turn < 300; ++turn) {
      const auto read = store.read();
      if (read) return testing::AssertionSuccess();
      last = read.error().what;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return testing::AssertionFailure() << "no answer in 30 s; the last was: " << last;
  }

 private:
  static std::string member(unsigned i) { return "m" + std::to_string(i); }
  static std::uint16_t free_port();

  std::vector<std::string> more_;
  std::string problem_, directory_, cluster_, scheme_;
  std::vector<std::uint16_t> ports_, peer_ports_;
  std::vector<pid_t> pids_;
};

inline const coordination::Store::Rule kNoRule = [](const coordination::Stored&) {
  return std::optional<coordination::RegisterError>();
};

/// Skips a test, with the reason, where there is no etcd.
#define NEED(voters) \
  if (!(voters).problem().empty()) GTEST_SKIP() << (voters).problem()

/// One member for all tests of a program that need no more.
TestEtcd& etcd();

}  // namespace mainstay::etcd
