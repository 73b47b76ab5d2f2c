// The drill of one scenario of pair_drill.h, in parts: its course (pair_drill.cpp), what it breaks
// (pair_faults.cpp), what must be so afterwards (pair_judgement.cpp). Which scenario is which of them:
// pair_scenarios.cpp. Private to these.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/random.h"
#include "drills/pair_clients.h"
#include "drills/pair_drill.h"
#include "drills/pair_group.h"
#include "drills/pair_history.h"

namespace mainstay::drills {

class PairDrill;
using PairFault = Result<void, Failure> (PairDrill::*)();
using PairCuts = std::vector<std::pair<std::string_view, std::string_view>>;

/// What a scenario does and what must be so.
struct PairCourse {
  PairFault fault;
  int leaderships_max = 0;  ///< in all of it, the first one included; 0 = any
  int leaderships_min = 1;
  double gap_max_s = 0;  ///< the longest time without a confirm; 0 = any
  unsigned copies_min = 1;
  PairGroupOptions::Store store = PairGroupOptions::Store::own;
  bool faulty_disks = false;
  PairCuts cuts = {};  ///< between "leader", "backup", "voters", "clients"
  bool cuts_may_meet_nothing = false;
  /// Takeovers, and times that the backup was dropped or taken in again, where these are counted; nothing: as
  /// many as a bad link may cause.
  std::optional<std::uint64_t> epochs_max = {};
};
/// @pre `scenario` is a name of pair_scenarios()
const PairCourse& pair_course(std::string_view scenario);

/// One drill, run once. One thread; the clients have their own.
class PairDrill {
 public:
  PairDrill(const PartitionOptions& options, const PartitionScenario& scenario, const DrillPlace& place);
  ~PairDrill();
  PairDrill(const PairDrill&) = delete;
  PairDrill& operator=(const PairDrill&) = delete;

  /// To the end of it, whatever comes: a drill that failed says so in its report.
  DrillReport run();

  // pair_faults.cpp: each breaks something for a while and mends it. A failure: the drill cannot go on.
  Result<void, Failure> leader_killed();
  Result<void, Failure> backup_killed();
  Result<void, Failure> backup_killed_two_copies();
  Result<void, Failure> zone_outage();
  Result<void, Failure> voters_in_turn();
  Result<void, Failure> two_voters_killed();
  Result<void, Failure> all_voters_killed();
  Result<void, Failure> leader_killed_without_voters();
  Result<void, Failure> cut();
  Result<void, Failure> loss_and_jitter();
  Result<void, Failure> loss_between_nodes();
  Result<void, Failure> delay_5ms();
  Result<void, Failure> delay_100ms();
  Result<void, Failure> zombie();
  Result<void, Failure> short_sleeps();
  Result<void, Failure> disk_stall();
  Result<void, Failure> backup_disk_stall();
  Result<void, Failure> both_disks_stall();
  std::uint64_t epochs_since(std::uint64_t before);
  Result<void, Failure> stall_disk(const std::string& whose, const std::string& node);
  Result<void, Failure> disk_full();
  Result<void, Failure> power_loss();
  Result<void, Failure> power_loss_both();
  Result<void, Failure> register_restored();

 private:
  // pair_faults.cpp
  Result<void, Failure> disturb(const lab::LinkRules& rules, const std::string& text,
                                const std::vector<std::string>& between = {"leader", "backup", "voters",
                                                                           "clients"});
  Result<void, Failure> lose_power_often(bool both);

  // pair_drill.cpp
  Result<void, Failure> drill();
  void start_clients();
  Result<void, Failure> drain();
  [[nodiscard]] bool one_store() const { return course_.store != PairGroupOptions::Store::own; }
  [[nodiscard]] std::vector<std::string> hosts(std::string_view role) const;
  Result<void, Failure> voters_back();
  Result<void, Failure> kill(const std::string& node);
  Result<void, Failure> wait_for_leader_but(const std::string& node);
  Result<void, Failure> wait_until_whole();
  void begins(std::string text);
  Result<void, Failure> hold(std::int64_t for_s) { return hold_ms(for_s * 1000); }
  Result<void, Failure> hold_ms(std::int64_t for_ms);
  Result<void, Failure> wait(const std::string& phase, Duration most, const std::function<bool()>& condition);
  static void sleep_ms(std::int64_t ms);
  [[nodiscard]] double now_s() const { return (clock_.now() - start_).seconds(); }
  void mark(MarkKind kind, std::string text) { report_.marks.push_back({now_s(), kind, std::move(text)}); }
  void step(std::string text) { report_.steps.push_back({now_s(), std::move(text)}); }
  /// A fault that met nothing proves nothing.
  void reached(const std::string& what, std::uint64_t count);

  // pair_judgement.cpp
  /// What the nodes said of themselves, once more from their disks. A drill that was not mended has nothing
  /// to compare, nor have nodes that share one directory.
  void compare();
  /// Whatever became of the drill: what can be judged is.
  void end();
  void measure(const std::vector<PairClientHistory>& histories, const std::vector<Service>& services);
  void keep_evidence(const std::vector<PairClientHistory>& histories,
                     const std::vector<Service>& services) const;

  const PartitionOptions& options_;
  const PartitionScenario& scenario_;
  const PairCourse& course_;
  const DrillPlace& place_;
  Clock& clock_;
  SeededRandom random_;
  DrillReport report_;
  Instant start_{}, next_sample_{};
  std::int64_t begun_us_ = 0;
  std::string lead_, backup_;
  lab::TakenBack lost_;
  int power_lost_ = 0;
  std::optional<std::uint64_t> epochs_disturbed_;  ///< how many began during a fault that should begin few
  std::unique_ptr<PairGroup> group_;
  std::unique_ptr<PairShared> shared_;
  std::vector<std::unique_ptr<PairClient>> clients_;
};

}  // namespace mainstay::drills
