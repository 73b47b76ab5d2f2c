#include "lab/processes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/assert.h"
#include "lab/text_files.h"

namespace mainstay::lab {
namespace {

ProcessEnd end_of(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {.exit_status = 0, .signal = WTERMSIG(wait_status)};
  return {.exit_status = WEXITSTATUS(wait_status), .signal = 0};
}

/// In the child, between fork and exec: only what is safe after fork in a threaded process.
[[noreturn]] void become(char* const* arguments, char* const* environment, int network_namespace, int log,
                         int failure_pipe, pid_t parent) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the parent ended before the line above
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(log, STDOUT_FILENO);
  ::dup2(log, STDERR_FILENO);
  if (network_namespace < 0 || ::setns(network_namespace, CLONE_NEWNET) == 0)
    ::execve(arguments[0], arguments, environment);
  const int reason = errno;
  static_cast<void>(::write(failure_pipe, &reason, sizeof reason));
  ::_exit(127);
}

/// This process's environment, with `own` in place of what has the same name.
std::vector<char*> environment_with(const std::vector<std::string>& own) {
  std::vector<char*> all;
  for (const std::string& variable : own) all.push_back(const_cast<char*>(variable.c_str()));
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string_view text = *variable;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    if (std::ranges::none_of(own, [&](const std::string& other) { return other.starts_with(name); }))
      all.push_back(*variable);
  }
  all.push_back(nullptr);
  return all;
}

}  // namespace

std::string ProcessEnd::text() const {
  return signal != 0 ? "signal " + std::to_string(signal) : "exit status " + std::to_string(exit_status);
}

Result<std::unique_ptr<Process>, Failure> Process::start(const Command& command) {
  MS_ASSERT(!command.arguments.empty(), "a command has a program");
  const auto failed = [&](const std::string& what, int reason) {
    return Failure{"cannot start " + command.name + ": " + what + ": " + std::strerror(reason)};
  };
  std::vector<char*> arguments;
  for (const std::string& argument : command.arguments)
    arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  const std::vector<char*> environment = environment_with(command.environment);

  const int log = ::open(command.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (log < 0) return failed(command.log, errno);
  int failure_pipe[2];
  if (::pipe2(failure_pipe, O_CLOEXEC) != 0) {
    const int reason = errno;
    ::close(log);
    return failed("pipe", reason);
  }
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  const int fork_reason = errno;
  if (pid == 0)
    become(arguments.data(), environment.data(), command.network_namespace, log, failure_pipe[1], parent);
  ::close(log);
  ::close(failure_pipe[1]);
  int reason = 0;
  // The pipe closes by itself when exec succeeds.
  const ssize_t told = pid < 0 ? 0 : ::read(failure_pipe[0], &reason, sizeof reason);
  ::close(failure_pipe[0]);
  if (pid < 0) return failed("fork", fork_reason);
  if (told == static_cast<ssize_t>(sizeof reason)) {
    ::waitpid(pid, nullptr, 0);
    return failed(command.arguments.front(), reason);
  }
  return std::unique_ptr<Process>(new Process(command.name, command.log, pid));
}

Process::~Process() {
  signal(SIGKILL);
  static_cast<void>(wait(seconds(10)));
}

std::optional<ProcessEnd> Process::end() {
  if (!end_) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) end_ = end_of(status);
  }
  return end_;
}

void Process::signal(int number) {
  if (end()) return;  // after reaping, the number may belong to somebody else
  if (::kill(-pid_, number) != 0) ::kill(pid_, number);
}

std::optional<ProcessEnd> Process::wait(Duration timeout) {
  for (std::int64_t waited_ms = 0; !end() && waited_ms < timeout.milliseconds(); waited_ms += 2)
    ::poll(nullptr, 0, 2);
  return end();
}

std::string Process::log_tail(std::size_t lines_max) const {
  const auto text = read_text_file(log_);
  if (!text) return text.error().what;
  std::size_t from = text->size();
  for (std::size_t lines = 0; from > 0; --from)
    if ((*text)[from - 1] == '\n' && from != text->size() && ++lines == lines_max) break;
  return text->substr(from);
}

Instant kill_at_once(const std::vector<Process*>& processes, Clock& clock) {
  for (Process* process : processes) process->signal(SIGKILL);
  const Instant at = clock.now();
  for (Process* process : processes) static_cast<void>(process->wait(seconds(10)));
  return at;
}

Result<Finished, Failure> run_to_end(const Command& command, Duration timeout) {
  auto started = Process::start(command);
  if (!started) return started.error();
  const auto end = (*started)->wait(timeout);
  if (!end)
    return Failure{command.name + " did not finish within " + std::to_string(timeout.milliseconds() / 1000) +
                   " s\n" + (*started)->log_tail()};
  auto output = read_text_file(command.log);
  if (!output) return output.error();
  return Finished{*end, std::move(*output)};
}

Result<std::vector<std::uint16_t>, Failure> free_loopback_ports(std::size_t count) {
  std::vector<std::uint16_t> ports;
  std::vector<int> sockets;  // all open at once, so that the ports differ
  const char* failed = nullptr;
  for (std::size_t i = 0; i < count && failed == nullptr; ++i) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
      failed = std::strerror(errno);
      break;
    }
    sockets.push_back(fd);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0)
      failed = std::strerror(errno);
    else
      ports.push_back(ntohs(address.sin_port));
  }
  for (const int fd : sockets) ::close(fd);
  if (failed != nullptr) return Failure{std::string("cannot find a free port on 127.0.0.1: ") + failed};
  return ports;
}

}  // namespace mainstay::lab
