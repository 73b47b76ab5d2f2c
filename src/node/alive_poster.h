// Tells the voters that this node is there, on a thread of its own: nothing waits for it, and nothing is
// decided by it (etcd/alive_keys.h).
#pragma once

#include <functional>
#include <string>

#include "etcd/alive_keys.h"
#include "io/worker.h"

namespace mainstay::node {

/// On the loop's thread.
class AlivePoster {
 public:
  /// @param tell  thread-safe; once when it does not work any more, once when it does again
  AlivePoster(etcd::AliveKeys keys, std::function<void(const std::string&)> tell);
  /// Takes the key back, which may last for EtcdOptions::most.
  ~AlivePoster();
  AlivePoster(const AlivePoster&) = delete;
  AlivePoster& operator=(const AlivePoster&) = delete;

  /// It is time to say something, and what was said before has its answer.
  [[nodiscard]] bool due(Instant now) const { return now >= due_at_ && worker_.idle(); }
  void say(const etcd::Alive& alive, Instant now);

 private:
  // The worker's.
  etcd::AliveKeys keys_;
  std::function<void(const std::string&)> tell_;
  bool failing_ = false;

  Instant due_at_{};
  io::Worker worker_;  // last: joined first
};

}  // namespace mainstay::node
