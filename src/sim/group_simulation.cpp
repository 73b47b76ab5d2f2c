#include "sim/group_simulation.h"

#include <algorithm>

#include "base/checksum.h"
#include "sim/group_broker.h"
#include "sim/group_bugs.h"
#include "sim/group_faults.h"
#include "sim/group_node.h"
#include "sim/group_register.h"
#include "sim/group_wire.h"
#include "sim/sim_client.h"

namespace mainstay::sim {
namespace {

/// Sends one operation after the other, each until it is acknowledged, to whoever takes it.
class GroupClient {
 public:
  GroupClient(GroupWorld& world, const std::vector<GroupNode*>& nodes, std::uint64_t first,
              std::uint64_t count)
      : world_(world), nodes_(nodes), next_(first), end_(first + count) {
    at_once_ = world_.random.between(1, 4);
    pause_ = world_.between(milliseconds(5), milliseconds(2'000));
  }
  void start() { again(Duration{}); }
  [[nodiscard]] bool done() const { return next_ == end_ && open_ == 0; }

 private:
  void again(Duration delay) {
    world_.queue.after(delay, [this] { run(); });
  }
  void run() {
    // Several in flight: what is not acknowledged in time is sent again, perhaps twice.
    while (open_ < at_once_ && next_ < end_) attempt(next_++);
    if (done()) return;
    again(world_.between(milliseconds(1), world_.faults_on ? pause_ : milliseconds(20)));
  }
  void attempt(std::uint64_t operation) {
    ++open_;
    send(operation);
  }
  void send(std::uint64_t operation) {
    auto answered = std::make_shared<bool>(false);
    bool taken = false;
    const std::size_t from = world_.random.below(nodes_.size());
    for (std::size_t i = 0; i < nodes_.size() && !taken; ++i) {
      GroupNode& node = *nodes_[(from + i) % nodes_.size()];
      taken = node.submit(operation, [this, operation, answered] {
        *answered = true;
        if (acknowledged_.insert(operation).second) {
          --open_;
          ++world_.report.published;
        }
      });
    }
    world_.queue.after(taken ? milliseconds(1'500) : world_.between(milliseconds(5), milliseconds(50)),
                       [this, operation, answered] {
                         if (!*answered && acknowledged_.count(operation) == 0) send(operation);
                       });
  }

  GroupWorld& world_;
  const std::vector<GroupNode*>& nodes_;
  std::uint64_t next_, end_;
  std::size_t open_ = 0, at_once_ = 1;
  Duration pause_{};
  std::set<std::uint64_t> acknowledged_;
};

class GroupSimulation {
 public:
  explicit GroupSimulation(const GroupOptions& options) : world_(options), register_(world_) {
    const std::uint64_t count = world_.random.chance(1, 8) ? 1 : world_.random.chance(1, 3) ? 3 : 2;
    if (!world_.members_only) {
      world_.whole_logs = world_.random.chance(1, 2);
      // Not drawn, so that older seeds stay what they were.
      world_.full_copies = !world_.whole_logs && options.seed % 2 == 0 && !world_.bug.any();
      world_.copies_min = count > 1 && world_.random.chance(1, 2) ? 2 : 1;
    }
    // Not drawn either.
    world_.operator_promotes = options.seed % 16 == 7 && !world_.bug.any();
    for (std::uint64_t i = 0; i < count; ++i) add_node(i, count);
    wire_ = std::make_unique<GroupWire>(world_, nodes_);
    const std::uint64_t clients = world_.random.between(1, 3);
    const std::uint64_t each = (options.operations + clients - 1) / clients;
    if (world_.members_only) {
      for (std::uint64_t i = 0; i < clients; ++i)
        clients_.push_back(std::make_unique<GroupClient>(world_, members_, 1 + i * each, each));
    } else {
      add_clients(clients, each);
    }
    const Duration pause = world_.between(milliseconds(50), milliseconds(2'000));
    faults_ = std::make_unique<GroupFaults>(world_, register_, *wire_, nodes_, receivers_, pause);
    world_.report.options = std::to_string(count) + " nodes, " + std::to_string(options.operations) +
                            " operations, " + std::to_string(clients) + " clients, a fault every " +
                            std::to_string(pause.milliseconds()) + " ms";
    if (world_.operator_promotes) world_.report.options += ", an operator promotes";
    if (world_.members_only) {
      world_.report.options += ", members only";
    } else {
      world_.report.options += world_.whole_logs    ? ", whole logs"
                               : world_.full_copies ? ", segments are removed, and copied"
                                                    : ", segments are removed";
      if (world_.copies_min > 1) world_.report.options += ", two copies at least";
    }
  }

  Report run() {
    for (GroupMachine* node : nodes_)
      world_.queue.after(world_.between(Duration{}, milliseconds(300)), [node] {
        if (!node->up()) node->start();
      });
    for (auto& client : clients_) client->start();
    for (auto& client : publishers_) client->start();
    for (auto& client : receivers_) client->start();
    faults_->start();
    run_until([&] { return all_done() || world_.queue.now() > seconds(60); });
    const Duration more = world_.queue.now() + seconds(3);
    run_until([&] { return world_.queue.now() > more; });
    heal();
    const Duration healed = world_.queue.now();
    run_until([&] { return ended_well() || world_.queue.now() > healed + seconds(60); });
    Report& report = world_.report;
    if (report.violations.empty() && !ended_well()) report.stuck = why_stuck();
    if (!world_.members_only) {  // let the last answers arrive
      const Duration ended = world_.queue.now();
      run_until([&] { return world_.queue.now() > ended + seconds(1); });
    }
    if (report.violations.empty() && report.stuck.empty()) finish();
    for (GroupMachine* node : nodes_) {
      const auto counters = node->disk().counters();
      report.faults["unsynced write lost"] += counters.writes_lost;
      report.faults["write torn"] += counters.writes_torn;
    }
    if (world_.members_only) report.completed = world_.checker.acknowledged_count();
    report.events = world_.queue.ran();
    report.virtual_seconds = world_.queue.now().seconds();
    report.digest = mix64(mix64(report.digest, world_.checker.digest()), world_.random.next());
    return std::move(report);
  }

 private:
  template <class Done>
  void run_until(Done done) {
    while (world_.report.violations.empty() && !done() && world_.queue.run_next()) {
    }
  }
  void add_node(std::uint64_t number, std::uint64_t count) {
    const auto name_of = [](std::uint64_t i) { return std::string(1, static_cast<char>('a' + i)); };
    if (world_.members_only) {
      auto node = std::make_unique<GroupNode>(world_, register_, name_of(number));
      members_.push_back(node.get());
      owned_.push_back(std::move(node));
    } else {
      std::vector<std::string> others;
      for (std::uint64_t i = 0; i < count; ++i)
        if (i != number) others.push_back(name_of(i));
      auto node = std::make_unique<GroupBroker>(world_, register_, name_of(number), std::move(others));
      brokers_.push_back(node.get());
      owned_.push_back(std::move(node));
    }
    nodes_.push_back(owned_.back().get());
  }
  void add_clients(std::uint64_t publishers, std::uint64_t each) {
    const std::vector<BrokerHost*> hosts(brokers_.begin(), brokers_.end());
    for (std::uint64_t i = 0; i < publishers; ++i)
      publishers_.push_back(std::make_unique<Publisher>(world_, hosts, "p" + std::to_string(i), each));
    const std::uint64_t receivers = world_.random.between(1, 2);
    for (std::uint64_t i = 0; i < receivers; ++i)
      receivers_.push_back(std::make_unique<Receiver>(world_, hosts, "s" + std::to_string(i), true));
    receivers_.push_back(std::make_unique<Receiver>(world_, hosts, "r", false));
  }

  bool all_done() {
    return std::all_of(clients_.begin(), clients_.end(), [](const auto& client) { return client->done(); }) &&
           std::all_of(publishers_.begin(), publishers_.end(),
                       [](const auto& client) { return client->done(); });
  }
  /// All acknowledged, everybody in sync, every log the same.
  bool ended_well() {
    if (!all_done()) return false;
    if (!world_.members_only && !std::exchange(waited_, true)) {
      // Scheduled by a clock that was hours ahead: their time comes, whoever leads.
      for (GroupMachine* node : nodes_) node->clock().jump_wall(std::int64_t{30} * 86'400'000);
    }
    GroupMachine* lead = faults_->leader();
    if (lead == nullptr || !register_.record() || register_.record()->isr.size() != nodes_.size())
      return false;
    for (GroupMachine* node : nodes_) {
      if (!node->up() || !register_.names(node->name(), node->incarnation()) ||
          node->log().hashes != lead->log().hashes || node->log().durable != lead->log().durable)
        return false;
    }
    if (lead->member().committed().value != lead->log().durable) return false;
    for (GroupBroker* node : brokers_)
      if (!node->quiet() || node->active_messages() != 0) return false;
    return true;
  }
  /// After everything healed and ended well.
  void finish() {
    Report& report = world_.report;
    if (nodes_.size() > 1) ++report.reached["ended with equal logs"];
    for (GroupNode* node : members_) world_.checker.finish(node->name(), node->log(), node->operations());
    for (GroupBroker* node : brokers_) {
      if (!node->up() || !brokers_.front()->up()) continue;  // what landed late made it begin anew
      const broker::State& state = node->replica().state();
      if (state.recompute_hash() != state.hash())
        report.violated("state: " + node->GroupMachine::name() +
                        "'s incremental hash differs from one made anew");
      const broker::State& first = brokers_.front()->replica().state();
      if (state.applied() != first.applied() || state.applied() == Lsn{}) continue;
      // A change of the register that landed in the last second may have made their logs part again.
      const auto last = static_cast<std::size_t>(state.applied().value - 1);
      if (node->log().hashes.at(last) != brokers_.front()->log().hashes.at(last)) continue;
      if (state.hash() != first.hash())
        report.violated("state: " + node->GroupMachine::name() + " ends with another state than " +
                        brokers_.front()->GroupMachine::name());
    }
    if (world_.members_only) return;
    world_.publishes.finish();
    world_.settlements.finish();
  }
  std::string why_stuck() {
    std::string why = all_done() ? "all acknowledged; " : "not all acknowledged; ";
    for (GroupMachine* node : nodes_) {
      if (!node->up()) {
        why += node->name() + " is down (" + node->last_failed_start() + "); ";
        continue;
      }
      const auto status = node->member().status();
      why += node->name() + " has role " + std::to_string(static_cast<int>(status.role)) + " epoch " +
             std::to_string(status.epoch.value) + " promised " + std::to_string(status.promised.value) +
             " LSN " + std::to_string(node->log().durable) + " committed " +
             std::to_string(status.committed.value) + " problem '" + status.last_problem + "'; ";
    }
    for (GroupBroker* node : brokers_) {
      if (!node->up()) continue;
      if (const std::uint64_t left = node->active_messages(); left != 0)
        why += node->GroupMachine::name() + " has " + std::to_string(left) + " messages; ";
    }
    if (!register_.record()) return why + "the register is empty";
    std::string set;
    for (const auto& member : register_.record()->isr) set += " " + member.node;
    return why + "register: epoch " + std::to_string(register_.record()->epoch.value) + " leader " +
           register_.record()->leader.node + " in sync" + set;
  }

  void heal() {
    world_.faults_on = false;
    faults_->heal();
  }

  GroupWorld world_;
  GroupRegister register_;
  std::vector<std::unique_ptr<GroupMachine>> owned_;
  std::vector<GroupMachine*> nodes_;
  std::vector<GroupNode*> members_;    ///< the first stage's
  std::vector<GroupBroker*> brokers_;  ///< the second's
  std::unique_ptr<GroupWire> wire_;
  std::vector<std::unique_ptr<GroupClient>> clients_;
  std::vector<std::unique_ptr<Publisher>> publishers_;
  std::vector<std::unique_ptr<Receiver>> receivers_;
  bool waited_ = false;  ///< for what was scheduled
  std::unique_ptr<GroupFaults> faults_;
};

}  // namespace

std::vector<std::string> group_fault_classes(bool members_only) {
  std::vector<std::string> all{"power loss",
                               "power loss within a write",
                               "process killed",
                               "power loss of all",
                               "process paused",
                               "leader paused, its successor stopped",
                               "slow node",
                               "wall clock jump",
                               "clock drift",
                               "mixed versions",
                               "disk lost",
                               "sync error",
                               "disk slow",
                               "disk full",
                               "read error",
                               "read damaged on its way",
                               "record rotten",
                               "write misdirected",
                               "superblock copy rotten",
                               "snapshot taken",
                               "snapshot restored",
                               "snapshot restored under its leader",
                               "register away",
                               "register asked, and its answer lost",
                               "register answer unknown",
                               "register slow",
                               "register put back",
                               "planned move",
                               "operator error",
                               "connection broken",
                               "connection replaced, the old one lingers",
                               "one-way cut",
                               "nodes parted",
                               "slow line",
                               "flapping line",
                               "unsynced write lost",
                               "write torn"};
  if (!members_only) all.emplace_back("client disconnected");
  return all;
}

std::vector<std::string> group_probes(bool members_only) {
  std::vector<std::string> all{"leadership began",
                               "leader went on under a new epoch",
                               "records were read ahead for a follower",
                               "planned move done",
                               "an operator promoted a backup",
                               "log cut at rejoin",
                               "unacknowledged tail survived",
                               "fail-stop: sync failed",
                               "the superblock's second copy was used",
                               "a disk went back to its snapshot",
                               "a disk in sync that went back was noticed",
                               "an older version of packets was spoken",
                               "a packet of an old connection came late",
                               "change of the register landed late",
                               "a register that was put back was noticed",
                               "register repaired",
                               "a repair was repeated and refused",
                               "an operator's mistake was refused",
                               "ended with equal logs"};
  if (members_only) all.insert(all.end(), {"a damaged disk was refused", "a damaged disk was replaced"});
  if (!members_only)
    all.insert(all.end(), {"became live",
                           "torn tail cut",
                           "fail-stop: disk full",
                           "a leader sent its clients away",
                           "delivery held back under a stale lease",
                           "a stalled disk was noticed",
                           "spare segment waits for disk space",
                           "checkpoint waits for disk space",
                           "publish refused: disk full",
                           "a damaged record was noticed in service",
                           "a leader with a damaged log gave the lead away",
                           "a damaged log was set aside",
                           "a read failed in service",
                           "a page was lost",
                           "checkpoint stored",
                           "checkpoint waits for its records' commit",
                           "checkpoint waits for its superblock",
                           "checkpoint used",
                           "restored from a checkpoint with pages",
                           "state rebuilt after a cut",
                           "segments removed",
                           "a full copy was asked for",
                           "a full copy began",
                           "a full copy was gone on with",
                           "a full copy was dropped",
                           "a full copy was installed",
                           "a message was moved",
                           "a page was loaded back",
                           "publish repeated after an unknown outcome",
                           "publish was a duplicate",
                           "publish confirmed on two disks",
                           "publish refused: too few copies",
                           "delivered again after a failover",
                           "a delivery window was full",
                           "a deferred message was received",
                           "a deferred message was locked",
                           "a scheduled message was seen",
                           "settlement refused",
                           "lock outlived"});
  return all;
}

const std::vector<GroupBug>& group_bugs() {
  using group::Bug;
  constexpr bool kWithBroker = false;
  static const std::vector<GroupBug> all{
      {"ack-before-shrink-is-known", Bug::ack_before_shrink_is_known},
      {"promise-not-durable", Bug::promise_not_durable},
      {"no-promise", Bug::no_promise},
      {"join-without-union", Bug::join_without_union},
      {"member-by-name", Bug::member_by_name},
      {"promote-outside-set", Bug::promote_outside_set},
      {"resume-epoch", Bug::resume_epoch},
      {"ack-before-sync", Bug::ack_before_sync},
      {"add-before-catch-up", Bug::add_before_catch_up},
      {"match-by-name", Bug::match_by_name},
      {"trust-older-register", Bug::trust_older_register},
      {"add-by-remembered-commit", Bug::add_by_remembered_commit},
      {"believe-replaced-connection", Bug::believe_replaced_connection},
      {"checkpoint-of-uncommitted", Bug::checkpoint_of_uncommitted, kWithBroker},
      {"deliver-under-stale-lease", Bug::deliver_under_stale_lease, kWithBroker},
      {"answer-when-durable-here", Bug::answer_when_durable_here, kWithBroker},
      {"deliver-before-first-commit", Bug::deliver_before_first_commit, kWithBroker},
      {"remove-what-peers-need", Bug::remove_what_peers_need, kWithBroker},
      {"checkpoint-without-epochs", Bug::checkpoint_without_epochs, kWithBroker},
      {"keep-by-diverged-end", Bug::keep_by_diverged_end, kWithBroker, 7'801},
      {"damage-as-torn-tail", journal::Bug::damage_as_torn_tail},
      {"operator-retry-applied", StandInBug::operator_retry_applied},
      {"duplicates-by-watermark", broker::Bug::duplicates_by_watermark, kWithBroker},
      {"settlement-throttled", StandInBug::settlement_throttled, kWithBroker}};
  return all;
}

Report simulate_group(const GroupOptions& options) {
  const Resurrect bug(options.bug);
  return GroupSimulation(options).run();
}

}  // namespace mainstay::sim
