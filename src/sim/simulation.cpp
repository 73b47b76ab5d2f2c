#include "sim/simulation.h"

#include <array>
#include <utility>

#include "base/checksum.h"
#include "sim/fault_plan.h"
#include "sim/operator.h"
#include "sim/region_wire.h"
#include "sim/sim_client.h"

namespace mainstay::sim {
namespace {

constexpr std::array<std::pair<const char*, Canary>, 7> kCanaries{{
    {"ack-before-sync", Canary::ack_before_sync},
    {"standby-ack-before-sync", Canary::standby_ack_before_sync},
    {"show-before-commit", Canary::show_before_commit},
    {"resume-term", Canary::resume_term},
    {"switch-without-seal", Canary::switch_without_seal},
    {"confirm-without-standby", Canary::confirm_without_standby},
    {"trust-older-register", Canary::trust_older_register},
}};

class Simulation {
 public:
  explicit Simulation(const Options& options)
      : world_(options),
        east_(world_, "east", "west"),
        west_(world_, "west", "east"),
        operator_(world_, east_, west_),
        wire_(world_, east_, west_) {
    const std::vector<BrokerHost*> nodes{&east_, &west_};
    const std::uint64_t publishers = world_.random.between(1, 3);
    for (std::uint64_t i = 0; i < publishers; ++i) {
      publishers_.push_back(std::make_unique<Publisher>(world_, nodes, "p" + std::to_string(i),
                                                        (options.operations + publishers - 1) / publishers));
    }
    const std::uint64_t receivers = world_.random.between(1, 3);
    for (std::uint64_t i = 0; i < receivers; ++i) {
      receivers_.push_back(std::make_unique<Receiver>(world_, nodes, "s" + std::to_string(i), true));
    }
    receivers_.push_back(std::make_unique<Receiver>(world_, nodes, "r", false));
    may_force_ = world_.random.chance(1, 3);
    const Duration pause = world_.between(milliseconds(100), milliseconds(2'500));
    plan_ = std::make_unique<FaultPlan>(world_, pause);
    add_faults();
    world_.report.options = std::to_string(options.operations) + " operations, " +
                            std::to_string(publishers) + " publishers, " + std::to_string(receivers + 1) +
                            " receivers, a fault every " + std::to_string(pause.milliseconds()) + " ms" +
                            (may_force_ ? ", forced promotion allowed" : "");
  }

  Report run() {
    east_.start();
    west_.start();
    for (auto& client : publishers_) client->start();
    for (auto& client : receivers_) client->start();
    plan_->start();
    const Duration faults_at_most = seconds(120);
    run_until([&] { return published() || world_.queue.now() > faults_at_most; });
    // A while longer, so that faults also hit what only settles.
    const Duration more = world_.queue.now() + seconds(3);
    run_until([&] { return world_.queue.now() > more; });
    heal();
    const Duration patience = world_.queue.now() + seconds(120);
    const auto over = [&] { return world_.queue.now() > patience; };
    do {
      run_until([&] { return ended_well() || over(); });
      // State is ahead of what is committed and shown: let the last answers arrive. A node that restarts
      // meanwhile has yet to meet the one that leads, and only then are their logs to be compared.
      const Duration ended = world_.queue.now();
      run_until([&] { return world_.queue.now() > ended + seconds(1); });
    } while (world_.report.violations.empty() && !ended_well() && !over());
    if (world_.report.violations.empty() && !ended_well()) world_.report.stuck = why_stuck();
    finish();
    return std::move(world_.report);
  }

 private:
  template <class Done>
  void run_until(Done done) {
    while (world_.report.violations.empty() && !done() && world_.queue.run_next()) {
    }
  }
  bool published() {
    for (const auto& client : publishers_) {
      if (!client->done()) return false;
    }
    return true;
  }

  /// All acknowledged and settled, and the standby, if it can follow, has everything.
  bool ended_well() {
    SimNode* live = operator_.live();
    if (published() && !std::exchange(waited_, true)) {
      // Scheduled by a clock that was hours ahead: their time comes, whoever leads.
      for (SimNode* node : {&east_, &west_}) node->clock().jump_wall(std::int64_t{30} * 86'400'000);
    }
    if (!published() || live == nullptr || !live->serving() || live->active_messages() != 0) return false;
    SimNode& standby = operator_.other(*live);
    // One that comes back is waited for: only what it does then shows that it refuses the other's log.
    if (standby.held_down) return !comes_back_;
    if (!standby.up()) return false;
    if (operator_.forced() && standby.replica().role() == replica::Role::sealed) return true;
    return standby.replica().role() == replica::Role::standby &&
           standby.replica().status(standby.clock().now()).connected &&
           standby.replica().state().applied() == live->replica().state().applied();
  }
  std::string why_stuck() {
    SimNode* live = operator_.live();
    if (live == nullptr) return "the register does not answer";
    SimNode& standby = operator_.other(*live);
    const auto tell = [](SimNode& node) {
      if (!node.up()) return node.region() + " is down";
      return node.region() + " has role " + std::to_string(static_cast<int>(node.replica().role())) +
             " term " + std::to_string(node.replica().term().value) + " LSN " +
             std::to_string(node.replica().state().applied().value) + " problem '" +
             node.replica().status(node.clock().now()).last_problem + "'";
    };
    return std::string(published() ? "all published; " : "not all published; ") +
           (live->serving() ? std::to_string(live->active_messages()) + " messages left; " : "") +
           tell(*live) + "; " + tell(standby);
  }

  void heal() {
    world_.faults_on = false;
    world_.region_register.set_available(true);
    (void)world_.region_register.land_late();
    wire_.heal();
    for (SimNode* node : {&east_, &west_}) {
      node->disk().set_capacity(UINT64_MAX);
      node->disk_stalls = false;
      node->disk_full = false;
      node->next_release = false;
      node->disk().let_reads_be();
      if (!gone_ || node != gone_) node->held_down = node->held_down && node == gone_;
      if (!node->up() && !node->held_down) node->start();
    }
  }

  void finish() {
    Report& report = world_.report;
    if (report.violations.empty() && report.stuck.empty()) {
      world_.publishes.finish();
      SimNode& live = *operator_.live();
      SimNode& standby = operator_.other(live);
      if (standby.up() && standby.replica().role() == replica::Role::standby) {
        world_.logs.same_history(live.region(), standby.region());
        ++report.reached["ended with equal logs"];
      }
      for (SimNode* node : {&east_, &west_}) {
        if (node->up() && node->replica().state().recompute_hash() != node->replica().state().hash()) {
          report.violated("state: " + node->region() + "'s incremental hash differs from one made anew");
        }
      }
    }
    world_.settlements.finish();
    for (SimNode* node : {&east_, &west_}) {
      const auto counters = node->disk().counters();
      report.faults["unsynced write lost"] += counters.writes_lost;
      report.faults["write torn"] += counters.writes_torn;
      report.faults["directory change lost"] += counters.directory_changes_lost;
    }
    report.events = world_.queue.ran();
    report.virtual_seconds = world_.queue.now().seconds();
    report.digest = mix64(mix64(report.digest, world_.logs.digest()), world_.random.next());
  }

  // --- faults
  // --------------------------------------------------------------------------------------------------
  SimNode& any() { return world_.random.chance(1, 2) ? east_ : west_; }
  SimNode& live_or_any() {
    SimNode& other = any();
    SimNode* live = operator_.live();
    return live != nullptr ? *live : other;
  }
  Duration pause() { return world_.between(milliseconds(20), seconds(3)); }

  void add_faults() {
    using Action = FaultPlan::Action;
    FaultPlan& plan = *plan_;
    plan.add("power loss", 5, [this]() -> Action {
      SimNode& hit = world_.random.chance(3, 5) ? live_or_any() : any();
      if (!hit.up()) return {};
      return [this, &hit] { hit.stop_and_restart(SimNode::End::power_loss, pause()); };
    });
    plan.add("power loss within a write", 3, [this]() -> Action {
      SimNode& hit = live_or_any();
      if (!hit.up()) return {};
      // In the middle of changing the disk: the next few changes happen, the rest does not.
      return [this, &hit] {
        hit.disk().stop_after(world_.random.below(4));
        world_.queue.after(world_.between(Duration{}, milliseconds(30)),
                           [&hit, life = hit.life(), rest = pause()] {
                             if (hit.up() && hit.life() == life)
                               hit.stop_and_restart(SimNode::End::power_loss, rest);
                           });
      };
    });
    plan.add("process killed", 2, [this]() -> Action {
      SimNode& hit = any();
      if (!hit.up()) return {};
      return [this, &hit] { hit.stop_and_restart(SimNode::End::process_killed, pause()); };
    });
    plan.add("connection broken", 2, [this]() -> Action { return [this] { wire_.break_connection(); }; });
    plan.add("flapping line", 1, [this]() -> Action {
      return [this] { break_again(static_cast<unsigned>(world_.random.between(5, 20))); };
    });
    plan.add("one-way cut", 2, [this]() -> Action {
      return [this] { wire_.cut(world_.random.below(2), world_.between(milliseconds(100), seconds(5))); };
    });
    plan.add("regions parted", 2, [this]() -> Action {
      return [this] { wire_.part(world_.between(milliseconds(500), seconds(8))); };
    });
    plan.add("slow line", 2, [this]() -> Action {
      return [this] {
        wire_.slow(world_.between(milliseconds(20), milliseconds(150)));
        world_.queue.after(seconds(3), [this] { wire_.slow(milliseconds(5)); });
      };
    });
    plan.add("mixed versions", 1, [this]() -> Action {
      SimNode& first = any();
      if (!first.up()) return {};
      // A release whose packets are of the next version: the other region follows, or it is taken back.
      return [this, &first] {
        const bool to = !first.next_release;
        first.next_release = to;
        first.stop_and_restart(SimNode::End::process_killed, milliseconds(200));
        const bool goes_on = world_.random.chance(1, 2);
        SimNode& next = goes_on ? operator_.other(first) : first;
        world_.queue.after(world_.between(milliseconds(500), seconds(3)), [this, &next, goes_on, to] {
          if (!world_.faults_on) return;
          next.next_release = goes_on == to;
          if (next.up()) next.stop_and_restart(SimNode::End::process_killed, milliseconds(200));
        });
      };
    });
    plan.add("wall clock jump", 2, [this]() -> Action {
      SimNode& hit = any();
      return [this, &hit] {
        hit.clock().jump_wall(static_cast<std::int64_t>(world_.random.below(7'200'000)) - 3'600'000);
      };
    });
    plan.add("sync error", 2, [this]() -> Action {
      SimNode& hit = any();
      if (!hit.up()) return {};
      return [this, &hit] { hit.disk().fail_next_sync(world_.random.below(3)); };
    });
    plan.add("read error", 1, [this]() -> Action {
      SimNode& hit = any();
      if (!hit.up()) return {};
      return [this, &hit] {
        hit.reads_fail = true;
        hit.disk().fail_next_read(world_.random.below(3));
      };
    });
    plan.add("read damaged on its way", 1, [this]() -> Action {
      SimNode& hit = any();
      if (!hit.up()) return {};
      return [this, &hit] {
        hit.reads_fail = true;
        hit.disk().damage_next_read(world_.random.below(3));
      };
    });
    plan.add("disk full", 2, [this]() -> Action {
      SimNode& hit = any();
      return [this, &hit] {
        hit.disk().set_capacity(hit.disk().used_bytes() + world_.random.below(1 << 10));
        hit.disk_full = true;
        world_.queue.after(world_.between(seconds(1), seconds(5)), [&hit] {
          hit.disk().set_capacity(UINT64_MAX);
          hit.disk_full = false;
        });
      };
    });
    plan.add("disk stall", 2, [this]() -> Action {
      SimNode& hit = any();
      return [this, &hit] {
        hit.disk_stalls = true;
        world_.queue.after(seconds(2), [&hit] { hit.disk_stalls = false; });
      };
    });
    plan.add("register away", 2, [this]() -> Action {
      return [this] {
        world_.region_register.set_available(false);
        world_.queue.after(world_.between(milliseconds(300), seconds(4)),
                           [this] { world_.region_register.set_available(true); });
      };
    });
    plan.add("register answer unknown", 2, [this]() -> Action {
      return [this] {
        using Unknown = coordination::MemoryRegister::Unknown;
        constexpr std::array<Unknown, 3> kinds{Unknown::applied, Unknown::dropped, Unknown::late};
        world_.region_register.next_outcome_unknown(kinds[world_.random.below(3)]);
        world_.queue.after(seconds(1), [this] { (void)world_.region_register.land_late(); });
      };
    });
    plan.add("register put back", 2, [this]() -> Action {
      // Together with a region that is given up nobody could say which of them led last.
      if (may_force_ || !operator_.put_register_back()) return {};
      return [this] { operator_.repair_register_after(world_.between(milliseconds(500), seconds(4))); };
    });
    plan.add("client disconnected", 2, [this]() -> Action {
      return [this] { receivers_[world_.random.below(receivers_.size())]->disconnect(); };
    });
    plan.add("a switch is asked for", 3,
             [this]() -> Action { return [this] { operator_.planned_switch(); }; });
    plan.add("a region is given up", 1, [this]() -> Action {
      if (!may_force_) return {};
      return [this] { give_up_region(); };
    });
    plan.add("operator error", 1,
             [this]() -> Action { return [this] { operator_.promote_the_wrong_side(); }; });
  }
  void break_again(unsigned times) {
    if (times == 0 || !world_.faults_on) return;
    wire_.break_connection();
    world_.queue.after(world_.between(milliseconds(100), milliseconds(600)),
                       [this, times] { break_again(times - 1); });
  }

  /// The live region is gone (for good, for a while, or only cut off) and the other one is promoted by force.
  void give_up_region() {
    SimNode* live = operator_.live();
    // Once: until a promotion's outcome is known the register may name the other region already, and a group
    // that has given up both has nobody left to lead it.
    if (live == nullptr || given_up_ || operator_.forced() || operator_.busy()) return;
    given_up_ = true;
    const std::uint64_t kind = world_.random.below(3);
    if (kind == 0) {  // cut off, and goes on as a live region that nobody wants
      wire_.part(seconds(6));
      live->disk_stalls = true;
      world_.queue.after(seconds(5), [live] { live->disk_stalls = false; });
    } else {
      live->held_down = true;
      live->stop(SimNode::End::power_loss);
      gone_ = live;
      if (kind == 1) {
        comes_back_ = true;
        world_.queue.after(seconds(5), [this, live] {
          comes_back_ = false;
          live->held_down = false;
          gone_ = nullptr;
          if (!live->up()) live->start();
        });
      }
    }
    promote_the_other();
  }
  /// Tried again until it is done: nobody else brings the group back.
  void promote_the_other() {
    world_.queue.after(milliseconds(700), [this] {
      operator_.forced_promotion();
      if (!operator_.forced()) promote_the_other();
    });
  }

  World world_;
  SimNode east_, west_;
  Operator operator_;
  RegionWire wire_;
  std::vector<std::unique_ptr<Publisher>> publishers_;
  std::vector<std::unique_ptr<Receiver>> receivers_;
  bool may_force_ = false;
  bool waited_ = false;  ///< for what was scheduled
  bool given_up_ = false;
  SimNode* gone_ = nullptr;
  bool comes_back_ = false;  ///< what is gone, after a while
  std::unique_ptr<FaultPlan> plan_;
};

}  // namespace

const std::vector<std::string>& fault_classes() {
  static const std::vector<std::string> all{"power loss",
                                            "power loss within a write",
                                            "process killed",
                                            "connection broken",
                                            "one-way cut",
                                            "regions parted",
                                            "slow line",
                                            "flapping line",
                                            "mixed versions",
                                            "wall clock jump",
                                            "clock drift",
                                            "sync error",
                                            "read error",
                                            "read damaged on its way",
                                            "a switch is asked for",
                                            "a region is given up",
                                            "operator error",
                                            "disk full",
                                            "disk stall",
                                            "register away",
                                            "register answer unknown",
                                            "register put back",
                                            "client disconnected",
                                            "planned switch",
                                            "forced promotion",
                                            "unsynced write lost",
                                            "write torn",
                                            "directory change lost"};
  return all;
}

const std::vector<std::string>& probes() {
  static const std::vector<std::string> all{"became live",
                                            "forced promotion",
                                            "planned switch done",
                                            "planned switch called off",
                                            "former live follows",
                                            "diverged and refused",
                                            "sealed",
                                            "restarted sealed",
                                            "sealed with undurable decisions",
                                            "torn tail cut",
                                            "unacknowledged tail survived",
                                            "checkpoint used",
                                            "a page was loaded back",
                                            "a message was moved",
                                            "a file was given back in steps",
                                            "a search went on in a later call",
                                            "a delivery window was full",
                                            "restored from a checkpoint with pages",
                                            "delivered again after a failover",
                                            "publish repeated after an unknown outcome",
                                            "publish was a duplicate",
                                            "publish confirmed in both regions",
                                            "publish refused: disk full",
                                            "settlement refused",
                                            "a deferred message was received",
                                            "a deferred message was locked",
                                            "a scheduled message was seen",
                                            "lock outlived",
                                            "fail-stop: sync failed",
                                            "a read failed in service",
                                            "a peer of another version was refused",
                                            "an operator's mistake was refused",
                                            "register could not be asked",
                                            "a register that was put back was noticed",
                                            "the former live region was named again and did not lead",
                                            "register written again by a region that leads on",
                                            "register written again by a forced promotion",
                                            "ended with equal logs"};
  return all;
}

std::optional<Canary> canary_named(const std::string& name) {
  for (const auto& [text, canary] : kCanaries) {
    if (name == text) return canary;
  }
  return std::nullopt;
}

std::vector<std::string> canary_names() {
  std::vector<std::string> all;
  for (const auto& [text, canary] : kCanaries) all.emplace_back(text);
  return all;
}

Report simulate(const Options& options) {
  return Simulation(options).run();
}

}  // namespace mainstay::sim
