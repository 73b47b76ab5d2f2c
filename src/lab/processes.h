// Child processes of a drill: started, watched, killed. What a drill starts never outlives it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace mainstay::lab {

struct Command {
  std::string name;                    ///< for messages: "east broker"
  std::vector<std::string> arguments;  ///< [0] is the program's path
  std::string log;                     ///< file that standard output and error are appended to
  /// "NAME=value" each, in place of a variable of that name, before all others of this process.
  std::vector<std::string> environment = {};
  /// Descriptor of the network namespace to run in (Network::namespace_of); -1: this process's own.
  int network_namespace = -1;
};

/// How a process ended.
struct ProcessEnd {
  int exit_status{};  ///< when `signal` is 0
  int signal{};       ///< that killed it, or 0
  [[nodiscard]] bool ok() const { return signal == 0 && exit_status == 0; }
  [[nodiscard]] std::string text() const;  ///< "exit status 2", "signal 9"
};

/// One child in a process group of its own. The kernel kills it when the *thread* that started it ends: start
/// children from a thread that lives as long as the drill. Not thread-safe.
class Process {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Process>, Failure> start(const Command& command);
  /// Kills and reaps what still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& log() const { return log_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Nothing while it runs.
  [[nodiscard]] std::optional<ProcessEnd> end();
  /// Sends a signal to its group; does nothing once the end is known.
  void signal(int number);
  /// Waits for the end. @return nothing when it still runs after `timeout`.
  [[nodiscard]] std::optional<ProcessEnd> wait(Duration timeout);
  /// The last lines of its log, for messages.
  [[nodiscard]] std::string log_tail(std::size_t lines_max = 8) const;

 private:
  Process(std::string name, std::string log, pid_t pid)
      : name_(std::move(name)), log_(std::move(log)), pid_(pid) {}
  std::string name_, log_;
  pid_t pid_;
  std::optional<ProcessEnd> end_;
};

/// SIGKILL to all, one directly after the other, then waits until all are gone: a region losing its power.
/// @return monotonic time just after the last signal was sent.
Instant kill_at_once(const std::vector<Process*>& processes, Clock& clock);

struct Finished {
  ProcessEnd end;
  std::string output;  ///< standard output and error
};
/// Runs a command to its end and returns what it wrote. Kills it after `timeout` and fails then.
[[nodiscard]] Result<Finished, Failure> run_to_end(const Command& command, Duration timeout);

/// `count` different TCP ports that were free on 127.0.0.1 a moment ago.
[[nodiscard]] Result<std::vector<std::uint16_t>, Failure> free_loopback_ports(std::size_t count);

}  // namespace mainstay::lab
