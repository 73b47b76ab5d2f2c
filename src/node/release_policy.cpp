#include "node/release_policy.h"

#include <algorithm>

namespace mainstay::node {

ReleasePolicy::Step ReleasePolicy::due(const Space& space, Instant now) {
  if (space.segments > segments_) grown_at_ = now;
  segments_ = space.segments;
  if (space.segments == 0 && space.removed == 0) return Step::none;
  if (space.full) return Step::many;
  const Instant rested_at = ended_at_ + rest_;
  const bool too_many = space.removed > options_.removed_max || space.segments + space.removed > space.free;
  ask_at_ = std::max(rested_at, too_many ? now : committed_at_ + options_.quiet);
  if (now >= ask_at_) return space.removed > 0 ? Step::removed : Step::segment;
  if (space.segments == 0) return Step::none;
  const Instant trickle_at =
      std::max({rested_at, grown_at_ + options_.unwanted, ended_at_ + options_.trickle});
  ask_at_ = std::min(ask_at_, trickle_at);
  return now >= trickle_at ? Step::segment : Step::none;
}

void ReleasePolicy::stepped(Duration took, Instant now) {
  ended_at_ = now;
  // A disk that is slow at it is left in peace for most of the time.
  rest_ = std::max(options_.pause, took + took);
}

}  // namespace mainstay::node
