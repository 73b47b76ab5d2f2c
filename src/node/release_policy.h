// When files that are no longer needed go back to the file system, a step at a time.
//
// A step makes whoever syncs beside it wait: usually a millisecond, now and then as long as the device takes
// to discard blocks, which has been half a second for one of 4 KiB. A file that waits costs nothing but its
// space, and the log takes its segments again before it asks for new space. So files wait for a moment in
// which nobody syncs. Under load they go only when there are too many of them, or when nobody wanted them for
// a while.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace mainstay::node {

struct ReleasePolicyOptions {
  Duration quiet = milliseconds(200);      ///< no batch for so long: nobody is waiting for a sync
  Duration pause = milliseconds(20);       ///< between two steps while it is quiet, or there are too many
  Duration unwanted = seconds(60);         ///< no segment came for so long: no backlog is being drained
  Duration trickle = seconds(1);           ///< between two steps under load, of segments that nobody wants
  std::uint64_t removed_max = 1ULL << 30;  ///< bytes of other files: these do not wait beyond that
};

/// Pure: time and sizes come in. One strand.
class ReleasePolicy {
 public:
  explicit ReleasePolicy(ReleasePolicyOptions options = {}) : options_(options) {}

  /// A batch was written and synced.
  void committed(Instant now) { committed_at_ = now; }
  struct Space {
    std::uint64_t segments{};  ///< bytes of segments that wait
    std::uint64_t removed{};   ///< bytes of other files that wait: checkpoints, pages
    std::uint64_t free{};      ///< bytes that the file system has for others
    bool full = false;         ///< something could not be written for want of space
  };
  enum class Step : std::uint8_t {
    none,
    segment,  ///< a piece of a segment
    removed,  ///< a removed file
    many,     ///< as many as possible of both
  };
  /// What to give back now. Steps are taken one after the other: ask again when the last one has ended.
  [[nodiscard]] Step due(const Space& space, Instant now);
  /// A step has ended; it took so long.
  void stepped(Duration took, Instant now);
  /// When to ask again at the latest, while something waits.
  [[nodiscard]] Instant ask_at() const { return ask_at_; }

 private:
  ReleasePolicyOptions options_;
  Instant committed_at_{};
  Instant grown_at_{};  ///< when a segment came last
  std::uint64_t segments_ = 0;
  Instant ended_at_{};  ///< of the last step
  Duration rest_{};     ///< after it, at least
  Instant ask_at_{};
};

}  // namespace mainstay::node
