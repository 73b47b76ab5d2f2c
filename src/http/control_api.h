// The control listener's API. Routes:
//
//   GET  /livez                  200 while the process runs its loop
//   GET  /readyz                 200 only when recovered and live; else 503 with why
//   GET  /metrics                Prometheus text
//   GET  /status                 JSON, docs/control-api.md
//   POST /region/switch          {"by","reason"}          planned switch away from this node's region
//   POST /region/promote         {"by","reason","force"}  make this node's region the active one
//   POST /region/admit-producers {"by","reason"}          end of recovery after a forced promotion
//   POST /group/switch           {"to","by","reason"}     gives the lead of the group to another node in sync
//   POST /group/promote          {"by","reason"}          asks this backup to lead in the place of a silent
//   leader POST /group/reload           {"by","force"}           reads [[group.node]] anew and goes by it
//   POST /group/remove           {"node","by","reason","force"}  takes a node out of the group
//   POST /messages/known         {"queue","ids":[…]} → {"known":[bool…]}
//
// POSTs need `Authorization: Bearer <token of [control]>`. Errors are {"error": sentence} with a fitting
// status.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace mainstay::http {

struct Request {
  std::string method, target, body, authorization;
};
struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
};

struct QueueStatus {
  std::string name;
  std::uint64_t active{}, dead_letter{}, locked{}, sessions{}, bytes{}, duplicates_dropped{};
  double oldest_seconds{};
  std::uint64_t deferred{}, scheduled{};
};
/// Everything /status and /metrics tell, gathered at the moment of asking.
struct NodeStatus {
  std::string version, node, region, role, why;
  bool ready = false;
  std::uint64_t term{}, epoch{};
  std::uint64_t last_lsn{}, durable_lsn{}, committed_lsn{};
  std::string log_hash, state_hash;  ///< hexadecimal; state_hash at applied_lsn
  std::uint64_t applied_lsn{};
  std::vector<QueueStatus> queues;
  struct Replication {
    bool connected = false;
    std::string peer_region, peer_node, last_problem;
    std::uint64_t peer_durable_lsn{}, lag_records{}, lag_bytes{}, refusals{};
    double lag_seconds{};
  } replication;
  struct Journal {
    std::uint64_t record_bytes{}, disk_bytes{}, room_bytes{}, syncs{}, batches{}, records{};
    bool disk_full = false;
    std::uint64_t cleaned_bytes{}, cleaned_messages{};
    std::uint64_t set_aside_bytes{};  ///< of files no longer needed, not given back yet
  } journal;
  struct Memory {
    std::uint64_t page_bytes{}, directory_bytes{}, index_bytes{}, pages{}, pages_resident{};
    std::uint64_t page_loads{}, page_stores{}, page_disk_bytes{};
  } memory;
  struct Region {
    std::string active;  ///< as the register says
    std::uint64_t term{};
    std::string phase;    ///< active | switching | recovering | unknown
    std::string problem;  ///< the register could not be asked: why
  } active_region;
  /// Of a node that is one of a group in its region.
  struct Group {
    std::string mode = "replicated";  ///< or shared-store
    std::string role;                 ///< leader | backup | candidate | stopped; without the store: standby
    std::string leader;               ///< node; empty = not known
    std::uint64_t epoch{}, promised{};
    std::vector<std::string> in_sync;  ///< nodes, as last known
    std::vector<std::string> need;     ///< leader: others whose acknowledgement a commit waits for
    std::uint64_t copies_min{};
    std::uint64_t second_copy_lsn{};  ///< leader: on another disk too
    double publish_pace{};  ///< messages a second, while a node catches up; 0 = publishers are not slowed
    std::string fenced;     ///< why it serves nobody though it leads; empty = it serves
    std::string problem;
    /// In force, grown from what is configured with the measured round trip. `suspect_after`: a backup's own.
    double drop_after_seconds{}, lease_seconds{}, suspect_after_seconds{};
    double round_trip_seconds{};  ///< what they follow from; 0 = not known yet
    struct Other {
      std::string node;
      bool connected = false, in_sync = false;
      std::uint16_t packet_version = 0;  ///< spoken with it; 0 = no connection
      std::uint64_t lag_records{};       ///< of this log, not known to be on its disk
    };
    std::vector<Other> others;        ///< as configured, by name
    bool waits_for_operator = false;  ///< the leader is silent, and only `mainstay group promote` replaces it
    bool register_refused = false;    ///< it is older than what was seen, or another cluster's
    std::string damage;  ///< what of this node's log is damaged, and what becomes of it; empty: nothing known
    std::uint64_t logs_set_aside{};  ///< since the start, because they were damaged
    std::uint64_t alarms{};          ///< raised since the start
    double disk_probe_seconds{};     ///< the last one, or the one under way when that is longer already
    std::vector<std::string> layout_warnings;  ///< allow_unsafe_layout: what it allowed
    /// Shared-store mode.
    struct Store {
      bool lock_held = false;   ///< this node has the store's lock
      std::string lock_holder;  ///< who else had it when this node asked last; empty = nobody, or not asked
    };
    std::optional<Store> store;
    /// What is known here of each node of the group, this one included.
    struct Node {
      std::string name;
      std::string state;    ///< leader | in sync | copying | catching up | connected | away | removed
      std::uint64_t lsn{};  ///< up to which its log is known to be this one's
    };
    std::vector<Node> nodes;
    /// A full copy of log and state, under way.
    struct Copy {
      std::string way;    ///< taking | giving; empty: there is none
      std::string node;   ///< the other one
      std::string phase;  ///< asking | waiting | copying | verifying | installing
      std::uint64_t bytes_done{}, bytes_total{};
    } copy;
  };
  std::optional<Group> group;
  struct Amqp {
    std::uint64_t connections{}, connections_opened{}, authentication_failures{}, published{},
        publish_refused{}, delivered{}, settled{}, settle_refused{}, credit_stalls{}, held_publishes{},
        malformed{}, oversize{}, requests_answered{}, requests_refused{};
  } amqp;
  /// Flow control: who waits for what, and what is in memory.
  struct Flow {
    std::uint64_t sending_links{}, throttled_links{}, credit_granted{};
    std::uint64_t budget_bytes{}, memory_bytes{}, memory_limit_bytes{};
    std::uint64_t held_bytes{}, unfinished_bytes{}, output_bytes{}, journal_backlog_bytes{};
    std::uint64_t journal_backlog_limit_bytes{}, connections_limit{};
    std::uint64_t links_cut{};
    struct Stall {
      std::string reason;  ///< memory, journal, disk_full, replication, catch_up, consumer_window,
                           ///< link_credit
      std::uint64_t links{};
      double seconds{};
    };
    std::vector<Stall> stalls;
    std::uint64_t confirms_waiting{};  ///< publishes that wait for the other region (durability global)
  } flow;
  /// Commit latency (order → durable), seconds: cumulative counts per upper bound, as Prometheus has them.
  std::vector<std::pair<double, std::uint64_t>> commit_latency_buckets;
  std::uint64_t commit_latency_count{};
  double commit_latency_sum{};
  double recovery_seconds{};  ///< of the latest recovery of the log: at the start, or when a leader became a
                              ///< follower
  double commit_latency_longest{};  ///< since the start
  /// What the loop's thread did, and how long at a time: see node/turn_meter.h.
  struct LoopWork {
    std::string work;
    std::vector<std::pair<double, std::uint64_t>> buckets;  ///< as above
    std::uint64_t count{};
    double sum{};
    double longest{};  ///< since the start
  };
  std::vector<LoopWork> loop;
  /// Bodies of messages that had left memory, read back from the journal.
  struct Bodies {
    std::uint64_t served{}, reads{}, waits{}, read_ahead{}, read_bytes{};
  } bodies;
  std::uint64_t resident_bytes{};
  double cpu_seconds{};                                ///< user and system, all threads
  std::uint64_t disk_size_bytes{}, disk_free_bytes{};  ///< of the file system that has the journal
  double uptime_seconds{};
};

/// How much of a limit is used, 0 to 1, of each limit at which producers or clients are held back: the signal
/// to scale on (docs/flow-control.md). "memory", "journal", "disk", "connections".
struct LimitUsed {
  const char* limit = "";
  double part{};
};
[[nodiscard]] std::vector<LimitUsed> limits_used(const NodeStatus& status);

/// Outcome of a region or group command.
struct CommandResult {
  int status =
      200;  ///< HTTP status: 200 done, 409 not possible now, 503 the register cannot be asked, 504 timed out
  std::string error;  ///< for other than 200: what happened and what to do
  std::uint64_t term{};
  std::uint64_t lsn{};
  std::string hash;
  std::string note;
};
/// Of a command that was not carried out, or whose outcome is not known. @param status  other than 200
[[nodiscard]] inline CommandResult refused(int status, std::string why) {
  CommandResult result;
  result.status = status;
  result.error = std::move(why);
  return result;
}
using CommandDone = std::function<void(CommandResult)>;

struct RegionCommand {
  enum class What : std::uint8_t { switch_away, promote, admit_producers };
  What what{};
  bool force = false;
  std::string by, reason;
};

class ControlBackend {
 public:
  virtual ~ControlBackend() = default;
  virtual NodeStatus status() = 0;
  /// Moves the lead of the group to node `to`; answered when it has moved or stayed.
  virtual void group_switch(const std::string& to, const std::string& by, const std::string& reason,
                            CommandDone done) = 0;
  /// This node asks to lead in the place of a leader that is not heard; answered when it is known who leads.
  virtual void group_promote(const std::string& by, const std::string& reason, CommandDone done) = 0;
  /// Reads the file's [[group.node]] anew; answered when this node, and if it leads the register, go by it.
  virtual void group_reload(const std::string& by, bool force, CommandDone done) = 0;
  virtual void group_remove(const std::string& node, const std::string& by, const std::string& reason,
                            bool force, CommandDone done) = 0;
  virtual void region_command(const RegionCommand& command, CommandDone done) = 0;
  /// Fails, saying why, when there is no such queue or this node is not live: only the leader knows them all.
  virtual Result<std::vector<bool>, Failure> known_messages(const std::string& queue,
                                                            const std::vector<std::string>& ids) = 0;
};

using Respond = std::function<void(Response)>;

/// Answers one request; `respond` is called once, perhaps later.
void handle(const Request& request, ControlBackend& backend, const std::string& token,
            const Respond& respond);

/// Body of /status.
[[nodiscard]] std::string status_json(const NodeStatus& status);
/// Body of /metrics.
[[nodiscard]] std::string metrics_text(const NodeStatus& status);

}  // namespace mainstay::http
