// strace on a running server, for sync_order.h. Slow: nothing else is measured meanwhile.
#pragma once

#include <cstdint>
#include <string>

#include "peers/peer.h"
#include "peers/sync_order.h"

namespace mainstay::bench {

/// Attaches strace to the peer's processes, publishes `count` messages one by one, and reads the trace.
[[nodiscard]] SyncOrder trace_sync_order(Peer& peer, const std::string& directory, std::uint64_t count);

struct SyncCount {
  std::uint64_t syncs{}, messages{};
};
/// Saturated publishing with the syncs counted by strace: for a server that the preloaded shim does not
/// reach.
[[nodiscard]] SyncCount trace_sync_count(Peer& peer, const std::string& directory, Duration time);

}  // namespace mainstay::bench
