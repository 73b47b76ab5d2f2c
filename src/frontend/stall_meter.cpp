#include "frontend/stall_meter.h"

#include <algorithm>

namespace mainstay::frontend {
namespace {

const char* what_to_do(StallReason reason) {
  switch (reason) {
    case StallReason::memory:
      return "messages on their way fill the memory for them (memory_bytes under [limits]): consumers that "
             "do "
             "not read, or more producers than it is meant for";
    case StallReason::journal:
      return "the disk under the journal takes less than is published (mainstay_commit_latency_seconds), or "
             "its next segment is still being prepared";
    case StallReason::disk_full:
      return "the disk under the journal is full: free space, or let consumers drain the queues; settlements "
             "go on";
    case StallReason::replication:
      return "the other region is further behind than soft_lag_records under [replication] allows: look at "
             "it "
             "and at the link to it";
    case StallReason::catch_up:
      return "a node of the group catches up, and publishers keep a part of the rate they had until it is "
             "the second copy: catch_up_publish_percent under [group]";
    case StallReason::consumer_window:
      return "consumers have asked for messages and do not read them: their processes hang or are too slow; "
             "their messages stay locked until the locks run out";
    case StallReason::link_credit:
      return "messages wait in queues whose consumers give no credit: they are busy with what they have, or "
             "stopped; more consumers help";
  }
  return "";
}

bool publishers(StallReason reason) {
  return reason != StallReason::consumer_window && reason != StallReason::link_credit;
}

std::string seconds_text(Duration d) {
  const std::int64_t tenths = d.milliseconds() / 100;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s";
}

}  // namespace

void StallMeter::set(StallReason reason, std::uint64_t waiting, Instant now) {
  Stall& stall = stalls_[static_cast<std::size_t>(reason)];
  if (stall.waiting == 0 && waiting > 0) {
    stall.since = now;
    stall.most = 0;
  } else if (stall.waiting > 0 && waiting == 0) {
    const Duration lasted = now - stall.since;
    stall.before = stall.before + lasted;
    if (stall.told) {
      ended_.push_back({reason, true,
                        std::string(publishers(reason) ? "publishers go on" : "consumers go on") +
                            " after a stall of " + seconds_text(lasted) + " (" + stall_reason_name(reason) +
                            ", at most " + std::to_string(stall.most) + " links waited)"});
    }
    stall.told = false;
  }
  stall.waiting = waiting;
  stall.most = std::max(stall.most, waiting);
}

Duration StallMeter::total(StallReason reason, Instant now) const {
  const Stall& stall = at(reason);
  return stall.waiting == 0 ? stall.before : stall.before + (now - stall.since);
}

void StallMeter::notices(Instant now, std::vector<StallNotice>& into) {
  into.insert(into.end(), ended_.begin(), ended_.end());
  ended_.clear();
  for (std::size_t i = 0; i < kStallReasons; ++i) {
    Stall& stall = stalls_[i];
    if (stall.waiting == 0 || stall.told || now - stall.since < kStallToldAfter) continue;
    stall.told = true;
    const auto reason = static_cast<StallReason>(i);
    into.push_back({reason, false,
                    std::to_string(stall.waiting) + (publishers(reason) ? " publishing" : " receiving") +
                        " links have waited for " + seconds_text(now - stall.since) + " (" +
                        stall_reason_name(reason) + "): " + what_to_do(reason)});
  }
}

}  // namespace mainstay::frontend
