// What a network does to packets, without a network: packets come in with a time, and leave at once, later or
// never, by the rules of the link from the one host to the other. Each direction is a link of its own, so a
// cut can be one-way. Sans-I/O; `Network` gives it real packets.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/random.h"

namespace mainstay::lab {

/// One direction between two hosts.
struct LinkRules {
  bool cut = false;       ///< nothing passes; what is on its way still arrives
  double loss = 0;        ///< of packets, 0 to 1, each by itself
  Duration delay{};       ///< that every packet takes
  Duration jitter{};      ///< up to so much more, each by itself
  bool reorders = false;  ///< a packet may overtake one that was given more jitter; else they stay in order
};

struct LinkCounts {
  std::uint64_t carried = 0;  ///< handed over at the other end
  std::uint64_t cut = 0;      ///< dropped because of a cut
  std::uint64_t lost = 0;     ///< dropped by `loss`, or because too many were on their way
  friend bool operator==(const LinkCounts&, const LinkCounts&) = default;
};

/// Not thread-safe. The same seed, packets and times give the same fate of every packet.
class PacketRelay {
 public:
  /// More than so many packets on their way on one link: the next is lost.
  static constexpr std::size_t waiting_max = 10'000;

  struct Delivery {
    std::size_t to{};
    Buffer packet;
  };

  PacketRelay(std::size_t hosts, std::uint64_t seed);

  /// @param from, to  different hosts, [0, hosts).
  void set_rules(std::size_t from, std::size_t to, const LinkRules& rules);
  [[nodiscard]] const LinkRules& rules(std::size_t from, std::size_t to) const;
  [[nodiscard]] const LinkCounts& counts(std::size_t from, std::size_t to) const;

  enum class Fate : std::uint8_t { hand_over, keep, drop };
  /// A packet enters. `hand_over`: the caller delivers it now, nothing was copied. `keep`: it will come out
  /// of take_due(). `now` never goes back.
  [[nodiscard]] Fate enter(std::size_t from, std::size_t to, BytesView packet, Instant now);
  /// The next packet whose time has come.
  [[nodiscard]] std::optional<Delivery> take_due(Instant now);
  /// When take_due() will have something; nothing while no packet is on its way.
  [[nodiscard]] std::optional<Instant> next_due() const;

 private:
  struct Link {
    LinkRules rules;
    LinkCounts counts;
    std::size_t waiting = 0;
    Instant last_due{};
  };
  struct Waiting {
    Instant due;
    std::uint64_t number{};  ///< of arrival here: equal times keep their order
    std::size_t link{}, to{};
    Buffer packet;
  };
  struct Later {
    bool operator()(const Waiting& a, const Waiting& b) const {
      return a.due != b.due ? a.due > b.due : a.number > b.number;
    }
  };
  [[nodiscard]] std::size_t index(std::size_t from, std::size_t to) const;

  std::size_t hosts_;
  std::vector<Link> links_;
  std::priority_queue<Waiting, std::vector<Waiting>, Later> waiting_;
  std::uint64_t next_number_ = 0;
  SeededRandom random_;
};

}  // namespace mainstay::lab
