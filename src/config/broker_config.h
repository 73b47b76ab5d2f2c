// What a broker node is told: `mainstay serve --config FILE`. Plain values with their defaults; the reference
// for users is docs/configuration.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "config/group_config.h"
#include "config/reader.h"
#include "config/register_place.h"

namespace mainstay::config {

struct BrokerConfig {
  struct Node {
    std::string name;  ///< unique among all nodes of the cluster
    std::string region;
    std::string data;             ///< directory of the journal
    std::optional<Uuid> cluster;  ///< absent: accept the one in `data`, or make one at first start
  } node;
  struct Amqp {
    Endpoint listen{"127.0.0.1", 5672};
    bool anonymous = false;  ///< let clients in that give no user
    std::uint64_t max_message_bytes = 1U << 20;
    std::uint32_t max_frame_bytes = 65536;
    std::int64_t idle_timeout_s = 120;
    std::uint32_t connections_max = 10'000;
  } amqp;
  struct Control {
    Endpoint listen{"127.0.0.1", 5680};  ///< health, metrics and commands
    std::string token;  ///< what commands that change something must present; empty: they are refused
    std::string exposed_because;  ///< why `listen` is no private address; empty: it is one
  } control;
  struct Replication {
    std::optional<Endpoint> listen;      ///< absent: nobody can ship to this node
    std::string exposed_because;         ///< why `listen` is no private address; empty: it is one
    std::vector<Endpoint> peers;         ///< nodes of the other region
    std::uint64_t soft_lag_records = 0;  ///< 0 = no limit
    std::uint64_t hard_lag_records = 0;  ///< 0 = no limit; else ≥ soft_lag_records
  } replication;
  struct Register : RegisterPlace {
    std::optional<std::string> initial_region;  ///< leads when the register is empty; absent: nobody
  } region_register;
  /// The nodes of this region that keep the same log. Absent: this one alone, as leader of its region.
  std::optional<GroupConfig> group;
  struct Journal {
    std::uint64_t segment_bytes = 64ULL << 20;
    std::uint64_t reserve_bytes = 4ULL << 20;  ///< kept for settlements on a full disk; < segment_bytes
    std::uint64_t checkpoint_every_records = 200'000;
    std::uint64_t body_cache_bytes = 8ULL << 20;
  } journal;
  /// As frontend/credit_policy.h CreditLimits.
  struct Limits {
    std::uint64_t memory_bytes = 256ULL << 20;  ///< ≥ 8 × amqp.max_message_bytes
    std::uint64_t connection_bytes = 64ULL << 20;
    std::uint64_t queue_bytes = 128ULL << 20;
    std::uint64_t journal_bytes = 32ULL << 20;
    std::uint32_t link_credit = 1000;
    std::uint32_t delivery_window = 1000;  ///< as frontend/frontend.h FrontendOptions
  } limits;
  struct Memory {
    std::uint64_t index_bytes = 32ULL << 20;      ///< of what is known of messages; ≥ 1 MiB
    std::uint64_t index_hot_bytes = 96ULL << 20;  ///< beside it, for parts that are wanted again
  } memory;
  struct Threads {
    std::uint32_t io = 0;       ///< that own the AMQP connections' sockets; 0 = the broker's thread does
    std::int64_t spin_us = 50;  ///< how long the loop looks for work before it sleeps; 0 = not at all
  } threads;
  struct User {
    std::string name;
    std::string password;  ///< never log it
  };
  std::vector<User> users;
  /// As broker/types.h QueueOptions, which gives the ranges.
  struct Queue {
    std::string name;
    bool requires_session = false;
    bool duplicate_detection = false;
    std::int64_t duplicate_window_ms = 600'000;
    std::int64_t lock_duration_ms = 60'000;
    std::uint32_t max_delivery_count = 10;
    std::int64_t default_ttl_ms = 0;  ///< 0 = messages do not expire
    bool dead_letter_on_expiry = false;
    std::string durability = "journal";  ///< journal, region, global
    bool producers_choose_durability = true;
  };
  std::vector<Queue> queues;
  struct Log {
    std::string level = "info";  ///< debug, info, warn, error
  } log;
};

/// Reads and checks the file. The Failure holds every problem, one line each: file:line:column, what was
/// found, what is allowed. Relative paths are taken from the file's directory; password_file is read here.
[[nodiscard]] Result<BrokerConfig, Failure> load_broker_config(const std::string& path);

/// What allow_exposed allows, one line each: to be told at each start.
[[nodiscard]] std::vector<std::string> exposed_listeners(const BrokerConfig& config);

/// The same from text. @param directory  what relative paths are relative to.
[[nodiscard]] Result<BrokerConfig, Failure> parse_broker_config(std::string_view text,
                                                                const std::string& file,
                                                                const std::string& directory);

/// Every key of the file, in the reader's order.
[[nodiscard]] std::vector<KeyInfo> broker_config_keys();

}  // namespace mainstay::config
