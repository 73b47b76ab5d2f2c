// How fast publishers may go while the only copy in sync is the leader's and a node catches up with it.
//
// A node that comes back must be given what it missed faster than new messages come, on disks, cores and a
// link that both share. Where that does not end soon, publishers keep a part of the rate they had, and the
// second copy is there earlier: until then one disk has what is being confirmed. Publishers are slowed only
// while that helps: a node that takes nothing is not waited for.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "base/clock.h"

namespace mainstay::node {

struct CatchUpPaceOptions {
  unsigned publish_percent = 70;   ///< of the rate before, at least, is left to publishers; 100: never slowed
  Duration within = seconds(15);   ///< a catch-up that ends within so long slows nobody
  std::uint64_t lag_min = 10'000;  ///< records: who lacks fewer is there in no time
  Duration sample = seconds(1);    ///< rates are taken over so long
  Duration fruitless = seconds(10);     ///< slowed for so long without coming nearer: no more
  Duration leave_alone = seconds(300);  ///< after that
  Duration burst = milliseconds(200);   ///< of the pace, publishers may have at once
};

/// Pure: times and figures come in. One strand. Rates are messages, or records, per second.
class CatchUpPace {
 public:
  explicit CatchUpPace(CatchUpPaceOptions options = {}) : options_(options) {}

  /// A publish was taken in.
  void admitted(std::uint64_t bytes) {
    ++messages_;
    bytes_ += bytes;
    tokens_ -= 1;
  }
  /// Once a round.
  /// @param lag  records that the node lacks which is to be the second copy; nullopt: there is a second copy,
  /// or nobody to become one
  void review(Instant now, std::optional<std::uint64_t> lag);

  /// What publishers may send at once, in bytes of messages of the size seen lately; nullopt: they are not
  /// slowed. Above `capacity` never.
  struct Room {
    std::uint64_t bytes{}, capacity{};
    friend bool operator==(const Room&, const Room&) = default;
  };
  [[nodiscard]] std::optional<Room> room() const;
  /// The pace; nullopt: publishers are not slowed.
  [[nodiscard]] std::optional<double> pace() const { return pace_; }
  [[nodiscard]] double rate_before() const { return before_; }
  /// A catch-up was slowed for, and it helped nothing.
  [[nodiscard]] bool gave_up() const { return gave_up_; }
  /// When to review again at the latest.
  [[nodiscard]] Instant next_deadline() const { return next_; }

 private:
  static constexpr Instant kNever{std::numeric_limits<std::int64_t>::max()};
  struct Sample {
    Instant at{};
    std::uint64_t messages{}, bytes{};
    std::optional<std::uint64_t> lag;
  };
  void take_sample(Instant now, std::optional<std::uint64_t> lag);
  /// @param nearer  by how much the lag has shrunk. It is below 0 when it grew.
  void begin_if_needed(Instant now, std::uint64_t lag, double published, double nearer);
  void adapt(Instant now, std::uint64_t lag, double published, double nearer);
  void refill(Instant now);
  [[nodiscard]] double burst() const;

  CatchUpPaceOptions options_;
  std::uint64_t messages_ = 0, bytes_ = 0;
  Sample last_;
  double before_ = 0;  ///< published while nobody was slowed, over the last seconds
  double message_bytes_ = 1024;
  std::optional<Instant> catching_up_since_;
  std::optional<double> pace_;
  double pace_least_ = 0;
  struct Look {
    Instant at{};
    std::uint64_t lag{};
  } looked_at_;  ///< at whether it helps
  double nearer_best_ = 0;
  bool gave_up_ = false;
  Instant left_alone_until_{};
  double tokens_ = 0;  ///< messages; below 0: sent with credit from before
  Instant refilled_at_{};
  Instant next_ = kNever;
};

}  // namespace mainstay::node
