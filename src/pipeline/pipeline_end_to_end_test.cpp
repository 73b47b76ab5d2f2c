// QueueBuilder and Processor as processes that are killed again and again, against an AMQP peer over sockets.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/test_broker.h"
#include "coordination/sqlite_store.h"
#include "ledger/sqlite_ledger.h"
#include "pipeline/folder_destination.h"
#include "pipeline/folder_source.h"
#include "pipeline/pipeline_test.h"
#include "pipeline/processor.h"
#include "pipeline/queue_builder.h"

namespace mainstay::pipeline {
namespace {

using ::testing::SizeIs;

class MachineClock final : public Clock {
 public:
  Instant now() override { return {read(CLOCK_MONOTONIC)}; }
  WallTime wall() override { return {read(CLOCK_REALTIME) / 1'000'000}; }

 private:
  static std::int64_t read(clockid_t which) {
    timespec t{};
    ::clock_gettime(which, &t);
    return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
  }
};

/// What the spawned processes run: not tests by themselves.
coordination::Register open_register(const std::string& file) {
  return coordination::Register(
      std::shared_ptr<coordination::Store>(coordination::SqliteStore::open(file, "main").value()));
}

class PipelineProcess : public ::testing::Test {
 protected:
  static std::string environment(const char* name) {
    const char* value = ::getenv(name);
    return value == nullptr ? "" : value;
  }
  void SetUp() override {
    directory_ = environment("MAINSTAY_TEST_DIRECTORY");
    if (directory_.empty()) GTEST_SKIP() << "only runs as a process of PipelineEndToEnd";
    access_.endpoints = {
        {"127.0.0.1", static_cast<std::uint16_t>(std::stoi(environment("MAINSTAY_TEST_PORT")))}};
    access_.queue = "payments";
  }
  std::string at(const std::string& name) const { return directory_ + "/" + name; }

  std::string directory_;
  BrokerAccess access_;
  const std::atomic<bool> stop_{false};
  MachineClock clock_;
  SeededRandom random_{static_cast<std::uint64_t>(::getpid())};
};

TEST_F(PipelineProcess, DISABLED_Builder) {
  QueueBuilderConfig config;
  config.region = "east";
  config.worker = "east-1";
  config.source_dir = at("source");
  config.spool_dir = at("spool");
  config.archive_dir = at("archive");
  config.status_file = at("builder.json");
  config.broker = access_;
  coordination::Register region_register = open_register(at("register.sqlite"));
  run_queue_builder(config, region_register, stop_, clock_, random_, silent()).value();
}

TEST_F(PipelineProcess, DISABLED_Processor) {
  ProcessorConfig config;
  config.region = "east";
  config.worker = "east-p";
  config.ledger_path = at("ledger.sqlite");
  config.destination_dir = at("out");
  config.parked_dir = at("parked");
  config.status_file = at("processor.json");
  config.broker = access_;
  config.sessions_max = 4;
  config.session_timeout = milliseconds(200);
  coordination::Register region_register = open_register(at("register.sqlite"));
  run_processor(config, region_register, stop_, clock_, random_, silent()).value();
}

class PipelineEndToEnd : public DirectoryTest {
 protected:
  void SetUp() override {
    DirectoryTest::SetUp();
    coordination::Register opened = open_register(at("register.sqlite"));
    activate(opened, "east", 1);
    client::TestBroker::Queue queue;
    queue.sessions = true;
    queue.detect_duplicates = true;
    broker_ = std::make_unique<client::TestBroker>("payments", queue);
  }
  pid_t spawn(const std::string& component) const {
    // By exec, not by fork alone: a child must not share the peer's sockets, nor locks of its thread.
    const std::string filter = "--gtest_filter=PipelineProcess.DISABLED_" + component;
    const std::string directory = "MAINSTAY_TEST_DIRECTORY=" + directory_;
    const std::string port = "MAINSTAY_TEST_PORT=" + std::to_string(broker_->port());
    const char* arguments[] = {"pipeline_test", filter.c_str(), "--gtest_also_run_disabled_tests",
                               "--gtest_brief=1", nullptr};
    const char* environment[] = {directory.c_str(), port.c_str(), nullptr};
    pid_t child = 0;
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    const int failed = ::posix_spawn(&child, "/proc/self/exe", &actions, nullptr,
                                     const_cast<char**>(arguments), const_cast<char**>(environment));
    ::posix_spawn_file_actions_destroy(&actions);
    EXPECT_EQ(failed, 0);
    return child;
  }
  pid_t spawn_builder() const { return spawn("Builder"); }
  pid_t spawn_processor() const { return spawn("Processor"); }
  static void kill_and_reap(pid_t child) {
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself with status " << WEXITSTATUS(status);
  }

  std::unique_ptr<client::TestBroker> broker_;
};

TEST_F(PipelineEndToEnd, KillsAndCutsInMidFlowLoseRepeatAndReorderNothing) {  // P2, P3, P4, P10
  constexpr int files = 60, per_file = 20, accounts = 7;
  constexpr std::size_t messages = files * per_file;
  std::map<std::string, std::vector<std::string>> wanted;  // ordering key → destination names
  for (int f = 0; f < files; ++f) {
    std::string content;
    for (int i = 0; i < per_file; ++i) {
      const int number = f * per_file + i;
      const std::string text = payment(number, number % accounts);
      const auto read = identified(text);
      wanted[read.ordering_key].push_back(file_name_of(read.idempotency_key));
      content += text;
    }
    char name[32];
    std::snprintf(name, sizeof name, "source/inbox/%04d.fin", f);
    put(name, content);
  }
  SeededRandom chaos(20260219);
  pid_t builder = spawn_builder();
  pid_t processor = spawn_processor();
  std::size_t arrived = 0;
  int kills = 0;
  for (int waits = 0; arrived < messages && waits < 30'000; ++waits) {
    ::usleep(2'000);
    arrived = names("out").size();
    // By progress, not by time: however fast the machine is, every kill falls into the flow.
    if (kills >= 12 || arrived < messages / 14 * (static_cast<std::size_t>(kills) + 1)) continue;
    ++kills;
    switch (chaos.below(3)) {
      case 0:
        kill_and_reap(builder);
        builder = spawn_builder();
        break;
      case 1:
        kill_and_reap(processor);
        processor = spawn_processor();
        break;
      default:
        broker_->cut();
    }
  }
  const auto ledger = ledger::SqliteLedger::open(at("ledger.sqlite")).value();
  const auto settled = [&] {
    return ledger->count(ledger::EntryState::done).value() == messages &&
           names("source/done").size() == files &&
           broker_->with("payments", [](auto& queue) { return queue.messages.empty(); });
  };
  for (int waits = 0; !settled() && waits < 2000; ++waits) ::usleep(10'000);
  kill_and_reap(builder);
  kill_and_reap(processor);
  EXPECT_EQ(kills, 12);
  EXPECT_THAT(names("out"), SizeIs(messages));
  EXPECT_THAT(names("source/done"), SizeIs(files));
  EXPECT_THAT(read_ingest_record(at("source")).value(), SizeIs(messages));
  std::map<std::string, std::vector<std::string>> done;
  ledger
      ->for_each(ledger::EntryState::done,
                 [&](const ledger::Entry& entry) { done[entry.ordering_key].push_back(entry.destination); })
      .value();
  EXPECT_EQ(done, wanted);
  EXPECT_TRUE(broker_->with("payments", [](auto& queue) { return queue.dead.empty(); }));
  EXPECT_THAT(get("processor.json"), ::testing::HasSubstr("\"component\":\"processor\""));
}

}  // namespace
}  // namespace mainstay::pipeline
