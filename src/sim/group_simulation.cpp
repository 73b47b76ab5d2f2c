#include "sim/group_simulation.h"

#include <algorithm>

#include "base/checksum.h"
#include "sim/group_broker.h"
#include "sim/group_bugs.h"
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
      world_.full_copies = !world_.whole_logs && options.seed % 2 == 0 && world_.bug == group::Bug::none;
      world_.copies_min = count > 1 && world_.random.chance(1, 2) ? 2 : 1;
    }
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
    fault_pause_ = world_.between(milliseconds(50), milliseconds(2'000));
    world_.report.options = std::to_string(count) + " nodes, " + std::to_string(options.operations) +
                            " operations, " + std::to_string(clients) + " clients, a fault every " +
                            std::to_string(fault_pause_.milliseconds()) + " ms";
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
    plan_fault();
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
  GroupMachine* leader() {
    GroupMachine* found = nullptr;
    for (GroupMachine* node : nodes_)
      if (node->up() && node->member().role() == group::Role::leader &&
          (found == nullptr || node->member().epoch() > found->member().epoch()))
        found = node;
    return found;
  }
  /// All acknowledged, everybody in sync, every log the same.
  bool ended_well() {
    if (!all_done()) return false;
    if (!world_.members_only && !std::exchange(waited_, true)) {
      // Scheduled by a clock that was hours ahead: their time comes, whoever leads.
      for (GroupMachine* node : nodes_) node->clock().jump_wall(std::int64_t{30} * 86'400'000);
    }
    GroupMachine* lead = leader();
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
        why += node->name() + " is down; ";
        continue;
      }
      const auto status = node->member().status();
      why += node->name() + " has role " + std::to_string(static_cast<int>(status.role)) + " epoch " +
             std::to_string(status.epoch.value) + " promised " + std::to_string(status.promised.value) +
             " LSN " + std::to_string(node->log().durable) + " committed " +
             std::to_string(status.committed.value) + " problem '" + status.last_problem + "'; ";
    }
    for (GroupBroker* node : brokers_) {
      if (!node->up())
        why += node->GroupMachine::name() + " failed to start: " + node->last_failed_start() + "; ";
      else if (const std::uint64_t left = node->active_messages(); left != 0)
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
    register_.heal();
    wire_->heal();
    for (GroupMachine* node : nodes_) node->disk_stalls = false;
  }

  void plan_fault() {
    world_.queue.after(world_.between(fault_pause_, fault_pause_ + fault_pause_), [this] {
      if (!world_.faults_on) return;
      inject();
      plan_fault();
    });
  }
  Duration pause() { return world_.between(milliseconds(20), seconds(4)); }
  /// Another disk of the in-sync set is there, and will be: with the last one everything would be gone,
  /// rightly.
  bool may_lose(const GroupMachine& victim) {
    if (register_.under_way() != 0 || world_.register_was_put_back ||
        (!world_.whole_logs && !world_.full_copies))
      return false;
    return std::any_of(nodes_.begin(), nodes_.end(), [&](const GroupMachine* node) {
      return node != &victim && register_.names(node->name(), node->incarnation());
    });
  }

  bool all_up() {
    return std::all_of(nodes_.begin(), nodes_.end(), [](const GroupMachine* node) { return node->up(); });
  }
  /// Somebody restores the register from a backup. Only when every node that it would allow to lead has seen
  /// more, and will remember it: a register that was put back to where such a node still is cannot be told
  /// from one that was not.
  void put_register_back() {
    if (world_.register_was_put_back || !register_.record() || !all_up()) return;
    // Its last change must be known to a node, and by now on its disk.
    const bool told = std::any_of(nodes_.begin(), nodes_.end(), [&](GroupMachine* node) {
      const auto block = group::read_superblock(node->disk(), "");
      return block && block->block && block->block->record &&
             block->block->record->epoch == register_.record()->epoch;
    });
    if (!told) return;
    const bool done =
        register_.put_back(world_.random.between(1, 4), [&](const coordination::GroupRecord& older) {
          return std::all_of(nodes_.begin(), nodes_.end(), [&](GroupMachine* node) {
            if (!older.isr.contains({node->name(), node->incarnation()})) return true;
            // On its disk: it may restart.
            const auto block = group::read_superblock(node->disk(), "");
            return block && block->block && block->block->seen > older.epoch;
          });
        });
    if (!done) return;
    world_.fault("register put back");
    world_.register_was_put_back = true;
    repair_register_after(world_.between(milliseconds(500), milliseconds(4'000)));
  }
  /// The operator asks every node, takes what the one that knows most says, and goes beyond all of them.
  void repair_register_after(Duration time) {
    world_.queue.after(time, [this] {
      if (!all_up()) return repair_register_after(milliseconds(100));
      Epoch highest{};
      std::optional<coordination::GroupRecord> known;
      for (GroupMachine* node : nodes_) {
        const group::MemberStatus status = node->member().status();
        highest = std::max(highest, status.highest);
        if (status.known && (!known || status.known->epoch > known->epoch)) known = status.known;
      }
      known->epoch = Epoch{highest.value + 1};
      known->reason = "repaired by an operator";
      register_.repair(*known);
      world_.reached("register repaired");
      world_.register_was_put_back = false;
      // The longest way of an answer and the longest pause of a process.
      world_.put_back_told_until = world_.queue.now() + milliseconds(700) + seconds(4);
    });
  }

  void inject() {
    auto& random = world_.random;
    GroupMachine& any = *nodes_[random.below(nodes_.size())];
    GroupMachine* lead = leader();
    GroupMachine& victim = lead != nullptr && random.chance(1, 2) ? *lead : any;
    const std::size_t line = wire_->lines() == 0 ? 0 : random.below(wire_->lines());
    switch (random.below(world_.members_only ? 21 : 23)) {
      case 0:
      case 1:
        if (!victim.up()) return;
        world_.fault("power loss");
        if (random.chance(1, 2)) {
          victim.disk().stop_after(random.below(4));
          world_.fault("power loss within a write");
          world_.queue.after(world_.between(Duration{}, milliseconds(30)),
                             [this, &victim, life = victim.life()] {
                               if (victim.up() && victim.life() == life)
                                 victim.stop_and_restart(GroupMachine::End::power_loss, pause());
                             });
          return;
        }
        return victim.stop_and_restart(GroupMachine::End::power_loss, pause());
      case 2:
        if (!victim.up()) return;
        world_.fault("process killed");
        return victim.stop_and_restart(GroupMachine::End::process_killed, pause());
      case 3:
        world_.fault("power loss of all");
        for (GroupMachine* node : nodes_)
          if (node->up()) node->stop_and_restart(GroupMachine::End::power_loss, pause());
        return;
      case 4:
        if (!may_lose(victim)) return;
        world_.fault("disk lost");
        // Sometimes replaced before anybody has missed the node, by a slow one.
        if (random.chance(1, 2)) return victim.lose_disk(pause());
        victim.disk_stalls = true;
        world_.queue.after(seconds(3), [&victim] { victim.disk_stalls = false; });
        return victim.lose_disk(world_.between(milliseconds(1), milliseconds(100)));
      case 5:
        if (!victim.up()) return;
        world_.fault("process paused");
        return victim.freeze(world_.between(milliseconds(100), seconds(4)));
      case 6:
        if (!victim.up()) return;
        world_.fault("sync error");
        return victim.disk().fail_next_sync(random.below(3));
      case 7:
        world_.fault("disk slow");
        victim.disk_stalls = true;
        world_.queue.after(seconds(2), [&victim] { victim.disk_stalls = false; });
        return;
      case 8:
      case 9:
        world_.fault("register away");
        return register_.away(world_.between(milliseconds(100), seconds(4)));
      case 10:
        return register_.next_outcome_unknown();
      case 11:
        world_.fault("register slow");
        return register_.slow(world_.between(milliseconds(500), seconds(4)));
      case 12:
        if (lead == nullptr || nodes_.size() == 1) return;
        if (lead->hand_over(nodes_[random.below(nodes_.size())]->name())) world_.fault("planned move");
        return;
      case 13:
      case 14: {
        // A leader that sleeps through another one's leadership, and finds its successor just restarted.
        if (lead == nullptr || nodes_.size() == 1) return;
        world_.fault("leader paused, its successor stopped");
        lead->freeze(world_.between(milliseconds(2'000), milliseconds(4'000)));
        world_.queue.after(world_.between(milliseconds(1'500), milliseconds(3'800)), [this, lead] {
          GroupMachine* successor = leader();
          if (successor == nullptr || successor == lead) return;
          if (world_.random.chance(2, 3)) register_.away(world_.between(seconds(1), seconds(3)));
          successor->stop_and_restart(GroupMachine::End::power_loss,
                                      world_.between(milliseconds(10), milliseconds(500)));
        });
        return;
      }
      case 15:
        return put_register_back();
      case 21:
        world_.fault("wall clock jump");
        return victim.clock().jump_wall(static_cast<std::int64_t>(random.below(7'200'000)) - 3'600'000);
      case 22:
        world_.fault("client disconnected");
        return receivers_[random.below(receivers_.size())]->disconnect();
      default:
        break;
    }
    if (wire_->lines() == 0) return;
    switch (random.below(5)) {
      case 0:
        world_.fault("connection broken");
        return wire_->break_connection(line);
      case 1:
      case 2:
        world_.fault("one-way cut");
        return wire_->cut(line, random.below(2), world_.between(milliseconds(100), seconds(4)));
      case 3:
        world_.fault("nodes parted");
        return wire_->part(line, world_.between(milliseconds(200), seconds(5)));
      default:
        world_.fault("slow line");
        wire_->slow(line, world_.between(milliseconds(5), milliseconds(300)));
        world_.queue.after(seconds(3), [this, line] { wire_->slow(line, milliseconds(1)); });
        return;
    }
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
  Duration fault_pause_{};
};

}  // namespace

std::vector<std::string> group_fault_classes(bool members_only) {
  std::vector<std::string> all{"power loss",
                               "power loss within a write",
                               "process killed",
                               "power loss of all",
                               "disk lost",
                               "process paused",
                               "sync error",
                               "disk slow",
                               "leader paused, its successor stopped",
                               "register away",
                               "register answer unknown",
                               "register slow",
                               "planned move",
                               "register put back",
                               "connection broken",
                               "one-way cut",
                               "nodes parted",
                               "slow line",
                               "unsynced write lost",
                               "write torn"};
  if (!members_only) all.insert(all.end(), {"wall clock jump", "client disconnected"});
  return all;
}

std::vector<std::string> group_probes(bool members_only) {
  std::vector<std::string> all{"leadership began",
                               "leader went on under a new epoch",
                               "planned move done",
                               "log cut at rejoin",
                               "change of the register landed late",
                               "a register that was put back was noticed",
                               "register repaired",
                               "ended with equal logs"};
  if (!members_only)
    all.insert(all.end(), {"became live",
                           "a leader sent its clients away",
                           "delivery held back under a stale lease",
                           "a stalled disk was noticed",
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
                           "torn tail cut",
                           "unacknowledged tail survived",
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
      {"checkpoint-of-uncommitted", Bug::checkpoint_of_uncommitted, kWithBroker},
      {"deliver-under-stale-lease", Bug::deliver_under_stale_lease, kWithBroker},
      {"answer-when-durable-here", Bug::answer_when_durable_here, kWithBroker},
      {"deliver-before-first-commit", Bug::deliver_before_first_commit, kWithBroker},
      {"remove-what-peers-need", Bug::remove_what_peers_need, kWithBroker},
      {"checkpoint-without-epochs", Bug::checkpoint_without_epochs, kWithBroker},
      {"keep-by-diverged-end", Bug::keep_by_diverged_end, kWithBroker, 2'201}};
  return all;
}

Report simulate_group(const GroupOptions& options) {
  const Resurrect bug(options.bug);
  return GroupSimulation(options).run();
}

}  // namespace mainstay::sim
