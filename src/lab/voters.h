// A cluster of etcd members, each on a host of its own in a Network: what a group's register is kept in.
// Started, killed, and put back to an old snapshot. Needs Debian's etcd-server and etcd-client.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "lab/network.h"
#include "lab/processes.h"

namespace mainstay::lab {

/// Not thread-safe. The network outlives it.
class Voters {
 public:
  /// Why there can be none on this machine; empty when there can.
  [[nodiscard]] static std::string why_impossible();

  /// Starts a new cluster and waits until it has a leader.
  /// @param hosts  of `network`, one member on each. @param seat  a host from which questions are asked.
  /// @param directory  absolute, for data and logs; made.
  [[nodiscard]] static Result<std::unique_ptr<Voters>, Failure> start(const Network& network,
                                                                      const std::vector<std::string>& hosts,
                                                                      const std::string& seat,
                                                                      const std::string& directory);
  Voters(const Voters&) = delete;
  Voters& operator=(const Voters&) = delete;

  /// "http://10.99.0.3:2379" of each member, in the order of `hosts`.
  [[nodiscard]] std::vector<std::string> endpoints() const;
  /// The member's process, for signals; must run.
  [[nodiscard]] Process& process(const std::string& host);

  void kill(const std::string& host);
  void kill_all();
  /// Starts a member again with the data it has. Does nothing while it runs.
  [[nodiscard]] Result<void, Failure> restart(const std::string& host);
  [[nodiscard]] Result<void, Failure> restart_all();

  /// Until a linearizable read is answered by whichever member.
  [[nodiscard]] Result<void, Failure> wait_until_serving(Duration timeout);
  /// Runs etcdctl against all members. @return what it printed.
  [[nodiscard]] Result<std::string, Failure> ask(const std::vector<std::string>& arguments);

  /// One member's state as it is now.
  [[nodiscard]] Result<void, Failure> save_snapshot(const std::string& host, const std::string& file);
  /// As an operator does after a disaster: kills all, gives every member the old state, starts them as a new
  /// cluster. What was written after the snapshot is forgotten.
  [[nodiscard]] Result<void, Failure> restore_snapshot(const std::string& file);

 private:
  struct Member {
    std::string host, peer, client;  ///< the latter two are URLs
    std::unique_ptr<Process> process;
  };
  Voters(const Network& network, std::string seat, std::string directory);
  [[nodiscard]] Member& member(const std::string& host);
  [[nodiscard]] std::string data(const Member& member) const;
  [[nodiscard]] std::string initial_cluster() const;
  [[nodiscard]] Result<std::string, Failure> run(std::vector<std::string> arguments, Duration timeout);

  const Network& network_;
  const std::string seat_, directory_;
  std::vector<Member> members_;
  int generation_ = 1;  ///< of the cluster: members of another one are refused
  int commands_ = 0;
};

}  // namespace mainstay::lab
