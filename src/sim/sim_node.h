// One region's node: the production replica on a virtual disk and clock, driven as the real node drives it.
// Here are the faults of a process and its disk.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/memory_disk.h"
#include "base/wire.h"
#include "replica/recover.h"
#include "replica/replica.h"
#include "sim/broker_host.h"
#include "sim/lying_disk.h"
#include "sim/world.h"

namespace mainstay::sim {

class SimNode final : public BrokerHost {
 public:
  SimNode(World& world, std::string region, std::string other_region);
  ~SimNode() override;

  [[nodiscard]] const std::string& region() const { return name_; }
  [[nodiscard]] std::uint64_t life() const override { return life_; }
  [[nodiscard]] MemoryDisk& disk() { return disk_; }
  [[nodiscard]] DriftingClock& clock() { return clock_; }
  [[nodiscard]] bool serving() const override;

  void start();
  enum class End : std::uint8_t { power_loss, process_killed };
  void stop(End how);
  void stop_and_restart(End how, Duration pause);
  /// No restart until released.
  bool held_down = false;
  bool disk_stalls = false;
  bool reads_fail = false;    ///< some did: what a client is to get may be missing
  bool next_release = false;  ///< the program of the next release: its packets are of the next version
  bool disk_full = false;

  // What the world around it does. Each is followed by step().
  void connected(replica::PeerId peer, bool outgoing);
  void packet(replica::PeerId from, BytesView bytes);
  void disconnected(replica::PeerId peer);
  Wire* wire = nullptr;  ///< the line to the other region; not owned
  std::function<void(journal::LogPosition)> switch_ready;
  void seal(RegionTerm term);
  void begin_switch();
  void abort_switch();

 private:
  void try_start();
  void step() override;
  void act(replica::Output& output);
  void write();
  void sync();
  void fail(const std::string& why);
  void page_lost(const std::string& why) override;
  bool record_lost(Lsn lsn) override;
  void tick();
  void poll_register();
  void lead(const coordination::RegionRecord& record);
  void maintain();
  void later(Duration delay, std::function<void()> event) override;
  [[nodiscard]] Instant now() override { return clock_.now(); }
  [[nodiscard]] WallTime wall() override { return clock_.wall(); }
  void shown(Lsn after) override { world_.logs.shown(name_, after); }
  void shown_far(Lsn after) override { world_.logs.shown_globally(name_, after); }

  std::string other_region_;
  MemoryDisk disk_;
  LyingDisk lying_;
  DriftingClock clock_;
  SeededRandom random_;
  broker::StateLimits limits_;  ///< of every life; for half of the nodes a few pages
  bool cleans_;                 ///< half of the nodes; moves what is older than a few records
  bool short_searches_;         ///< half of the nodes: the leader remembers and looks at next to nothing
  std::uint64_t life_ = 0;
  bool stepping_ = false;
  bool writing_ = false;
  replica::Replica::PendingWrite pending_;
  bool forced_ = false;                                     ///< the promotion under way is by force
  RegionTerm led_before_{};                                 ///< canary resume_term
  std::optional<replica::Replica::Checkpoint> checkpoint_;  ///< sealed, not stored yet
  std::uint64_t loads_seen_ = 0;
};

}  // namespace mainstay::sim
