// Messages of a queue with sessions, from several sessions at once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"

namespace mainstay::pipeline {

struct Incoming {
  std::uint64_t session = 0;  ///< which of the sessions held; never reused
  std::uint64_t handle = 0;   ///< unique within the session
  Buffer message;             ///< encoded
};

/// One thread. Every message given must be settled by one of the four calls; they do not wait.
class SessionSource {
 public:
  virtual ~SessionSource() = default;
  /// Waits up to `wait` for messages. Those of one session are in its order, and nothing further of a session
  /// is given while messages of it are unsettled.
  virtual std::vector<Incoming> receive(Duration wait, std::size_t most) = 0;
  virtual void complete(const Incoming& message) = 0;
  virtual void abandon(const Incoming& message) = 0;  ///< counts as a delivery
  virtual void release(const Incoming& message) = 0;  ///< does not count
  virtual void dead_letter(const Incoming& message, const std::string& reason,
                           const std::string& description) = 0;
  /// Gives every session back, so that another region's or worker's processor may have it.
  virtual void let_go() = 0;
};

}  // namespace mainstay::pipeline
