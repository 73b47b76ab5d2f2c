// A server's processes: started for a benchmark, looked at, ended. Ends only what it started.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "lab/processes.h"
#include "peers/peer.h"

namespace mainstay::bench {

/// A program and its descendants.
class Server {
 public:
  /// @param environment  `NAME=value`, added to ours. Standard output and error go to `log`.
  Server(const std::string& name, const std::vector<std::string>& environment,
         std::vector<std::string> command, const std::string& log);
  /// Kills the process group and waits until every descendant is gone (10 s at most).
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Waits until something listens on 127.0.0.1:port. Throws Trouble with the end of the log when the program
  /// ends first or time is up.
  void wait_for_port(std::uint16_t port, Duration most);
  /// Throws the same Trouble when the program has ended.
  void check_alive();
  [[nodiscard]] std::vector<int> processes() const;

 private:
  std::unique_ptr<lab::Process> process_;
};

/// CPU seconds used so far by these processes.
[[nodiscard]] double cpu_seconds(const std::vector<int>& processes);
/// Resident bytes of these processes.
[[nodiscard]] std::uint64_t resident_bytes(const std::vector<int>& processes);
/// Share of all cores that is busy while this waits for `time`: asked when nothing of ours runs.
[[nodiscard]] double machine_busy(Duration time);
/// Process and descendants, oldest first.
[[nodiscard]] std::vector<int> process_tree(int root);

/// Different ports no server listens on yet.
[[nodiscard]] std::vector<std::uint16_t> own_ports(std::size_t count);
/// A Debian package's version, or "not installed".
[[nodiscard]] std::string package_version(const std::string& package);
void write_file(const std::string& name, const std::string& text);

/// A connected, blocking TCP socket to 127.0.0.1:port without Nagle's delay. Throws Trouble.
[[nodiscard]] int connect_loopback(std::uint16_t port);
/// Writes everything; throws Trouble when the peer is gone. Works on non-blocking sockets as well.
void write_all(int socket, const char* bytes, std::size_t count);
/// Waits until there is something to read. @return false when time is up.
bool wait_readable(int socket, Duration most);

/// Kills the process groups of all servers that run and ends this program: for SIGINT and SIGTERM.
void end_servers_on_signals();

}  // namespace mainstay::bench
