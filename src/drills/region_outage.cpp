#include "drills/region_outage.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cmath>
#include <filesystem>
#include <optional>
#include <unordered_set>

#include "drills/audit_command.h"
#include "drills/control_client.h"
#include "drills/directory_feed.h"
#include "drills/drill_monitor.h"
#include "drills/drill_workspace.h"
#include "drills/figures.h"
#include "drills/generator.h"
#include "drills/processes.h"
#include "drills/progress_line.h"
#include "drills/tsv.h"
#include "io/system_clock.h"
#include "ledger/sqlite_ledger.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::int64_t ready_timeout_s = 30;
constexpr std::int64_t command_timeout_s = 120;
/// Nothing may arrive any more for so long before the audit: a late repetition has to show.
constexpr std::int64_t quiet_ms = 700;

std::uint64_t number_in(const json::value& value, std::string_view key) {
  const json::object* object = value.if_object();
  const json::value* found = object == nullptr ? nullptr : object->if_contains(key);
  if (found == nullptr || !found->is_number()) return 0;
  boost::system::error_code error;
  const auto number = found->to_number<std::uint64_t>(error);
  return error ? 0 : number;
}

/// The last line of a command's output that is a JSON object: log lines may stand before it.
json::value json_in(const std::string& output) {
  for (std::size_t end = output.size(); end > 0;) {
    const std::size_t newline = output.rfind('\n', end - 1);
    const std::size_t from = newline == std::string::npos ? 0 : newline + 1;
    boost::system::error_code error;
    json::value value = json::parse(std::string_view(output).substr(from, end - from), error);
    if (!error && value.is_object()) return value;
    end = newline == std::string::npos ? 0 : newline;
  }
  return nullptr;
}

std::uint64_t files_in(const std::string& directory) {
  std::error_code error;
  std::uint64_t count = 0;
  for (fs::directory_iterator at(directory, error); !error && at != fs::directory_iterator();
       at.increment(error))
    if (!at->path().filename().string().starts_with('.')) ++count;
  return count;
}

std::string quoted(const std::string& argument) {
  const bool plain = !argument.empty() && std::ranges::all_of(argument, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_./=:,").find(c) != std::string_view::npos;
  });
  return plain ? argument : "'" + argument + "'";
}

/// One drill, from an empty directory to its report.
class RegionOutage {
 public:
  RegionOutage(const RegionOutageOptions& options, std::uint64_t seed, std::string directory, Clock& clock,
               ProgressLine& progress)
      : options_(options),
        seed_(seed),
        directory_(std::move(directory)),
        clock_(clock),
        progress_(progress) {}

  DrillReport run() {
    start_ = clock_.now();
    report_.drill = "region outage";
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

 private:
  Result<void, Failure> drill() {
    auto workspace = make_workspace(directory_ + "/work");
    if (!workspace) return workspace.error();
    workspace_ = std::move(*workspace);
    for (const auto step : {&RegionOutage::start_regions, &RegionOutage::start_flow,
                            &RegionOutage::wait_for_the_moment, &RegionOutage::kill_region,
                            &RegionOutage::promote, &RegionOutage::replay, &RegionOutage::wait_until_settled})
      if (auto done = (this->*step)(); !done) return done.error();
    return {};
  }

  // Starting

  Result<void, Failure> start_regions() {
    progress_.say("starting two regions: a broker, a queue builder and a processor each");
    for (const RegionPaths* region : {&workspace_.east, &workspace_.west})
      if (auto started = start(*region, "broker", {"serve", "--config", region->broker_config()}); !started)
        return started.error();
    const auto reason = wait_for("brokers", [&]() -> std::optional<std::string> {
      const auto ready = http_request("GET", workspace_.east.control(), "/readyz", "", "", milliseconds(500));
      if (!ready) return ready.error().what;
      if (ready->status != 200) return "east is not ready: " + ready->body;
      const auto alive = http_request("GET", workspace_.west.control(), "/livez", "", "", milliseconds(500));
      if (!alive || alive->status != 200) return std::string("west does not answer");
      if (!view_node(workspace_.east.control(), workspace_.control_token).connected)
        return std::string("west is not connected to east");
      return std::nullopt;
    });
    if (!reason) return reason.error();
    for (const RegionPaths* region : {&workspace_.east, &workspace_.west}) {
      if (auto started =
              start(*region, "builder", {"pipeline", "builder", "--config", region->builder_config()});
          !started)
        return started.error();
      if (auto started =
              start(*region, "processor", {"pipeline", "processor", "--config", region->processor_config()});
          !started)
        return started.error();
    }
    step("both regions are up, east is active, west follows its log");
    return {};
  }

  Result<void, Failure> start(const RegionPaths& region, const std::string& role,
                              std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), options_.program);
    auto process = Process::start(
        {.name = region.name + " " + role, .arguments = std::move(arguments), .log = region.log(role)});
    if (!process) return process.error();
    (&region == &workspace_.east ? east_ : west_).push_back(std::move(*process));
    return {};
  }

  template <class Condition>
  Result<void, Failure> wait_for(const std::string& what, Condition condition) {
    const Instant until = clock_.now() + seconds(ready_timeout_s);
    for (;;) {
      const std::optional<std::string> why_not = condition();
      if (!why_not) return {};
      if (auto alive = check_processes(); !alive) return alive.error();
      if (clock_.now() >= until)
        return Failure{fmt::format("the {} were not ready within {} s: {}", what, ready_timeout_s, *why_not)};
      ::poll(nullptr, 0, 20);
    }
  }

  Result<void, Failure> start_flow() {
    auto observer = DestinationObserver::open(workspace_.destination(), workspace_.arrivals(), clock_);
    if (!observer) return observer.error();
    observer_ = std::move(*observer);
    if (options_.source.empty()) {
      GeneratorOptions generator;
      generator.messages = options_.messages;
      generator.seed = seed_;
      generator.inbox = workspace_.inbox();
      generator.record = workspace_.generated();
      auto opened = Generator::open(generator);
      if (!opened) return opened.error();
      feed_ = std::move(*opened);
    } else {
      auto opened = feed_directory(options_.source, workspace_.inbox(), workspace_.generated());
      if (!opened) return opened.error();
      feed_ = std::move(*opened);
    }
    SeededRandom random(seed_ ^ 0x6b696c6cULL);  // apart from the generator's draws
    kill_at_messages_ =
        static_cast<std::uint64_t>((0.3 + 0.4 * random.unit()) * static_cast<double>(feed_->total()));
    step(fmt::format("the source begins: {} messages at {} per second", grouped(feed_->total()),
                     grouped(static_cast<std::uint64_t>(options_.rate_per_s))));
    paced_ = std::make_unique<PacedFeed>(*feed_, options_.rate_per_s, clock_);
    monitor_ = std::make_unique<DrillMonitor>(
        *paced_, *observer_, std::vector{workspace_.east.control(), workspace_.west.control()},
        workspace_.control_token, clock_, start_);
    return {};
  }

  // The outage

  Result<void, Failure> wait_for_the_moment() {
    return follow("region east active",
                  [&] { return paced_->entered() >= kill_at_messages_ && observer_->count() > 0; });
  }

  Result<void, Failure> kill_region() {
    std::vector<Process*> victims;
    for (const auto& process : east_) victims.push_back(process.get());
    const NodeView before = view_node(workspace_.east.control(), workspace_.control_token);
    killed_ = kill_at_once(victims, clock_);
    region_is_dead_ = true;
    const double at = (killed_ - start_).seconds();
    if (before.answered && before.connected)
      report_.unreplicated_s = before.lag_s;
    else if (const auto sample = monitor_->last_lag_before(at))
      report_.unreplicated_s = sample->lag_s;
    // Its disk is gone too: nothing of the dead region may help the living one.
    const std::string lost = lost_disk();
    std::error_code error;
    fs::rename(workspace_.east.directory, lost, error);
    if (error) return Failure{"cannot take region east's disk away: " + error.message()};
    mark(at, MarkKind::kill, "region east killed");
    step_at(at, fmt::format("SIGKILL to all {} processes of region east at once, its disk taken away; {} of "
                            "{} messages had entered, {} had arrived",
                            victims.size(), grouped(paced_->entered()), grouped(feed_->total()),
                            grouped(observer_->count())));
    progress_.say(fmt::format("{:7.1f} s  KILLED every process of region east, and took its disk away", at));
    return {};
  }

  Result<void, Failure> promote() {
    promoting_ = clock_.now();
    const Instant until = promoting_ + seconds(ready_timeout_s);
    for (;;) {
      const auto finished = command(
          "region promote", {"region", "promote", "--force", "--config", workspace_.west.broker_config(),
                             "--reason", "drill: region east is lost", "--by", "drill", "--json"});
      if (!finished) return finished.error();
      if (finished->end.ok()) {
        const json::value answer = json_in(finished->output);
        fork_lsn_ = number_in(answer, "lsn");
        mark(now_s(), MarkKind::promotion, "west promoted");
        step(
            fmt::format("mainstay region promote --force: west leads in term {}", number_in(answer, "term")));
        progress_.say(fmt::format("{:7.1f} s  PROMOTED region west", now_s()));
        return {};
      }
      if (clock_.now() >= until)
        return Failure{
            fmt::format("mainstay region promote --force: {}: {}", finished->end.text(), finished->output)};
      ::poll(nullptr, 0, 50);
    }
  }

  Result<void, Failure> replay() {
    const auto finished = command("archive replay", {"archive", "replay", "--missing", "--config",
                                                     workspace_.west.builder_config(), "--json"});
    if (!finished) return finished.error();
    if (!finished->end.ok())
      return Failure{
          fmt::format("mainstay archive replay --missing: {}: {}", finished->end.text(), finished->output)};
    report_.recovered_from_archive = number_in(json_in(finished->output), "recovered");
    mark(now_s(), MarkKind::replay,
         fmt::format("archive replayed: {}", grouped(report_.recovered_from_archive)));
    step(fmt::format(
        "mainstay archive replay --missing: {} messages sent that west did not have; producers are let in",
        grouped(report_.recovered_from_archive)));
    progress_.say(fmt::format("{:7.1f} s  REPLAYED the archive: {} messages recovered", now_s(),
                              grouped(report_.recovered_from_archive)));
    return {};
  }

  Result<Finished, Failure> command(const std::string& name, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), options_.program);
    return run_to_end({.name = "mainstay " + name,
                       .arguments = std::move(arguments),
                       .log = fmt::format("{}/command-{}.log", workspace_.directory, ++commands_)},
                      seconds(command_timeout_s));
  }

  // The end

  Result<void, Failure> wait_until_settled() {
    std::uint64_t expected = 0;
    Instant last_arrival = clock_.now();
    std::uint64_t arrived = 0;
    Instant next_look{};
    bool drained = false;
    return follow("region west active", [&] {
      const Instant now = clock_.now();
      if (observer_->count() != arrived) {
        arrived = observer_->count();
        last_arrival = now;
      }
      if (!paced_->ended()) return false;
      if (expected == 0) expected = unique_keys(feed_->entries());
      if (now >= next_look) {
        next_look = now + milliseconds(200);
        const NodeView west = view_node(workspace_.west.control(), workspace_.control_token);
        left_at_source_ = files_in(workspace_.inbox()) + files_in(workspace_.claimed());
        left_in_queue_ = west.queue_active + west.queue_locked;
        drained = west.answered && left_at_source_ == 0 && left_in_queue_ == 0;
      }
      return drained && now - last_arrival > milliseconds(arrived >= expected ? quiet_ms : 5 * quiet_ms);
    });
  }

  /// Waits for `condition`, showing progress; fails when nothing moves any more or a process died.
  template <class Condition>
  Result<void, Failure> follow(const std::string& phase, Condition condition) {
    std::uint64_t seen = 0;
    Instant moved = clock_.now();
    while (!condition()) {
      if (auto alive = check_processes(); !alive) return alive.error();
      if (paced_->ended() && !paced_->failure().empty()) return Failure{paced_->failure()};
      const std::uint64_t entered = paced_->entered(), delivered = observer_->count();
      const std::uint64_t now_seen = entered + delivered + left_at_source_ + left_in_queue_;
      if (now_seen != seen) {
        seen = now_seen;
        moved = clock_.now();
      }
      if ((clock_.now() - moved).seconds() > static_cast<double>(options_.stuck_after_s))
        return Failure{fmt::format(
            "stuck: nothing has moved for {} s with {} messages in, {} arrived, {} files left at the source, "
            "{} messages in west's queue.\n{}",
            options_.stuck_after_s, grouped(entered), grouped(delivered), left_at_source_, left_in_queue_,
            log_tails())};
      const Sample sample = monitor_->last();
      progress_.show(fmt::format("{:7.1f} s  in {:>7} of {}   arrived {:>7}   lag {:>5} records   {}",
                                 now_s(), grouped(entered), grouped(feed_->total()), grouped(delivered),
                                 sample.lag_records ? grouped(*sample.lag_records) : "?", phase));
      ::poll(nullptr, 0, 2);
    }
    return {};
  }

  Result<void, Failure> check_processes() {
    for (auto* region : {&east_, &west_}) {
      if (region == &east_ && region_is_dead_) continue;
      for (const auto& process : *region)
        if (const auto end = process->end())
          return Failure{fmt::format("the {} ended by itself ({}):\n{}", process->name(), end->text(),
                                     process->log_tail())};
    }
    return {};
  }

  std::string log_tails() const {
    std::string out;
    for (const auto& process : west_)
      out += "last lines of the " + process->name() + ":\n" + process->log_tail(5);
    return out;
  }

  void stop_everything() {
    report_.duration_s = now_s();
    for (auto* region : {&west_, &east_}) {
      // Pipelines before brokers: they were started after them.
      for (auto process = region->rbegin(); process != region->rend(); ++process) (*process)->signal(SIGTERM);
      for (auto process = region->rbegin(); process != region->rend(); ++process) {
        static_cast<void>((*process)->wait(seconds(10)));
        (*process)->signal(SIGKILL);
      }
    }
  }

  void judge() {
    progress_.say(fmt::format("{:7.1f} s  auditing", now_s()));
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
    measure_recovery();
    measure_loss();
  }

  /// What the promoted region never got: the end of the lost disk's log against the end of its own. Only to
  /// measure; the drill is over.
  void measure_loss() {
    if (fork_lsn_ == 0) return;
    const auto finished = command("verify", {"verify", lost_disk() + "/journal", "--json"});
    if (!finished) return;
    if (const std::uint64_t last_lsn = number_in(json_in(finished->output), "last_lsn");
        last_lsn >= fork_lsn_)
      report_.unreplicated_records = last_lsn - fork_lsn_;
  }
  [[nodiscard]] std::string lost_disk() const { return workspace_.east.directory + ".lost"; }

  /// RTO: the kill to the first arrival that the promoted region's processor brought.
  void measure_recovery() {
    if (promoting_ == Instant{}) return;
    const auto opened = ledger::SqliteLedger::open(workspace_.ledger());
    if (!opened) return;
    std::unordered_set<std::string> by_west;
    const auto read = (*opened)->for_each(ledger::EntryState::done, [&](const ledger::Entry& entry) {
      if (entry.region == workspace_.west.name) by_west.insert(entry.destination);
    });
    if (!read) return;
    for (const Arrival& arrival : observer_->arrivals().list) {
      if (arrival.monotonic_ns < promoting_.ns || !by_west.contains(arrival.name)) continue;
      report_.rto_s = (Instant{arrival.monotonic_ns} - killed_).seconds();
      const double at = (Instant{arrival.monotonic_ns} - start_).seconds();
      mark(at, MarkKind::first_delivery, "first delivery by west");
      step_at(at, fmt::format("first message delivered by region west, {} after the kill",
                              readable_seconds(*report_.rto_s)));
      break;
    }
    std::ranges::stable_sort(report_.steps, {}, &Step::at_s);
  }

  std::string summary() const {
    const std::string what =
        options_.source.empty() ? "generated payments" : "messages of " + options_.source;
    return fmt::format(
        "{} {} on their way through two regions of this machine. In mid-flow every process of region east "
        "was killed and "
        "its disk taken away; region west was promoted, the archive brought what west did not have, and the "
        "flow "
        "went on.",
        grouped(report_.audit.in), what);
  }

  std::string repeat_command() const {
    std::string text = "mainstay drill region-outage";
    if (options_.source.empty())
      text += fmt::format(" --messages {}", options_.messages);
    else
      text += " --source " + quoted(options_.source);
    return text + fmt::format(" --rate {:g} --seed {}", options_.rate_per_s, seed_);
  }

  [[nodiscard]] double now_s() const { return (clock_.now() - start_).seconds(); }
  void mark(double at_s, MarkKind kind, std::string text) {
    report_.marks.push_back({at_s, kind, std::move(text)});
  }
  void step(std::string text) { step_at(now_s(), std::move(text)); }
  void step_at(double at_s, std::string text) { report_.steps.push_back({at_s, std::move(text)}); }

  const RegionOutageOptions& options_;
  const std::uint64_t seed_;
  const std::string directory_;
  Clock& clock_;
  ProgressLine& progress_;
  DrillReport report_;
  Workspace workspace_;
  Instant start_{}, killed_{}, promoting_{};
  std::uint64_t kill_at_messages_ = 0, fork_lsn_ = 0, left_at_source_ = 0, left_in_queue_ = 0;
  int commands_ = 0;
  bool region_is_dead_ = false;
  // In the order in which they must go: processes last started first, threads before what they watch.
  std::unique_ptr<Feed> feed_;
  std::unique_ptr<DestinationObserver> observer_;
  std::unique_ptr<PacedFeed> paced_;
  std::unique_ptr<DrillMonitor> monitor_;
  std::vector<std::unique_ptr<Process>> east_, west_;
};

/// Moves the evidence beside the report and, unless it is wanted, removes the rest.
void keep_evidence(const std::string& directory, bool whole_workspace) {
  std::error_code ignored;
  const std::string work = directory + "/work";
  for (const char* evidence : {"generated.tsv", "arrivals.tsv"})
    fs::copy_file(work + "/" + evidence, directory + "/" + evidence, fs::copy_options::overwrite_existing,
                  ignored);
  if (!whole_workspace) fs::remove_all(work, ignored);
}

Result<std::string, Failure> make_report_directory(const std::string& report, std::uint64_t seed,
                                                   Clock& clock) {
  std::error_code error;
  std::string when = readable_time(clock.wall().ms).substr(0, 19);
  for (char& c : when)
    if (c == ' ' || c == ':') c = c == ' ' ? 'T' : '-';
  const std::string base =
      fs::absolute(report, error).string() + "/region-outage-" + when + "-seed-" + std::to_string(seed);
  std::string directory = base;
  for (int again = 2; fs::exists(directory, error); ++again) directory = base + "-" + std::to_string(again);
  fs::create_directories(directory, error);
  if (error) return Failure{"cannot create the report directory " + directory + ": " + error.message()};
  return {boost::system::in_place_value, std::move(directory)};
}

}  // namespace

Result<std::pair<std::uint64_t, std::uint64_t>, Failure> parse_seeds(const std::string& text) {
  const std::size_t dots = text.find("..");
  const auto first = parse_number(std::string_view(text).substr(0, dots));
  const auto last = dots == std::string::npos ? first : parse_number(std::string_view(text).substr(dots + 2));
  if (!first || !last || *last < *first)
    return Failure{"not a seed: '" + text + "'; give a number (7) or a range (1..20)"};
  return std::pair{*first, *last};
}

int run_region_outage(const RegionOutageOptions& options) {
  io::SystemClock clock;
  int status = 0;
  const bool many = options.seed_first != options.seed_last;
  std::string table =
      fmt::format("  {:>6}  {:>9}  {:>9}  {:>5}  {:>8}  {:>9}  {:>9}  {:>9}  {:>8}  {}\n", "seed", "in",
                  "delivered", "lost", "repeated", "reordered", "recovered", "RTO", "took", "verdict");
  for (std::uint64_t seed = options.seed_first;; ++seed) {
    const auto directory = make_report_directory(options.report, seed, clock);
    if (!directory) {
      fmt::print(stderr, "mainstay drill region-outage: {}\n", directory.error().what);
      return 2;
    }
    DrillReport report;
    {
      ProgressLine progress(clock);
      if (many) progress.say(fmt::format("seed {}", seed));
      report = RegionOutage(options, seed, *directory, clock, progress).run();
    }
    const std::string page = *directory + "/report.html";
    const auto html = write_text_file(page, html_of(report));
    const auto machine_readable = write_text_file(*directory + "/report.json", json_of(report) + "\n");
    keep_evidence(*directory, options.keep || !report.clean());
    if (options.json) {
      fmt::print("{}\n", json_of(report));
    } else {
      if (!many) fmt::print("\n{}\n", text_of(report));
      if (many && !report.clean()) fmt::print("\nseed {}\n{}\n", seed, text_of(report));
      if (!many || !report.clean()) fmt::print("  report     {}\n", page);
      if (!report.clean()) fmt::print("  workspace  {}/work\n", *directory);
    }
    for (const auto& written : {html, machine_readable})
      if (!written) {
        fmt::print(stderr, "mainstay drill region-outage: {}\n", written.error().what);
        status = 2;
      }
    if (!report.failure.empty())
      status = 2;
    else if (!report.clean())
      status = std::max(status, 1);
    table += fmt::format(
        "  {:>6}  {:>9}  {:>9}  {:>5}  {:>8}  {:>9}  {:>9}  {:>9}  {:>8}  {}\n", seed,
        grouped(report.audit.in), grouped(report.audit.delivered), report.audit.lost.size(),
        report.audit.repeated.size(), report.audit.reordered.size(), grouped(report.recovered_from_archive),
        report.rto_s ? readable_seconds(*report.rto_s) : "never", readable_seconds(report.duration_s),
        report.clean()           ? "clean"
        : report.failure.empty() ? "NOT CLEAN"
                                 : "COULD NOT FINISH");
    std::fflush(stdout);
    if (seed == options.seed_last) break;
  }
  if (many && !options.json) fmt::print("\n{}\n  reports in {}\n", table, options.report);
  return status;
}

}  // namespace mainstay::drills
