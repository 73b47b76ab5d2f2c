// What every drill with two regions does: start them, let payments flow through, follow the flow to its end,
// stop everything, audit. What is broken in between is the drill's own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "drills/destination_observer.h"
#include "drills/drill_monitor.h"
#include "drills/drill_series.h"
#include "drills/drill_workspace.h"
#include "drills/feed.h"
#include "drills/progress_line.h"
#include "drills/report.h"
#include "lab/processes.h"

namespace mainstay::drills {

/// One drill, from an empty directory to its report. Not thread-safe.
class TwoRegionDrill {
 public:
  /// @param name  for the report: "region outage". `options` and what `place` refers to outlive this.
  TwoRegionDrill(std::string name, const DrillOptions& options, const DrillPlace& place);
  virtual ~TwoRegionDrill();
  TwoRegionDrill(const TwoRegionDrill&) = delete;
  TwoRegionDrill& operator=(const TwoRegionDrill&) = delete;

  /// Once. Whatever happens there is a report; its `failure` says why the drill did not come to its end.
  DrillReport run();

 protected:
  /// One of the six processes.
  struct Member {
    const RegionPaths* region{};
    std::string role;  ///< "broker", "builder", "processor"
    std::vector<std::string> arguments;
    std::unique_ptr<lab::Process> process;
    std::uint64_t kills = 0;
    bool gone = false;  ///< killed for good: its end is no surprise
    [[nodiscard]] std::string name() const { return region->name + " " + role; }
  };
  enum class Progress : std::uint8_t { any, arrivals_only };

  // A drill's own part. These are called in this order, the last two whatever became of the others.

  /// Before anything starts: what the processes are to live in.
  virtual Result<Workspace, Failure> prepare(const std::string& directory);
  /// Changes how a process is started.
  virtual void equip(const Member& member, lab::Command& command) const;
  /// From the running flow on; returns when nothing is on its way any more.
  virtual Result<void, Failure> break_and_follow() = 0;
  /// After the audit, with every process stopped: what only files tell.
  virtual void measure() {}
  /// One or two sentences for the report: what was done to what.
  [[nodiscard]] virtual std::string summary() const = 0;
  /// What one would type to do the same again.
  [[nodiscard]] virtual std::string repeat_command() const = 0;
  /// What is fed: a generator of `options.messages`, if the drill does not say otherwise.
  [[nodiscard]] virtual Result<std::unique_ptr<Feed>, Failure> open_feed() const;
  [[nodiscard]] Result<std::unique_ptr<Feed>, Failure> open_generator(std::uint64_t messages) const;

  /// (Re)starts a process with its configuration; its log goes on.
  Result<void, Failure> start(Member& member);
  /// Runs `mainstay ARGUMENTS…` to its end.
  Result<lab::Finished, Failure> command(const std::string& name, std::vector<std::string> arguments);
  /// Waits for `condition`, showing progress; fails when nothing moves any more or a process ended by itself.
  Result<void, Failure> follow(const std::string& phase, Progress counts,
                               const std::function<bool()>& condition);
  /// Until the feed has ended and nothing is left at the source and in the active region's queue.
  Result<void, Failure> wait_until_settled(const RegionPaths& active);

  [[nodiscard]] NodeView view(const RegionPaths& region) const;
  [[nodiscard]] double now_s() const { return (clock_.now() - start_).seconds(); }
  [[nodiscard]] double seconds_at(Instant at) const { return (at - start_).seconds(); }
  void mark(double at_s, MarkKind kind, std::string text);
  void step(std::string text) { step_at(now_s(), std::move(text)); }
  void step_at(double at_s, std::string text);
  /// A progress line of its own, with the time.
  void say(const std::string& text);

  const std::uint64_t seed_;
  Clock& clock_;
  DrillReport report_;
  Workspace workspace_;

 private:
  Result<void, Failure> drill();
  Result<void, Failure> start_regions();
  Result<void, Failure> start_flow();
  Result<void, Failure> wait_for_brokers();
  Result<void, Failure> check_processes();
  std::string log_tails() const;
  void stop_everything();
  void judge();

  const DrillOptions& options_;
  const std::string directory_;
  ProgressLine& progress_;
  Instant start_{};
  std::uint64_t left_at_source_ = 0, left_in_queue_ = 0;
  int commands_ = 0;

 protected:
  // In the order in which they must go: processes first, then threads before what they watch.
  std::unique_ptr<Feed> feed_;
  std::unique_ptr<DestinationObserver> observer_;
  std::unique_ptr<PacedFeed> paced_;
  std::unique_ptr<DrillMonitor> monitor_;
  std::vector<Member> members_;
};

}  // namespace mainstay::drills
