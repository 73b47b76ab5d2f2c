// What a group's register is kept in where people run it: members of an etcd cluster, here on loopback and on
// the disk that is measured, with etcd's own default times.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "harness.h"
#include "lab/processes.h"

namespace mainstay::bench {

class Voters {
 public:
  /// Starts them; they elect a leader by themselves. Throws CouldNotRun when there is no etcd on this
  /// machine.
  Voters(const Common& common, int members);
  /// Ends them; their directory goes.
  ~Voters();
  Voters(const Voters&) = delete;
  Voters& operator=(const Voters&) = delete;

  /// The [register] table of their clients.
  [[nodiscard]] std::string table() const;
  /// Throws CouldNotRun with the end of its log when one has ended.
  void check_alive();

 private:
  std::string directory_;
  std::vector<std::string> clients_;  ///< "127.0.0.1:port"
  std::vector<std::unique_ptr<lab::Process>> members_;
};

}  // namespace mainstay::bench
