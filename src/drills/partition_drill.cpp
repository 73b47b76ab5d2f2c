#include "drills/partition_drill.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <optional>

#include "base/random.h"
#include "drills/figures.h"
#include "drills/kill_loop.h"
#include "drills/pair_drill.h"
#include "drills/tsv.h"
#include "drills/two_region_drill.h"
#include "lab/faulty_disk.h"
#include "lab/network.h"

namespace mainstay::drills {
namespace {

constexpr std::int64_t restart_timeout_s = 10, promotion_timeout_s = 30, twins_timeout_s = 20;
constexpr int power_losses = 3;

const char* const east_broker = "east-broker";
const char* const west_broker = "west-broker";
const char* const east_pipeline = "east-pipeline";
const char* const west_pipeline = "west-pipeline";
Result<void, Failure> append_to(const std::string& path, const std::string& more) {
  const auto text = read_text_file(path);
  if (!text) return text.error();
  return write_text_file(path, *text + more);
}

const char* const seat = "operator";  ///< where the drill itself sits: it sees all, and is never cut off

class PartitionDrill final : public TwoRegionDrill {
 public:
  PartitionDrill(const PartitionOptions& options, const PartitionScenario& scenario, const DrillPlace& place)
      : TwoRegionDrill("partition: " + std::string(scenario.name), options, place),
        options_(options),
        scenario_(scenario),
        random_(place.seed ^ 0x70617274ULL) {  // apart from the generator's draws
    report_.region_lost = false;
  }
  ~PartitionDrill() override {
    // Hung on a disk that stalls, a process could not end.
    for (const auto& [region, disk] : disks_) disk->repair();
    members_.clear();
  }

 private:
  // Where everything lives

  Result<Workspace, Failure> prepare(const std::string& directory) override {
    auto network =
        lab::Network::create({east_broker, west_broker, east_pipeline, west_pipeline, seat}, seed_);
    if (!network) return network.error();
    network_ = std::move(*network);
    visit_.emplace(*network_, seat);  // this thread, and all that it starts from now on
    auto workspace =
        make_workspace(directory, network_->address_of(east_broker), network_->address_of(west_broker));
    if (!workspace) return workspace;
    // Small, so that a full disk is met within seconds.
    for (const RegionPaths* region : {&workspace->east, &workspace->west})
      if (auto written = append_to(region->broker_config(), "\n[journal]\nsegment_bytes = \"1MiB\"\n");
          !written)
        return written.error();
    for (const RegionPaths* region : {&workspace->east, &workspace->west}) {
      auto disk = lab::FaultyDisk::create(region->journal(), region->directory + "/disk-notes",
                                          lab::FaultyDisk::layer_beside_this_program());
      if (!disk) return disk.error();
      disks_[region->name] = std::move(*disk);
    }
    return workspace;
  }

  void equip(const Member& member, lab::Command& command) const override {
    const bool broker = member.role == "broker";
    command.network_namespace =
        network_->namespace_of(member.region->name + (broker ? "-broker" : "-pipeline"));
    if (broker && uses_disks()) command.environment = disks_.at(member.region->name)->environment();
  }

  /// The layer costs something: only where its faults are wanted.
  [[nodiscard]] bool uses_disks() const {
    return scenario_.name.find("disk") != std::string_view::npos ||
           scenario_.name.find("power") != std::string_view::npos ||
           scenario_.name.find("sync") != std::string_view::npos;
  }

  // The course of the drill

  Result<void, Failure> break_and_follow() override {
    const std::uint64_t begin = feed_->total() / 5;
    if (auto flowing = follow("before the fault", Progress::any,
                              [&] { return paced_->entered() >= begin && observer_->count() > 0; });
        !flowing)
      return flowing.error();
    const auto fault = faults().find(scenario_.name);
    if (auto done = (this->*fault->second)(); !done) return done.error();
    healed_ = clock_.now();
    step(fmt::format("repaired; {} messages had entered, {} had arrived", grouped(paced_->entered()),
                     grouped(observer_->count())));
    const RegionPaths& active = promoted_ ? workspace_.west : workspace_.east;
    if (auto settled = wait_until_settled(active); !settled) return settled.error();
    return promoted_ ? expect_one_leader() : expect_twins();
  }

  using Fault = Result<void, Failure> (PartitionDrill::*)();
  static const std::map<std::string_view, Fault>& faults() {
    static const std::map<std::string_view, Fault> all{
        {"standby-deaf", &PartitionDrill::standby_deaf},
        {"standby-unheard", &PartitionDrill::standby_unheard},
        {"standby-isolated", &PartitionDrill::standby_isolated},
        {"client-deaf", &PartitionDrill::client_deaf},
        {"client-unheard", &PartitionDrill::client_unheard},
        {"live-isolated", &PartitionDrill::live_isolated},
        {"delay-5ms", &PartitionDrill::delay_5ms},
        {"delay-100ms", &PartitionDrill::delay_100ms},
        {"loss-and-jitter", &PartitionDrill::loss_and_jitter},
        {"frozen-live", &PartitionDrill::frozen_live},
        {"zombie", &PartitionDrill::zombie},
        {"disk-stall", &PartitionDrill::disk_stall},
        {"disk-full", &PartitionDrill::disk_full},
        {"sync-fails", &PartitionDrill::sync_fails},
        {"power-loss", &PartitionDrill::power_loss},
        {"power-loss-standby", &PartitionDrill::power_loss_standby},
        {"lying-disk", &PartitionDrill::lying_disk}};
    return all;
  }

  Result<void, Failure> last(std::string text) {
    begun_ = clock_.now();
    mark(now_s(), MarkKind::other, std::string(scenario_.name));
    say(text);
    step(std::move(text));
    return follow(std::string(scenario_.name), Progress::any,
                  [&] { return clock_.now() - begun_ >= seconds(options_.fault_s); });
  }

  // Networks

  /// Cuts links, waits, heals. A cut that met no packet was none.
  Result<void, Failure> cut(const std::vector<std::pair<std::string, std::string>>& links) {
    std::string text = "cut:";
    for (const auto& [from, to] : links) {
      network_->cut(from, to);
      text += " " + from + " to " + to + ",";
    }
    text.back() = ';';
    if (auto lasted = last(fmt::format("{} for {} s", text, options_.fault_s)); !lasted) return lasted;
    std::uint64_t met = 0;
    for (const auto& [from, to] : links) met += network_->counts(from, to).cut;
    reached("packets cut off", met);
    network_->heal_all();
    return {};
  }
  Result<void, Failure> standby_deaf() { return cut({{east_broker, west_broker}}); }
  Result<void, Failure> standby_unheard() { return cut({{west_broker, east_broker}}); }
  Result<void, Failure> standby_isolated() {
    return cut({{east_broker, west_broker}, {west_broker, east_broker}});
  }
  Result<void, Failure> client_deaf() { return cut({{east_broker, east_pipeline}}); }
  Result<void, Failure> client_unheard() { return cut({{east_pipeline, east_broker}}); }
  Result<void, Failure> live_isolated() {
    return cut({{east_broker, west_broker},
                {west_broker, east_broker},
                {east_broker, east_pipeline},
                {east_pipeline, east_broker}});
  }

  Result<void, Failure> disturb(const lab::LinkRules& rules, const std::string& text) {
    const std::vector<std::string> hosts{east_broker, west_broker, east_pipeline, west_pipeline};
    const auto all = [&](const lab::LinkRules& given) {
      for (const std::string& from : hosts)
        for (const std::string& to : hosts)
          if (from != to) network_->set(from, to, given);
    };
    const auto carried = [&] {
      std::uint64_t sum = 0;
      for (const std::string& from : hosts)
        for (const std::string& to : hosts)
          if (from != to) sum += network_->counts(from, to).carried;
      return sum;
    };
    const std::uint64_t before = carried();
    all(rules);
    if (auto lasted = last(fmt::format("every link: {}; for {} s", text, options_.fault_s)); !lasted)
      return lasted;
    reached("packets carried meanwhile", carried() - before);
    if (rules.loss > 0) {
      std::uint64_t lost = 0;
      for (const std::string& from : hosts)
        for (const std::string& to : hosts)
          if (from != to) lost += network_->counts(from, to).lost;
      reached("packets lost", lost);
    }
    all({});
    return {};
  }
  Result<void, Failure> delay_5ms() { return disturb({.delay = milliseconds(5)}, "5 ms delay"); }
  Result<void, Failure> delay_100ms() { return disturb({.delay = milliseconds(100)}, "100 ms delay"); }
  Result<void, Failure> loss_and_jitter() {
    return disturb({.loss = 0.3, .jitter = milliseconds(200)}, "30 % of packets lost, up to 200 ms jitter");
  }

  // Processes

  Member& broker_of(const RegionPaths& region) {
    return *std::ranges::find_if(members_, [&](const Member& member) {
      return member.region->name == region.name && member.role == "broker";
    });
  }

  Result<void, Failure> frozen_live() {
    lab::Process& live = *broker_of(workspace_.east).process;
    live.signal(SIGSTOP);
    if (auto lasted = last(fmt::format("SIGSTOP to the live broker for {} s", options_.fault_s)); !lasted)
      return lasted;
    live.signal(SIGCONT);
    return {};
  }

  /// The live broker sleeps, its region is given up and the other promoted; then it wakes up.
  Result<void, Failure> zombie() {
    lab::Process& sleeper = *broker_of(workspace_.east).process;
    sleeper.signal(SIGSTOP);
    if (auto lasted = last("SIGSTOP to the live broker; west is promoted while it sleeps"); !lasted)
      return lasted;
    const Instant until = clock_.now() + seconds(promotion_timeout_s);
    for (;;) {
      const auto finished = command(
          "region promote", {"region", "promote", "--force", "--config", workspace_.west.broker_config(),
                             "--reason", "drill: region east does not answer", "--by", "drill"});
      if (!finished) return finished.error();
      if (finished->end.ok()) break;
      if (clock_.now() >= until)
        return Failure{"mainstay region promote --force: " + finished->end.text() + ": " + finished->output};
      ::poll(nullptr, 0, 50);
    }
    promoted_ = true;
    mark(now_s(), MarkKind::promotion, "west promoted");
    const auto replayed = command(
        "archive replay", {"archive", "replay", "--missing", "--config", workspace_.west.builder_config()});
    if (!replayed) return replayed.error();
    if (!replayed->end.ok())
      return Failure{"mainstay archive replay --missing: " + replayed->end.text() + ": " + replayed->output};
    step("west promoted and the archive replayed while the old live broker slept; now it wakes up");
    sleeper.signal(SIGCONT);
    return {};
  }

  // Disks

  [[nodiscard]] lab::FaultyDisk& east_disk() { return *disks_.at(workspace_.east.name); }

  Result<void, Failure> disk_stall() {
    east_disk().stall_syncs(true);
    if (auto lasted =
            last(fmt::format("the live broker's disk stalls: no sync returns for {} s", options_.fault_s));
        !lasted)
      return lasted;
    reached("threads that waited", east_disk().counts().stalled);
    east_disk().repair();
    return {};
  }

  Result<void, Failure> disk_full() {
    east_disk().fill(true);
    if (auto lasted = last(fmt::format("the live broker's disk is full for {} s", options_.fault_s)); !lasted)
      return lasted;
    reached("writes that met the full disk", east_disk().counts().refused_writes);
    east_disk().repair();
    return {};
  }

  /// A broker whose disk fails a sync has to end by itself; what it had not synced is gone.
  Result<void, Failure> sync_fails() {
    Member& broker = broker_of(workspace_.east);
    broker.gone = true;  // its end is no surprise
    begun_ = clock_.now();
    step("the next sync of the live broker fails with EIO");
    say("the next sync of the live broker FAILS");
    east_disk().fail_syncs(1);
    std::optional<lab::ProcessEnd> end;
    if (auto ended = follow("sync fails", Progress::any,
                            [&] {
                              end = broker.process->end();
                              return end.has_value() || clock_.now() - begun_ > seconds(restart_timeout_s);
                            });
        !ended)
      return ended.error();
    reached("failed syncs", east_disk().counts().failed_syncs);
    if (!end) {
      report_.broken.push_back("a broker whose sync had failed went on");
      return lose_power(broker);
    }
    step("the broker ended by itself: " + end->text());
    return take_back_and_start(broker);
  }

  Result<void, Failure> power_loss() { return lose_power_often(broker_of(workspace_.east)); }
  Result<void, Failure> power_loss_standby() { return lose_power_often(broker_of(workspace_.west)); }
  Result<void, Failure> lying_disk() {
    disks_.at(workspace_.east.name)->lie(true);
    return lose_power_often(broker_of(workspace_.east));
  }

  Result<void, Failure> lose_power_often(Member& broker) {
    begun_ = clock_.now();
    for (int i = 0; i < power_losses; ++i) {
      const Instant until =
          clock_.now() + milliseconds(static_cast<std::int64_t>(random_.between(300, 1'000)));
      if (auto on = follow(std::string(scenario_.name), Progress::any, [&] { return clock_.now() >= until; });
          !on)
        return on.error();
      if (auto lost = lose_power(broker); !lost) return lost.error();
    }
    return {};
  }

  Result<void, Failure> lose_power(Member& broker) {
    broker.process->signal(SIGKILL);
    mark(now_s(), MarkKind::process_kill, broker.name());
    if (!broker.process->wait(seconds(restart_timeout_s)))
      return Failure{
          fmt::format("the {} is still there {} s after SIGKILL", broker.name(), restart_timeout_s)};
    ++broker.kills;
    return take_back_and_start(broker);
  }

  Result<void, Failure> take_back_and_start(Member& broker) {
    const lab::Loss loss{.everything = random_.chance(1, 3),
                         .block_bytes = random_.chance(1, 2) ? 512U : 4096U,
                         .seed = random_.next()};
    const auto lost = disks_.at(broker.region->name)->take_back(loss);
    if (!lost) return lost.error();
    lost_.bytes += lost->bytes;
    lost_.bytes_lost += lost->bytes_lost;
    lost_.names_lost += lost->names_lost;
    ++power_lost_;
    step(fmt::format("the {} lost its power: {} of {} KiB and {} of {} names that were not synced are gone",
                     broker.name(), grouped(lost->bytes_lost >> 10), grouped(lost->bytes >> 10),
                     lost->names_lost, lost->names));
    say("POWER LOST: " + broker.name());
    broker.gone = false;
    return start(broker);
  }

  // What is to be so afterwards

  /// A fault that met nothing proves nothing.
  void reached(const std::string& what, std::uint64_t count) {
    report_.figures.push_back({what, grouped(count), "by the fault", {}});
    if (count == 0) report_.broken.push_back("the fault had no effect: no " + what);
  }

  /// With the flow at its end, the standby becomes the live region's twin.
  Result<void, Failure> expect_twins() {
    using Verdict = TwinComparison::Verdict;
    const Instant from = clock_.now(), until = from + seconds(twins_timeout_s);
    for (;;) {
      const NodeView live = view(workspace_.east), standby = view(workspace_.west);
      const TwinComparison twins = compare_twins(live, standby);
      const bool same = twins.log == Verdict::same && twins.state == Verdict::same;
      if (same && live.role == "live" && standby.role != "live") {
        report_.figures.push_back({"standby", "the live's twin",
                                   fmt::format("hash {} at LSN {}", live.log_hash, live.durable_lsn),
                                   ResultRow::Tone::good});
        return {};
      }
      if (clock_.now() >= until || twins.log == Verdict::different || twins.state == Verdict::different) {
        report_.broken.push_back(fmt::format(
            "the standby is not the live's twin: east '{}' at LSN {} hash {}, west '{}' at LSN {} hash {}",
            live.role, live.durable_lsn, live.log_hash, standby.role, standby.durable_lsn, standby.log_hash));
        return {};
      }
      ::poll(nullptr, 0, 20);
    }
  }

  /// After a promotion: the one that slept does not lead, and the other does.
  Result<void, Failure> expect_one_leader() {
    const NodeView sleeper = view(workspace_.east), leader = view(workspace_.west);
    report_.figures.push_back(
        {"the zombie's role", sleeper.role, fmt::format("west is '{}'", leader.role), {}});
    if (!sleeper.answered || sleeper.role == "live" || sleeper.ready || leader.role != "live")
      report_.broken.push_back(fmt::format("one leader was to be left: east is '{}'{}, west is '{}'",
                                           sleeper.role, sleeper.ready ? " and ready" : "", leader.role));
    return {};
  }

  void measure() override {
    const auto& arrivals = observer_->arrivals().list;
    double longest = 0;
    std::uint64_t meanwhile = 0;
    std::optional<double> again;
    for (std::size_t i = 0; i < arrivals.size(); ++i) {
      const Instant at{arrivals[i].monotonic_ns};
      if (i > 0) longest = std::max(longest, (at - Instant{arrivals[i - 1].monotonic_ns}).seconds());
      if (at >= begun_ && at < healed_) ++meanwhile;
      if (healed_ > Instant{} && at >= healed_ && !again) again = (at - healed_).seconds();
    }
    report_.figures.push_back({"arrivals during the fault", grouped(meanwhile), "", {}});
    if (again)
      report_.figures.push_back({"first arrival after the repair",
                                 readable_seconds(*again),
                                 "of the fault, not of its effects",
                                 {}});
    report_.figures.push_back({"longest time without an arrival", readable_seconds(longest), "", {}});
    if (power_lost_ > 0)
      report_.figures.push_back(
          {"lost with the power",
           fmt::format("{} KiB", grouped(lost_.bytes_lost >> 10)),
           fmt::format("of {} KiB not synced, in {} losses", grouped(lost_.bytes >> 10), power_lost_),
           {}});
  }

  std::string summary() const override {
    return fmt::format(
        "{} generated payments on their way through two regions of this machine, each broker and each "
        "pipeline on a host of its own. In mid-flow: {}. Then the flow went to its end.",
        grouped(report_.audit.in), scenario_.about);
  }

  std::string repeat_command() const override {
    return fmt::format(
        "mainstay drill partition --scenario {} --fault {} --messages {} --rate {:g} --seed {}",
        scenario_.name, options_.fault_s, options_.messages, options_.rate_per_s, seed_);
  }

  const PartitionOptions& options_;
  const PartitionScenario& scenario_;
  SeededRandom random_;
  std::unique_ptr<lab::Network> network_;
  std::optional<lab::Network::Visit> visit_;  // after the network, which it must not outlive
  std::map<std::string, std::unique_ptr<lab::FaultyDisk>> disks_;
  Instant begun_{}, healed_{};
  lab::TakenBack lost_;
  int power_lost_ = 0;
  bool promoted_ = false;
};

}  // namespace

const std::vector<PartitionScenario>& partition_scenarios() {
  static const std::vector<PartitionScenario> all{
      {"standby-deaf", "nothing from the live broker reached the standby"},
      {"standby-unheard", "nothing from the standby reached the live broker"},
      {"standby-isolated", "live broker and standby could not reach each other"},
      {"client-deaf", "nothing from the live broker reached its pipeline: confirms were lost"},
      {"client-unheard", "nothing from the pipeline reached the live broker"},
      {"live-isolated", "nobody could reach the live broker, and it nobody"},
      {"delay-5ms", "every packet took 5 ms"},
      {"delay-100ms", "every packet took 100 ms"},
      {"loss-and-jitter", "30 % of all packets were lost, the others took up to 200 ms"},
      {"frozen-live", "the live broker was stopped (SIGSTOP) and went on later"},
      {"zombie", "the live broker was stopped (SIGSTOP), the other region promoted, and then it woke up"},
      {"disk-stall", "no sync of the live broker returned"},
      {"disk-full", "the live broker's disk was full"},
      {"sync-fails", "a sync of the live broker failed"},
      {"power-loss", "the live broker lost its power, and what it had not synced, again and again"},
      {"power-loss-standby", "the standby lost its power, and what it had not synced, again and again"},
      {"lying-disk", "the live broker lost its power on a disk whose syncs did nothing", false}};
  return all;
}

int run_partition(const PartitionOptions& options) {
  const auto figure = [](std::string name) {
    return [name = std::move(name)](const DrillReport& report) {
      const auto row = std::ranges::find(report.figures, name, &ResultRow::name);
      return row == report.figures.end() ? std::string("?") : row->value;
    };
  };
  const std::vector<SeriesColumn> columns{{"longest pause", figure("longest time without an arrival")}};
  int status = 0;
  bool found = false;
  for (const PartitionScenario& scenario : partition_scenarios()) {
    if (options.scenario == "all" ? !scenario.must_be_clean : options.scenario != scenario.name) continue;
    found = true;
    if (options.scenario == "all") fmt::print(stderr, "\n{}: {}\n", scenario.name, scenario.about);
    status = std::max(status, run_series("partition-" + std::string(scenario.name), options, columns,
                                         [&](const DrillPlace& place) {
                                           return PartitionDrill(options, scenario, place).run();
                                         }));
  }
  for (const PartitionScenario& scenario : pair_scenarios()) {
    const bool kind = options.scenario == "pair" || options.scenario == "store";
    const bool many =
        options.scenario == "all" || (kind && scenario.name.starts_with(options.scenario + "-"));
    if (!many && options.scenario != scenario.name) continue;
    found = true;
    if (many) fmt::print(stderr, "\n{}: {}\n", scenario.name, scenario.about);
    status = std::max(status, run_pair(options, scenario));
  }
  if (found) return status;
  fmt::print(stderr, "mainstay drill partition: there is no scenario '{}'; --list names them\n",
             options.scenario);
  return 2;
}

}  // namespace mainstay::drills
