// The live side of region shipping: which records the standby gets next. Reads the journal; sends nothing
// itself.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "journal/journal.h"
#include "replication/packets.h"

namespace mainstay::replication {

struct ShipLimits {
  std::size_t packet_bytes_max = 1U << 20;  ///< of records per packet; a larger record goes alone
  std::size_t ahead_bytes_max = 8U << 20;   ///< sent and not yet acknowledged
  /// At a time, for who is far behind; twice as many are in memory at most. Whoever asks wanted() sets it.
  std::size_t packets_read_ahead = 0;
};

/// A part of the log that is read on any thread, while what was read before is on its way: see
/// RegionShipper::wanted().
struct ShipAhead {
  struct Packet {
    Buffer raw;
    journal::LogPosition end;
  };
  journal::LogPosition before;  ///< it begins with the record behind this
  Lsn upto{};                   ///< and holds none behind this one
  std::size_t packet_bytes_max{}, packets_max{};
  std::vector<Packet> packets;                  ///< filled in; before that, memory to be used again
  std::optional<journal::JournalError> failed;  ///< what is behind the packets
  [[nodiscard]] const journal::LogPosition& end() const {
    return packets.empty() ? before : packets.back().end;
  }
};
/// Fills in what comes back. Any thread; waits for the disk.
void read_ahead(journal::Journal& journal, ShipAhead& ahead);

/// Ships one log to one standby. One strand; a new one for each leadership.
///
/// Only committed records are shipped: what a standby holds was durable here first, so a standby is never
/// ahead of the live region's disk.
class RegionShipper {
 public:
  RegionShipper(journal::Journal& journal, ShipLimits limits) : journal_(journal), limits_(limits) {}

  /// Whether the log up to `from` is a prefix of ours, whose committed end is `committed`. If so shipping
  /// starts over after `from`; if not, why not.
  [[nodiscard]] Result<void, Refuse> follow(journal::LogPosition from, Lsn committed);
  /// The connection is gone.
  void stop();
  [[nodiscard]] bool following() const { return following_; }

  /// The next records to send, raw and whole, or nothing when all committed ones are sent, the window is
  /// full, or they are to be read ahead: ask again when those have arrived. @param raw  cleared and filled
  [[nodiscard]] Result<bool, journal::JournalError> next(Lsn committed, Buffer& raw);

  /// What is to be read ahead: ask before and after next(). At most one is out; it comes back by arrived().
  [[nodiscard]] std::optional<ShipAhead> wanted(Lsn committed);
  /// One that is no longer waited for is dropped.
  void arrived(ShipAhead ahead);

  /// The records after sent() up to `end` went out without being read here: a leader ships a batch of its
  /// group while its own disk still writes it. @pre following, and they continue what was sent
  void sent_directly(journal::LogPosition end, std::size_t bytes);

  /// What the standby says is durable there. An acknowledgement of something never sent, or with another hash
  /// than what was sent, is refused.
  [[nodiscard]] Result<void, Refuse> acknowledged(journal::LogPosition durable);

  [[nodiscard]] Lsn sent() const { return sent_.lsn; }
  [[nodiscard]] std::size_t bytes_ahead() const { return bytes_ahead_; }
  /// Sent and not acknowledged is as much as may be.
  [[nodiscard]] bool window_full() const { return bytes_ahead_ >= limits_.ahead_bytes_max; }

 private:
  struct Sent {
    journal::LogPosition end;
    std::size_t bytes{};
  };
  journal::Journal& journal_;
  ShipLimits limits_;
  bool following_ = false;
  journal::LogPosition sent_{};
  journal::LogPosition acknowledged_{};
  std::deque<Sent> in_flight_;
  std::size_t bytes_ahead_ = 0;

  [[nodiscard]] const journal::LogPosition& read_end() const {
    return ready_.empty() ? sent_ : ready_.back().end;
  }
  std::deque<ShipAhead::Packet> ready_;  // what was read ahead, without a gap from sent_ on
  bool reading_ = false;                 // what follows read_end() is out
  bool more_ = false;                    // what was read last ended for its length
  std::vector<ShipAhead::Packet> used_;  // memory to be used again
};

}  // namespace mainstay::replication
