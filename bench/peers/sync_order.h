// Does a server sync a message before it confirms it? Read from a trace of its system calls while one message
// at a time was in flight.
#pragma once

#include <cstdint>
#include <string>

namespace mainstay::bench {

struct SyncOrder {
  std::uint64_t messages{};  ///< whose receipt and confirm the trace shows
  /// A sync of that file began after the message's bytes went to a file (or, when no write shows them, after
  /// they were received) and returned before the confirm was written.
  std::uint64_t synced_before_confirm{};
  std::uint64_t file_writes_seen{};  ///< messages whose bytes appear in a write to a file
  std::uint64_t syncs{};             ///< between the first receipt and the last confirm
};

/// @param trace  of `strace -f -yy -s 4096`, as text. @param port  the server's. Messages carry the stamps
/// `first_stamp`, `first_stamp` + 1, …, `count` of them; the last one is not judged: what follows its confirm
/// is not known.
[[nodiscard]] SyncOrder read_sync_order(const std::string& trace, std::uint16_t port,
                                        std::uint64_t first_stamp, std::uint64_t count);

/// Calls in such a trace that sync.
[[nodiscard]] std::uint64_t count_syncs(const std::string& trace);

}  // namespace mainstay::bench
