// A node of a group in shared-store mode from its start to its end: standby, leader, standby again. Each is
// an object on a loop of its own, so that a leader which lost the store leaves nothing behind.
#pragma once

#include "base/clock.h"
#include "node/options.h"

namespace mainstay::node {

struct ServiceEnd {
  bool could_not_start = false;
  int status = 0;   ///< 0: asked to stop by SIGTERM or SIGINT; else as Node's `fatal` told it
  std::string why;  ///< could_not_start
};
/// Runs until a signal or a failure. @pre options.group->store
[[nodiscard]] ServiceEnd serve_store(const NodeOptions& options, Clock& clock, const LogSink& log);

}  // namespace mainstay::node
