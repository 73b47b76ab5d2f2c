// The lines to other nodes, behind an interface: whole packets to a peer, in order, with no promise that they
// arrive. What arrives is told to the core as a call (replica/replica.h: packet(), connected(),
// disconnected()). The node puts TCP behind it, the simulator a line that is late, breaks, and carries only
// one way.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace mainstay {

/// A connection to another node; chosen by whoever made the connection, never reused.
using PeerId = std::uint64_t;

/// One strand.
class Wire {
 public:
  virtual ~Wire() = default;
  /// Sends a packet behind those sent before. A peer that is gone is no error: its end is told as every end
  /// is.
  virtual void send(PeerId to, BytesView packet) = 0;
  /// Ends the connection once what was sent has gone out.
  virtual void close(PeerId peer) = 0;
};

}  // namespace mainstay
