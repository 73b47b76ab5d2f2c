#include "drills/two_region_drill.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "drills/audit_command.h"
#include "drills/control_client.h"
#include "drills/figures.h"
#include "drills/generator.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t ready_timeout_s = 30;
constexpr std::int64_t command_timeout_s = 120;
/// Nothing may arrive any more for so long before the audit: a late repetition has to show.
constexpr std::int64_t quiet_ms = 700;

std::uint64_t files_in(const std::string& directory) {
  std::error_code error;
  std::uint64_t count = 0;
  for (fs::directory_iterator at(directory, error); !error && at != fs::directory_iterator();
       at.increment(error))
    if (!at->path().filename().string().starts_with('.')) ++count;
  return count;
}

}  // namespace

TwoRegionDrill::TwoRegionDrill(std::string name, const DrillOptions& options, const DrillPlace& place)
    : seed_(place.seed),
      clock_(place.clock),
      options_(options),
      directory_(place.directory),
      progress_(place.progress) {
  report_.drill = std::move(name);
}

TwoRegionDrill::~TwoRegionDrill() = default;

DrillReport TwoRegionDrill::run() {
  start_ = clock_.now();
  report_.seed = seed_;
  report_.started_wall_ms = clock_.wall().ms;
  report_.command = repeat_command();
  const auto done = drill();
  if (!done) report_.failure = done.error().what;
  stop_everything();
  if (observer_) {
    if (const auto stopped = observer_->stop(); !stopped && report_.failure.empty())
      report_.failure = stopped.error().what;
  }
  if (monitor_) report_.samples = monitor_->stop();
  paced_.reset();
  if (report_.duration_s == 0) report_.duration_s = now_s();
  if (observer_) judge();
  report_.environment = describe_environment(directory_, options_.version);
  report_.summary = summary();
  std::ranges::sort(report_.marks, {}, &Mark::at_s);
  return std::move(report_);
}

Result<void, Failure> TwoRegionDrill::drill() {
  auto workspace = prepare(directory_ + "/work");
  if (!workspace) return workspace.error();
  workspace_ = std::move(*workspace);
  if (auto started = start_regions(); !started) return started.error();
  if (auto started = start_flow(); !started) return started.error();
  return break_and_follow();
}

// Starting

Result<Workspace, Failure> TwoRegionDrill::prepare(const std::string& directory) {
  return make_workspace(directory);
}

void TwoRegionDrill::equip(const Member& /*member*/, lab::Command& /*command*/) const {}

Result<void, Failure> TwoRegionDrill::start_regions() {
  progress_.say("starting two regions: a broker, a queue builder and a processor each");
  for (const RegionPaths* region : {&workspace_.east, &workspace_.west})
    members_.push_back({.region = region,
                        .role = "broker",
                        .arguments = {"serve", "--config", region->broker_config()},
                        .process = nullptr});
  for (const RegionPaths* region : {&workspace_.east, &workspace_.west}) {
    members_.push_back({.region = region,
                        .role = "builder",
                        .arguments = {"pipeline", "builder", "--config", region->builder_config()},
                        .process = nullptr});
    members_.push_back({.region = region,
                        .role = "processor",
                        .arguments = {"pipeline", "processor", "--config", region->processor_config()},
                        .process = nullptr});
  }
  bool brokers_ready = false;
  for (Member& member : members_) {
    if (member.role != "broker" && !brokers_ready) {
      if (auto ready = wait_for_brokers(); !ready) return ready.error();
      brokers_ready = true;
    }
    if (auto started = start(member); !started) return started.error();
  }
  step("both regions are up, east is active, west follows its log");
  return {};
}

Result<void, Failure> TwoRegionDrill::start(Member& member) {
  std::vector<std::string> arguments = member.arguments;
  arguments.insert(arguments.begin(), options_.program);
  lab::Command command{
      .name = member.name(), .arguments = std::move(arguments), .log = member.region->log(member.role)};
  equip(member, command);
  auto process = lab::Process::start(command);
  if (!process) return process.error();
  member.process = std::move(*process);
  return {};
}

Result<void, Failure> TwoRegionDrill::wait_for_brokers() {
  const auto why_not_ready = [&]() -> std::optional<std::string> {
    const auto ready = http_request("GET", workspace_.east.control(), "/readyz", "", "", milliseconds(500));
    if (!ready) return ready.error().what;
    if (ready->status != 200) return "east is not ready: " + ready->body;
    const auto alive = http_request("GET", workspace_.west.control(), "/livez", "", "", milliseconds(500));
    if (!alive || alive->status != 200) return std::string("west does not answer");
    if (!view(workspace_.east).connected) return std::string("west is not connected to east");
    return std::nullopt;
  };
  const Instant until = clock_.now() + seconds(ready_timeout_s);
  for (;;) {
    const std::optional<std::string> why_not = why_not_ready();
    if (!why_not) return {};
    if (auto alive = check_processes(); !alive) return alive.error();
    if (clock_.now() >= until)
      return Failure{fmt::format("the brokers were not ready within {} s: {}", ready_timeout_s, *why_not)};
    ::poll(nullptr, 0, 20);
  }
}

Result<std::unique_ptr<Feed>, Failure> TwoRegionDrill::open_feed() const {
  return open_generator(options_.messages);
}

Result<std::unique_ptr<Feed>, Failure> TwoRegionDrill::open_generator(std::uint64_t messages) const {
  GeneratorOptions generator;
  generator.messages = messages;
  generator.seed = seed_;
  generator.inbox = workspace_.inbox();
  generator.record = workspace_.generated();
  auto opened = Generator::open(generator);
  if (!opened) return opened.error();
  return std::unique_ptr<Feed>(std::move(*opened));
}

Result<void, Failure> TwoRegionDrill::start_flow() {
  auto observer = DestinationObserver::open(workspace_.destination(), workspace_.arrivals(), clock_);
  if (!observer) return observer.error();
  observer_ = std::move(*observer);
  auto feed = open_feed();
  if (!feed) return feed.error();
  feed_ = std::move(*feed);
  step(fmt::format("the source begins, at {} messages per second",
                   grouped(static_cast<std::uint64_t>(options_.rate_per_s))));
  paced_ = std::make_unique<PacedFeed>(*feed_, options_.rate_per_s, clock_);
  monitor_ = std::make_unique<DrillMonitor>(*paced_, *observer_,
                                            std::vector{workspace_.east.control(), workspace_.west.control()},
                                            workspace_.control_token, clock_, start_);
  return {};
}

// Following

Result<lab::Finished, Failure> TwoRegionDrill::command(const std::string& name,
                                                       std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), options_.program);
  return lab::run_to_end({.name = "mainstay " + name,
                          .arguments = std::move(arguments),
                          .log = fmt::format("{}/command-{}.log", workspace_.directory, ++commands_)},
                         seconds(command_timeout_s));
}

Result<void, Failure> TwoRegionDrill::wait_until_settled(const RegionPaths& active) {
  std::uint64_t expected = 0, arrived = 0;
  Instant last_arrival = clock_.now(), next_look{};
  bool drained = false;
  return follow(fmt::format("region {} active", active.name), Progress::any, [&] {
    const Instant now = clock_.now();
    if (observer_->count() != arrived) {
      arrived = observer_->count();
      last_arrival = now;
    }
    if (!paced_->ended()) return false;
    if (expected == 0) expected = unique_keys(feed_->entries());
    if (now >= next_look) {
      next_look = now + milliseconds(200);
      const NodeView live = view(active);
      left_at_source_ = files_in(workspace_.inbox()) + files_in(workspace_.claimed());
      left_in_queue_ = live.queue_active + live.queue_locked;
      drained = live.answered && left_at_source_ == 0 && left_in_queue_ == 0;
    }
    return drained && now - last_arrival > milliseconds(arrived >= expected ? quiet_ms : 5 * quiet_ms);
  });
}

Result<void, Failure> TwoRegionDrill::follow(const std::string& phase, Progress counts,
                                             const std::function<bool()>& condition) {
  std::uint64_t seen = 0;
  Instant moved = clock_.now();
  while (!condition()) {
    if (auto alive = check_processes(); !alive) return alive.error();
    if (paced_->ended() && !paced_->failure().empty()) return Failure{paced_->failure()};
    const std::uint64_t entered = paced_->entered(), delivered = observer_->count();
    const std::uint64_t now_seen = counts == Progress::arrivals_only
                                       ? delivered
                                       : entered + delivered + left_at_source_ + left_in_queue_;
    if (now_seen != seen) {
      seen = now_seen;
      moved = clock_.now();
    }
    if ((clock_.now() - moved).seconds() > static_cast<double>(options_.stuck_after_s))
      return Failure{fmt::format(
          "stuck: nothing has moved for {} s with {} messages in, {} arrived, {} files left at the source, "
          "{} messages in the queue ({}).\n{}",
          options_.stuck_after_s, grouped(entered), grouped(delivered), left_at_source_, left_in_queue_,
          phase, log_tails())};
    const Sample sample = monitor_->last();
    // An open-ended feed has no total worth showing.
    const std::string of = counts == Progress::arrivals_only ? "" : " of " + grouped(paced_->total());
    progress_.show(fmt::format("{:7.1f} s  in {:>7}{}   arrived {:>7}   lag {:>5} records   {}", now_s(),
                               grouped(entered), of, grouped(delivered),
                               sample.lag_records ? grouped(*sample.lag_records) : "?", phase));
    ::poll(nullptr, 0, 2);
  }
  return {};
}

Result<void, Failure> TwoRegionDrill::check_processes() {
  for (const Member& member : members_) {
    if (member.gone || !member.process) continue;
    if (const auto end = member.process->end())
      return Failure{fmt::format("the {} ended by itself ({}):\n{}", member.name(), end->text(),
                                 member.process->log_tail())};
  }
  return {};
}

std::string TwoRegionDrill::log_tails() const {
  std::string out;
  for (const Member& member : members_)
    if (!member.gone && member.process)
      out += "last lines of the " + member.name() + ":\n" + member.process->log_tail(5);
  return out;
}

NodeView TwoRegionDrill::view(const RegionPaths& region) const {
  return view_node(region.control(), workspace_.control_token);
}

void TwoRegionDrill::mark(double at_s, MarkKind kind, std::string text) {
  report_.marks.push_back({at_s, kind, std::move(text)});
}

void TwoRegionDrill::step_at(double at_s, std::string text) {
  report_.steps.push_back({at_s, std::move(text)});
}

void TwoRegionDrill::say(const std::string& text) {
  progress_.say(fmt::format("{:7.1f} s  {}", now_s(), text));
}

// The end

void TwoRegionDrill::stop_everything() {
  report_.duration_s = now_s();
  for (const RegionPaths* region : {&workspace_.west, &workspace_.east}) {
    std::vector<lab::Process*> processes;
    // Pipelines before brokers: they were started after them.
    for (auto member = members_.rbegin(); member != members_.rend(); ++member)
      if (member->region == region && member->process) processes.push_back(member->process.get());
    for (lab::Process* process : processes) process->signal(SIGTERM);
    for (lab::Process* process : processes) {
      static_cast<void>(process->wait(seconds(10)));
      process->signal(SIGKILL);
    }
  }
}

void TwoRegionDrill::judge() {
  say("auditing");
  const AuditOptions audit_options{.ingest = workspace_.generated(),
                                   .ledger = workspace_.ledger(),
                                   .destination = workspace_.destination(),
                                   .arrivals = workspace_.arrivals(),
                                   .parked = {workspace_.parked(), workspace_.parked_at_source()},
                                   .quarantine = workspace_.quarantine(),
                                   .json = false};
  const auto sources = gather(audit_options);
  if (!sources) {
    if (report_.failure.empty()) report_.failure = sources.error().what;
    return;
  }
  report_.audit = audit(*sources);
  measure();
}

}  // namespace mainstay::drills
