// A full copy: what a node gets whose log the leader's no longer reaches back to. The leader takes a *cut*,
// the state at one committed LSN as files that do not change any more, and gives it away part by part, as it
// is asked; the follower asks for one part at a time, so that memory and pace are bounded by it. Which part,
// when to ask again, when to begin anew and when to give up is decided here, from values; files are the
// driver's (replica/copy_builder.h, node/node_copy.cpp).
//
// docs/decisions/0018 says why so. Neither has to do with who may lead: while the copy lasts the follower is
// not in the in-sync set, and what comes of it is a new disk, which is added by the rule for any (R6).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/doubling_wait.h"
#include "base/result.h"
#include "base/wire.h"
#include "group/packets.h"

namespace mainstay::group {

/// What a copy lacks next. `item` == plan.items.size(): nothing.
struct CopyPlace {
  std::uint32_t item{};
  std::uint64_t offset{};  ///< in a file; of records the LSN to go on with
  friend bool operator==(const CopyPlace&, const CopyPlace&) = default;
};
/// The first place of an item, and whether a place is behind it.
[[nodiscard]] CopyPlace begin_of(const CopyPlan& plan, std::uint32_t item);
[[nodiscard]] bool is_behind(const CopyPlan& plan, const CopyPlace& place);
/// `place`, or the beginning of the next item when it is behind its own.
[[nodiscard]] CopyPlace settled(const CopyPlan& plan, CopyPlace place);
/// Of all bytes of the plan, how many are before `place`; of records in proportion.
[[nodiscard]] std::uint64_t bytes_before(const CopyPlan& plan, const CopyPlace& place);

struct CopyLimits {
  std::uint64_t bytes_per_second = 64ULL << 20;  ///< that a leader gives away
  std::uint32_t part_bytes = 512U << 10;
  Duration silence_max = seconds(60);  ///< a cut is kept so long for one who asks no more
  Duration answer_max = seconds(10);   ///< then the follower asks again
  Duration alive_every = seconds(5);   ///< the follower, busy with its disk, says that it goes on
  Duration later = seconds(1);         ///< after "not now"
  Duration failed = seconds(10);  ///< after a copy that came to nothing; doubles while they are not whole
  Duration failed_max = seconds(600);
  Duration unreadable = seconds(30);  ///< no other cut after one that could not be read; doubles
  Duration unreadable_max = seconds(3600);
  /// The leader's log may grow by so much while a copy is given. After one that was given up because of it,
  /// by twice as much: else a load that writes quicker than the copy is taken keeps the node out for ever.
  std::uint64_t keep_log_bytes = 16ULL << 30;
};

/// The leader's half: one copy at a time. One strand.
class CopyGiver {
 public:
  /// Store a checkpoint, hold its pages and the log it needs, then cut_made().
  struct MakeCut {
    std::string node;
  };
  /// Read it anywhere but on the loop, then part_read(). At most one is out.
  struct ReadPart {
    CopyItem item;
    CopyAsk ask;
  };
  struct SendPlan {
    PeerId to{};
    CopyPlan plan;
  };
  struct SendPart {
    PeerId to{};
    CopyAsk ask;
    Buffer bytes;
  };
  struct SendRefused {
    PeerId to{};
    CopyRefused refused;
  };
  /// The cut is no longer needed.
  struct Ended {
    std::string why;
  };
  using Output = std::variant<MakeCut, ReadPart, SendPlan, SendPart, SendRefused, Ended>;

  explicit CopyGiver(const CopyLimits& limits = {})
      : limits_(limits), unreadable_wait_(limits.unreadable, limits.unreadable_max) {}

  void asked(PeerId from, const MemberId& who, const CopyAsk& ask, Instant now);
  /// Asserted: it was asked for, and this is the only answer.
  void cut_made(Result<CopyPlan, Failure> plan, Instant now);
  void part_read(Result<Buffer, Failure> bytes, Instant now);
  /// The log that is kept for the cut has grown by so much since it was made: perhaps too much.
  void log_grew(std::uint64_t bytes);
  /// The node that gets the copy is in sync and needs no more of it; log_grew()'s bound is the first one
  /// again.
  void in_sync();
  /// Nobody can have the cut any longer. Ignored while it is being made: end it when it is.
  void end(const std::string& why);
  /// Several times a second: what the pace holds back goes out then, so its bursts are that long.
  void tick(Instant now);
  /// Appends what came out since the last call.
  void outputs(std::vector<Output>& into);

  /// There is a cut, or one is being made.
  [[nodiscard]] bool active() const { return taker_.has_value(); }
  [[nodiscard]] bool making() const { return making_; }
  [[nodiscard]] const std::string& node() const;  ///< @pre active()
  /// Records from here on are needed; nothing: no cut yet.
  [[nodiscard]] std::optional<Lsn> keeps() const;
  [[nodiscard]] std::uint64_t bytes_done() const;
  [[nodiscard]] std::uint64_t bytes_total() const { return plan_ ? plan_->bytes() : 0; }

 private:
  void read_when_due(Instant now);
  void refuse(PeerId to, CopyRefusal code, const std::string& why);

  CopyLimits limits_;
  std::optional<MemberId> taker_;
  PeerId peer_ = 0;
  bool making_ = false;
  std::optional<CopyPlan> plan_;
  std::optional<CopyAsk> waiting_;  ///< to be read as soon as the pace allows it
  std::optional<CopyAsk> reading_;
  bool reading_is_of_old_cut_ = false;
  CopyPlace place_;
  Instant heard_{}, free_at_{};
  unsigned outgrown_ = 0;   ///< copies that were given up because of the log, since a node came in sync
  std::string unreadable_;  ///< why the last cut could not be read
  DoublingWait unreadable_wait_;
  Instant not_before_{};
  std::vector<Output> out_;
};

/// The follower's half. One strand. At most one of Prepare, Put, Finish and Forget is out; the driver tells
/// its end before it asks for anything else.
class CopyTaker {
 public:
  struct SendAsk {
    PeerId to{};
    CopyAsk ask;
  };
  struct Prepare {
    CopyPlan plan;
  };
  struct Put {
    CopyPlace at;
    Buffer bytes;
  };
  /// All of it is here: check it, make it ready to be installed.
  struct Finish {};
  /// Drop what is there.
  struct Forget {
    std::string why;
  };
  /// Restart, and install it.
  struct Install {};
  using Output = std::variant<SendAsk, Prepare, Put, Finish, Forget, Install>;

  explicit CopyTaker(const CopyLimits& limits = {})
      : limits_(limits), bad_wait_(limits.failed, limits.failed_max) {}
  /// Goes on with what an earlier life has on its disk. Before anything else.
  void resume(CopyPlan plan, CopyPlace place);

  /// A line to the leader from which the copy is to come, from now on this one.
  void leader(PeerId peer, Instant now);
  void line_gone(PeerId peer);
  void heard(PeerId from, const Message& message, Instant now);
  void prepared(Result<CopyPlace, Failure> place, Instant now);
  void put(Result<CopyPlace, Failure> place, Instant now);
  void finished(Result<void, Failure> done, Instant now);
  void forgotten(Instant now);
  /// Several times a second.
  void tick(Instant now);
  /// Appends what came out since the last call.
  void outputs(std::vector<Output>& into);

  [[nodiscard]] std::uint64_t bytes_done() const { return plan_ ? bytes_before(*plan_, place_) : 0; }
  [[nodiscard]] std::uint64_t bytes_total() const { return plan_ ? plan_->bytes() : 0; }
  /// "asking", "copying", "verifying", "waiting", "installing"
  [[nodiscard]] const char* phase() const;
  [[nodiscard]] const std::string& problem() const { return problem_; }
  /// The driver is at work, or has a whole copy to install: nobody drops what is there.
  [[nodiscard]] bool busy() const { return busy_ || done_; }

 private:
  void go_on(Instant now);
  void fail(const std::string& why, Instant now);

  CopyLimits limits_;
  std::optional<CopyPlan> plan_;
  CopyPlace place_;
  PeerId peer_ = 0;
  bool busy_ = false, finishing_ = false, done_ = false;
  std::optional<CopyAsk> asked_;
  Instant asked_at_{}, not_before_{}, alive_at_{};
  DoublingWait bad_wait_;  ///< after a copy that was not whole
  std::string problem_;
  std::vector<Output> out_;
};

}  // namespace mainstay::group
