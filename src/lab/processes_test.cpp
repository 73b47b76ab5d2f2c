#include "lab/processes.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

#include "io/system_clock.h"
#include "lab/test_directory.h"
#include "lab/text_files.h"

namespace mainstay::lab {
namespace {

using ::testing::HasSubstr;

/// Waits for a process that somebody else reaps, or doesn't: a zombie can't run any more.
bool vanishes(const std::string& pid) {
  for (int i = 0; i < 5000; ++i) {
    const auto state = read_text_file("/proc/" + pid + "/stat");
    if (!state || state->empty() || state->find(") Z") != std::string::npos) return true;
    ::usleep(1000);
  }
  return false;
}

class Processes : public ::testing::Test {
 protected:
  [[nodiscard]] Command shell(const std::string& script) const {
    return {.name = "a shell", .arguments = {"/bin/sh", "-c", script}, .log = directory.path() + "/log"};
  }
  TestDirectory directory;
};

TEST_F(Processes, OutputAndExitStatusAreKept) {
  const auto finished = run_to_end(shell("echo out; echo err >&2; exit 3"), seconds(20));
  ASSERT_TRUE(finished.has_value()) << finished.error().what;
  EXPECT_EQ(finished->end.exit_status, 3);
  EXPECT_EQ(finished->end.text(), "exit status 3");
  EXPECT_EQ(finished->output, "out\nerr\n");
}

TEST_F(Processes, AProgramThatIsNotThereIsNamed) {
  const auto started = Process::start(
      {.name = "east broker", .arguments = {"/nowhere/mainstay"}, .log = directory.path() + "/log"});
  ASSERT_FALSE(started.has_value());
  EXPECT_THAT(started.error().what, HasSubstr("east broker"));
  EXPECT_THAT(started.error().what, HasSubstr("/nowhere/mainstay: No such file"));
}

TEST_F(Processes, ACommandThatHangsIsKilledAndReported) {
  const auto finished = run_to_end(shell("echo waiting; exec sleep 100"), milliseconds(300));
  ASSERT_FALSE(finished.has_value());
  EXPECT_THAT(finished.error().what, HasSubstr("waiting"));
}

TEST_F(Processes, KillAtOnceKillsEveryMemberOfEveryGroup) {
  io::SystemClock clock;
  auto first = *Process::start(shell("sleep 100 & echo $! > " + directory.path() + "/child; wait"));
  auto second = *Process::start(shell("exec sleep 100"));
  std::string child;
  while (child.empty() || child.back() != '\n') {
    const auto read = read_text_file(directory.path() + "/child");
    child = read ? *read : "";
  }
  kill_at_once({first.get(), second.get()}, clock);
  ASSERT_TRUE(first->end() && second->end());
  EXPECT_EQ(first->end()->signal, SIGKILL);
  EXPECT_EQ(second->end()->text(), "signal 9");
  EXPECT_TRUE(vanishes(child.substr(0, child.size() - 1)));
}

TEST_F(Processes, AChildDiesWithTheDrillThatStartedIt) {
  const pid_t drill = ::fork();
  if (drill == 0) {
    auto child = *Process::start(shell("echo $$; exec sleep 100"));
    while (read_text_file(directory.path() + "/log")->find('\n') == std::string::npos) ::usleep(1000);
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(drill, nullptr, 0);
  const std::string log = *read_text_file(directory.path() + "/log");
  EXPECT_TRUE(vanishes(log.substr(0, log.find('\n'))));
}

TEST_F(Processes, LogTailGivesTheLastLines) {
  auto process = *Process::start(shell("for i in 1 2 3 4 5; do echo line $i; done"));
  ASSERT_TRUE(process->wait(seconds(20)));
  EXPECT_EQ(process->log_tail(2), "line 4\nline 5\n");
  EXPECT_EQ(process->log_tail(50), "line 1\nline 2\nline 3\nline 4\nline 5\n");
}

TEST(LoopbackPorts, AreDifferent) {
  const auto ports = free_loopback_ports(20);
  ASSERT_TRUE(ports.has_value());
  EXPECT_EQ(std::set<std::uint16_t>(ports->begin(), ports->end()).size(), 20u);
}

TEST_F(Processes, TheirOwnEnvironmentComesBeforeTheInheritedOne) {
  Command command = shell("echo $HOME $MAINSTAY_LAB_TEST; test -n \"$PATH\"");
  command.environment = {"HOME=/nowhere", "MAINSTAY_LAB_TEST=here"};
  const auto finished = run_to_end(command, seconds(20));
  ASSERT_TRUE(finished.has_value()) << finished.error().what;
  EXPECT_EQ(finished->output, "/nowhere here\n");
  EXPECT_TRUE(finished->end.ok());
}

}  // namespace
}  // namespace mainstay::lab
