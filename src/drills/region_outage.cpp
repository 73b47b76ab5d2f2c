#include "drills/region_outage.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cctype>
#include <filesystem>
#include <optional>
#include <unordered_set>

#include "base/random.h"
#include "drills/directory_feed.h"
#include "drills/figures.h"
#include "drills/two_region_drill.h"
#include "ledger/sqlite_ledger.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::int64_t promotion_timeout_s = 30;

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

std::string quoted(const std::string& argument) {
  const bool plain = !argument.empty() && std::ranges::all_of(argument, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_./=:,").find(c) != std::string_view::npos;
  });
  return plain ? argument : "'" + argument + "'";
}

class RegionOutage final : public TwoRegionDrill {
 public:
  RegionOutage(const RegionOutageOptions& options, const DrillPlace& place)
      : TwoRegionDrill("region outage", options, place), options_(options) {}

 private:
  Result<void, Failure> break_and_follow() override {
    SeededRandom random(seed_ ^ 0x6b696c6cULL);  // apart from the generator's draws
    kill_at_messages_ =
        static_cast<std::uint64_t>((0.3 + 0.4 * random.unit()) * static_cast<double>(feed_->total()));
    for (const auto step : {&RegionOutage::wait_for_the_moment, &RegionOutage::kill_region,
                            &RegionOutage::promote, &RegionOutage::replay})
      if (auto done = (this->*step)(); !done) return done.error();
    return wait_until_settled(workspace_.west);
  }

  Result<std::unique_ptr<Feed>, Failure> open_feed() const override {
    if (options_.source.empty()) return TwoRegionDrill::open_feed();
    return feed_directory(options_.source, workspace_.inbox(), workspace_.generated());
  }

  // The outage

  Result<void, Failure> wait_for_the_moment() {
    return follow("region east active", Progress::any,
                  [&] { return paced_->entered() >= kill_at_messages_ && observer_->count() > 0; });
  }

  Result<void, Failure> kill_region() {
    std::vector<lab::Process*> victims;
    for (Member& member : members_) {
      if (member.region != &workspace_.east) continue;
      victims.push_back(member.process.get());
      member.gone = true;
    }
    const NodeView before = view(workspace_.east);
    killed_ = lab::kill_at_once(victims, clock_);
    const double at = seconds_at(killed_);
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
    say("KILLED every process of region east, and took its disk away");
    return {};
  }

  Result<void, Failure> promote() {
    promoting_ = clock_.now();
    const Instant until = promoting_ + seconds(promotion_timeout_s);
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
        say("PROMOTED region west");
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
    say(fmt::format("REPLAYED the archive: {} messages recovered", grouped(report_.recovered_from_archive)));
    return {};
  }

  void measure() override {
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
      const double at = seconds_at(Instant{arrival.monotonic_ns});
      mark(at, MarkKind::first_delivery, "first delivery by west");
      step_at(at, fmt::format("first message delivered by region west, {} after the kill",
                              readable_seconds(*report_.rto_s)));
      break;
    }
    std::ranges::stable_sort(report_.steps, {}, &Step::at_s);
  }

  std::string summary() const override {
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

  std::string repeat_command() const override {
    std::string text = "mainstay drill region-outage";
    if (options_.source.empty())
      text += fmt::format(" --messages {}", options_.messages);
    else
      text += " --source " + quoted(options_.source);
    return text + fmt::format(" --rate {:g} --seed {}", options_.rate_per_s, seed_);
  }

  const RegionOutageOptions& options_;
  Instant killed_{}, promoting_{};
  std::uint64_t kill_at_messages_ = 0, fork_lsn_ = 0;
};

}  // namespace

int run_region_outage(const RegionOutageOptions& options) {
  const std::vector<SeriesColumn> columns{
      {"from archive", [](const DrillReport& report) { return grouped(report.recovered_from_archive); }},
      {"RTO",
       [](const DrillReport& report) { return report.rto_s ? readable_seconds(*report.rto_s) : "never"; }}};
  return run_series("region-outage", options, columns,
                    [&](const DrillPlace& place) { return RegionOutage(options, place).run(); });
}

}  // namespace mainstay::drills
