// Publishers' pace while a node of the group catches up with this one, and what is told of it.
#include <cmath>
#include <string>

#include "node/node.h"

namespace mainstay::node {
namespace {

std::string per_second(double rate) {
  return std::to_string(std::llround(rate)) + "/s";
}

}  // namespace

void Node::pace_publishers(Instant now) {
  if (group_ == nullptr) return;
  const bool before = pace_.pace().has_value();
  const group::Member* member = rejoining_ ? nullptr : replica_->member();
  const auto lag = member != nullptr ? member->second_copy_lag() : std::nullopt;
  pace_.review(now, lag);
  const auto pace = pace_.pace();
  if (pace && !before) {
    log(LogLevel::info,
        "group: publishers are slowed to " + per_second(*pace) + " (" + per_second(pace_.rate_before()) +
            " before) while a node catches up that lacks " + std::to_string(*lag) +
            " records: at full rate it would not be the second copy within catch_up_within_s");
  } else if (!pace && before) {
    log(pace_.gave_up() ? LogLevel::warning : LogLevel::info,
        pace_.gave_up()
            ? "group: publishers are no longer slowed: the node that catches up came no nearer by it; "
              "look at its disk and at the link to it"
            : "group: publishers are no longer slowed");
  }
}

}  // namespace mainstay::node
