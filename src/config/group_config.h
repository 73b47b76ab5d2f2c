// What a node is told about its group: the nodes of its region that keep the same log, as `[group]` says it.
// The group's name is `[register] group`; this node's own name and region are those of `[node]`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "config/endpoint.h"
#include "config/layout.h"

namespace mainstay::config {

/// How long to wait for whom. Every `Duration` is positive and below an hour. Relations that a configuration
/// holds to: 3 × beacon_interval ≤ drop_after < lease < suspect_after ≤ suspect_after_max, and
/// register_retry ≤ register_interval < lease. Meaning: src/group/member.h has the same names.
struct GroupTimeouts {
  Duration beacon_interval = milliseconds(100);  ///< each node tells each other one that it is there
  Duration drop_after = milliseconds(500);       ///< a leader goes on without a backup that is silent so long
  Duration lease = milliseconds(800);            ///< an isolated leader delivers nothing any more
  Duration suspect_after = milliseconds(1'200);  ///< a backup asks to lead
  Duration register_interval = milliseconds(500);  ///< a leader looks into the register
  Duration register_retry = milliseconds(100);     ///< after no answer
  Duration rejoin_after = milliseconds(200);       ///< a backup has kept up so long before it counts
  /// Ceiling of suspect_after: drop_after, lease and suspect_after are floors and grow together with the
  /// measured round trip (src/group/round_trip.h).
  Duration suspect_after_max = milliseconds(6'000);
  friend bool operator==(const GroupTimeouts&, const GroupTimeouts&) = default;
};

enum class GroupMode : std::uint8_t {
  replicated,    ///< each node has a disk of its own
  shared_store,  ///< all have one directory, on storage that they share
};
/// Who decides that a backup asks to lead in the place of a silent leader.
enum class Promotion : std::uint8_t { automatic, by_operator };
/// Shared-store mode: what is needed to lead beside the register and the fence.
enum class StoreLockPolicy : std::uint8_t { required, preferred };

struct GroupConfig {
  GroupMode mode = GroupMode::replicated;
  StoreLockPolicy lock = StoreLockPolicy::required;
  Endpoint listen;         ///< replication and beacons of the group: never AMQP or the control listener
  std::string zone, site;  ///< of this node; empty only in a layout that was allowed as unsafe
  struct Node {
    std::string name;
    Endpoint address;  ///< its group listener
    std::string zone, site;
  };
  std::vector<Node> others;  ///< without this one; empty: it is the only node
  bool create = false;       ///< may write the register's first record
  Promotion promotion = Promotion::automatic;
  /// Copies that a confirmed publish has: 2 = when alone, the other region's counts or it is refused.
  std::uint32_t min_copies = 1;
  Duration alone_without_register_max =
      seconds(10);  ///< alone, and the register silent so long: accept nothing
  /// Kept of the log for nodes that are away; who lacks more gets a full copy.
  std::uint64_t keep_log_bytes = 16ULL << 30;
  std::uint64_t copy_bytes_per_second = 64ULL << 20;  ///< of a full copy, as its leader sends it
  /// While a node catches up to be the second copy, and that takes longer than `catch_up_within`, publishers
  /// keep this part of their rate. 100: all of it.
  unsigned catch_up_publish_percent = 70;
  Duration catch_up_within = seconds(15);
  GroupTimeouts timeouts;
  /// Why a refused layout is allowed, in the operator's words; empty: it is not.
  std::string unsafe_layout_reason;
  /// What was allowed by it. To be logged at each start and shown while the node runs. Empty: the layout is
  /// sound.
  std::vector<LayoutProblem> unsafe_layout;
};

/// "the layout is unsafe and was allowed (laptop): even-voters: …", one line each; nothing when it is sound.
/// With an override that allows nothing: one line that says so.
[[nodiscard]] std::vector<std::string> layout_warnings(const GroupConfig& group);

}  // namespace mainstay::config
