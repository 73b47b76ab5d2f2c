// What a node is started with; made from the configuration file by the cli.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "broker/types.h"
#include "etcd/open_register.h"
#include "frontend/credit_policy.h"
#include "group/member.h"
#include "node/catch_up_pace.h"

namespace mainstay::node {

enum class LogLevel : std::uint8_t { debug, info, warning, error };
/// Thread-safe.
using LogSink = std::function<void(LogLevel, const std::string&)>;

struct Listener {
  std::string host = "127.0.0.1";
  std::uint16_t port{};
};

struct User {
  std::string name, password;
};

struct QueueConfig {
  std::string name;
  broker::QueueOptions options;
};

/// The nodes of a region that keep one log (group/member.h).
struct GroupOptions {
  struct Other {
    std::string name;
    Listener listener;  ///< its `listen`
  };
  Listener listen;  ///< for the other nodes: replication and beacons
  std::vector<Other> others;
  /// Reads `others` anew from where they came from, checked as at a start; what is wrong otherwise. Empty:
  /// cannot be.
  std::function<Result<std::vector<Other>, Failure>()> reread;
  group::MemberOptions member;           ///< times; who it is, is filled in
  Duration silence_max = seconds(2);     ///< a connection that brings nothing for so long is ended
  Duration disk_stall_max = seconds(2);  ///< R9: a write or a probe that takes longer gives up the lead
  unsigned copies_min = 1;               ///< R11: publishes are refused with fewer copies in sync
  /// Shared-store mode: all nodes have one data directory, and nothing is shipped (store_service.h).
  struct Store {
    bool lock_required = true;  ///< group::WatchOptions
  };
  std::optional<Store> store;
  std::uint64_t keep_log_bytes = 16ULL
                                 << 30;      ///< kept for nodes that are away; beyond, they need a full copy
  std::vector<std::string> layout_warnings;  ///< what allow_unsafe_layout allowed: shown while it runs
  std::uint64_t copy_bytes_per_second = 64ULL << 20;  ///< of a full copy that this node gives away
  CatchUpPaceOptions pace;                            ///< of publishers while a node catches up
};

struct StoreLease;

struct NodeOptions {
  std::string version;
  std::string name, region;
  std::string data_directory;
  Uuid cluster;  ///< nil: whatever the directory holds, or a new one
  Listener amqp, control, replication;
  bool has_replication = false;  ///< a standby region is configured
  std::vector<Listener> peers;   ///< replication listeners of the other region's nodes
  std::string control_token;
  bool allow_anonymous = false;
  std::vector<User> users;
  std::vector<QueueConfig> queues;
  etcd::RegisterPlace register_place;
  /// In shared-store mode: what this leadership has taken; `data_directory` is its claim's.
  std::shared_ptr<StoreLease> lease;
  std::optional<GroupOptions> group;  ///< excludes has_replication, so far
  std::string initial_region;         ///< claims an empty register
  std::uint64_t segment_bytes = 64ULL << 20;
  std::uint64_t reserve_bytes = 4ULL << 20;  ///< journal room kept for settlements
  std::uint64_t checkpoint_every_records = 200'000;
  std::uint64_t body_cache_bytes = 8ULL << 20;
  std::uint64_t index_bytes = 32ULL << 20, index_hot_bytes = 96ULL << 20;  ///< broker::StateLimits
  std::uint64_t message_bytes_max = 1ULL << 20;
  std::uint32_t frame_bytes_max = 65536;
  std::int64_t idle_timeout_ms = 120'000;
  std::uint64_t connections_max = 10'000;
  frontend::CreditLimits limits;         ///< memory for messages on their way, and publish credit from it
  std::uint32_t delivery_window = 1000;  ///< frontend::FrontendOptions::delivery_window
  std::uint64_t lag_records_soft = 0, lag_records_hard = 0;
  unsigned io_threads = 0;           ///< that own the AMQP connections' sockets; 0: the loop does
  Duration spin = microseconds(50);  ///< how long the loop looks for work before it sleeps; 0: not at all
};

}  // namespace mainstay::node
