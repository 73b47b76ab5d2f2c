// What everything in one simulation shares. Declared first, destroyed last.
#pragma once

#include <algorithm>
#include <memory>
#include <optional>
#include <string>

#include "base/random.h"
#include "broker/types.h"
#include "coordination/memory_store.h"
#include "sim/event_queue.h"
#include "sim/fault_choice.h"
#include "sim/leadership_checker.h"
#include "sim/log_checker.h"
#include "sim/publish_checker.h"
#include "sim/report.h"
#include "sim/session_order_checker.h"
#include "sim/settlement_checker.h"

namespace mainstay::sim {

/// A deliberate fault that the checkers must notice; each breaks one rule the product rests on.
enum class Canary : std::uint8_t {
  none,
  ack_before_sync,          ///< the live node's syncs do nothing
  standby_ack_before_sync,  ///< the standby's syncs do nothing
  show_before_commit,       ///< answers and deliveries do not wait for their record
  resume_term,              ///< a restarted leader leads on in its old term
  switch_without_seal,      ///< a planned switch does not wait for the standby
  confirm_without_standby,  ///< confirms of durability global leave when the record is committed here
  trust_older_register,     ///< a register that was put back is believed
};

struct Options {
  std::uint64_t seed = 1;
  std::uint64_t operations = 60;  ///< messages to publish
  Canary canary = Canary::none;
  bool trace = false;  ///< tell on standard error what happens
  FaultChoice faults{};
};

struct World {
  explicit World(const Options& with)
      : options(with),
        random(with.seed),
        publishes(report),
        settlements(report, publishes),
        order(report),
        logs(report, publishes),
        leadership(report) {
    report.seed = with.seed;
  }
  Duration between(Duration low, Duration high) {
    return {static_cast<std::int64_t>(
        random.between(static_cast<std::uint64_t>(low.ns), static_cast<std::uint64_t>(high.ns)))};
  }
  void trace(const std::string& what) const;
  /// Counts a fault.
  void fault(const std::string& name) {
    ++report.faults[name];
    trace("fault: " + name);
  }
  void reached(const std::string& name) { ++report.reached[name]; }
  void digest(std::uint64_t value) { report.digest = mix(report.digest, value); }

  Options options;
  Report report;
  EventQueue queue;
  SeededRandom random;
  coordination::MemoryRegister region_register;
  PublishChecker publishes;
  SettlementChecker settlements;
  SessionOrderChecker order;
  LogChecker logs;
  LeadershipChecker leadership;
  bool faults_on = true;
  /// What some publishers ask for: their messages at another node, too, before they are confirmed.
  broker::Durability far = broker::Durability::global;
  std::uint64_t next_id = 0;  ///< of consumers, tags and connections

 private:
  static std::uint64_t mix(std::uint64_t a, std::uint64_t b);
};

}  // namespace mainstay::sim
