#include "drills/kill_loop.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>

#include "base/assert.h"
#include "drills/figures.h"
#include "drills/two_region_drill.h"

namespace mainstay::drills {
namespace {

constexpr std::int64_t twins_timeout_s = 10;
constexpr std::int64_t restart_timeout_s = 10;
/// The source goes on until the last kill, however long that takes; this many times the messages asked for is
/// more than it ever needs.
constexpr std::uint64_t messages_headroom = 1000;

class KillLoop final : public TwoRegionDrill {
 public:
  KillLoop(const KillLoopOptions& options, const DrillPlace& place)
      : TwoRegionDrill("kill loop", options, place), options_(options) {
    report_.region_lost = false;
  }

 private:
  Result<std::unique_ptr<Feed>, Failure> open_feed() const override {
    return open_generator(options_.messages * messages_headroom);
  }

  Result<void, Failure> break_and_follow() override {
    SeededRandom random(seed_ ^ 0x6b696c6cULL);  // apart from the generator's draws
    const auto plan = plan_kills(options_.kills, options_.messages, members_.size(), random);
    if (auto flowing =
            follow("before the first kill", Progress::arrivals_only, [&] { return observer_->count() > 0; });
        !flowing)
      return flowing.error();
    for (const PlannedKill& kill : plan) {
      const std::uint64_t arrived = observer_->count();
      if (auto due = follow(fmt::format("{} of {} kills", killed_, options_.kills), Progress::arrivals_only,
                            [&] {
                              return paced_->entered() >= kill.after_entered &&
                                     clock_.now() - last_kill_ >= kill.pause &&
                                     (!kill.after_arrival || observer_->count() > arrived);
                            });
          !due)
        return due.error();
      if (auto done = kill_and_restart(members_[kill.victim]); !done) return done.error();
    }
    paced_->end_after(std::max(options_.messages, paced_->entered() + 1));
    step(fmt::format("the last kill is done: {} messages had entered, {} had arrived",
                     grouped(paced_->entered()), grouped(observer_->count())));
    if (auto settled = wait_until_settled(workspace_.east); !settled) return settled.error();
    return compare();
  }

  Result<void, Failure> kill_and_restart(Member& victim) {
    // Only what leads has a term to lose.
    if (victim.region == &workspace_.east && victim.role == "broker")
      if (const NodeView before = view(workspace_.east); before.answered && before.role == "live")
        term_before_kill_ = std::max(term_before_kill_, before.term);
    victim.process->signal(SIGKILL);
    last_kill_ = clock_.now();
    if (!victim.process->wait(seconds(restart_timeout_s)))
      return Failure{
          fmt::format("the {} is still there {} s after SIGKILL", victim.name(), restart_timeout_s)};
    ++victim.kills;
    ++killed_;
    const double at = seconds_at(last_kill_);
    mark(at, MarkKind::process_kill, victim.name());
    step_at(at, fmt::format("SIGKILL {} of {}: the {}; {} messages had entered, {} had arrived", killed_,
                            options_.kills, victim.name(), grouped(paced_->entered()),
                            grouped(observer_->count())));
    return start(victim);
  }

  /// With the flow at its end the standby has to become the live region's twin, and soon.
  Result<void, Failure> compare() {
    using Verdict = TwinComparison::Verdict;
    NodeView live, standby;
    TwinComparison twins;
    const Instant from = clock_.now(), until = from + seconds(twins_timeout_s);
    for (;;) {
      live = view(workspace_.east);
      standby = view(workspace_.west);
      twins = compare_twins(live, standby);
      // At one LSN they are the same or will never be.
      if (twins.log != Verdict::unknown && twins.state != Verdict::unknown) break;
      if (clock_.now() >= until) break;
      ::poll(nullptr, 0, 20);
    }
    twin_row("standby's log", twins.log, live.durable_lsn, standby.durable_lsn, live.log_hash,
             standby.log_hash);
    twin_row("standby's state", twins.state, live.applied_lsn, standby.applied_lsn, live.state_hash,
             standby.state_hash);
    if (live.role != "live" || standby.role == "live")
      report_.broken.push_back(fmt::format("region east was to lead to the end, but east is '{}', west '{}'",
                                           live.role, standby.role));
    if (term_before_kill_ > 0 && live.term <= term_before_kill_)
      report_.broken.push_back(fmt::format(
          "east's broker was killed in term {} and leads in term {}: a restart must take a new term",
          term_before_kill_, live.term));
    final_term_ = live.term;
    step(fmt::format("compared the standby with the live region, {} after the flow's end",
                     readable_seconds((clock_.now() - from).seconds())));
    return {};
  }

  void twin_row(const std::string& what, TwinComparison::Verdict verdict, std::uint64_t live_lsn,
                std::uint64_t standby_lsn, const std::string& live_hash, const std::string& standby_hash) {
    using Verdict = TwinComparison::Verdict;
    if (verdict == Verdict::same) {
      twins_.push_back({what, "same", fmt::format("as the live's: hash {} at LSN {}", live_hash, live_lsn),
                        ResultRow::Tone::good});
      return;
    }
    const std::string why =
        verdict == Verdict::different
            ? fmt::format("at LSN {} its hash is {}, the live's {}", live_lsn, standby_hash, live_hash)
            : fmt::format("not at one LSN within {} s: it is at {}, the live at {}", twins_timeout_s,
                          standby_lsn, live_lsn);
    twins_.push_back(
        {what, verdict == Verdict::different ? "DIFFERENT" : "behind", why, ResultRow::Tone::bad});
    report_.broken.push_back(what + ": " + why);
  }

  void measure() override {
    report_.figures.push_back({"kills", grouped(killed_), "SIGKILL, started again at once", {}});
    for (const Member& member : members_)
      report_.figures.push_back({"  " + member.name(), grouped(member.kills), "", {}});
    if (final_term_ > 0)
      report_.figures.push_back(
          {"term at the end", grouped(final_term_), "every leadership raises the term", {}});
    report_.figures.push_back({"longest time without an arrival",
                               readable_seconds(longest_silence_s()),
                               "from the first to the last; the source itself pauses between files",
                               {}});
    report_.figures.insert(report_.figures.end(), twins_.begin(), twins_.end());
  }

  [[nodiscard]] double longest_silence_s() const {
    const auto& arrivals = observer_->arrivals().list;
    double longest = 0;
    for (std::size_t i = 1; i < arrivals.size(); ++i)
      longest = std::max(
          longest, (Instant{arrivals[i].monotonic_ns} - Instant{arrivals[i - 1].monotonic_ns}).seconds());
    return longest;
  }

  std::string summary() const override {
    return fmt::format(
        "{} generated payments on their way through two regions of this machine. All the while one of their "
        "six processes after the other was killed at a random instant and started again at once, {} times; "
        "then the flow went to its end, and the standby was compared with the live region.",
        grouped(report_.audit.in), grouped(killed_));
  }

  std::string repeat_command() const override {
    return fmt::format("mainstay drill kill-loop --kills {} --messages {} --rate {:g} --seed {}",
                       options_.kills, options_.messages, options_.rate_per_s, seed_);
  }

  const KillLoopOptions& options_;
  Instant last_kill_{};
  std::uint64_t killed_ = 0, term_before_kill_ = 0, final_term_ = 0;
  std::vector<ResultRow> twins_;
};

std::string figure(const DrillReport& report, std::string_view name) {
  const auto row = std::ranges::find(report.figures, name, &ResultRow::name);
  return row == report.figures.end() ? "?" : row->value;
}

}  // namespace

std::vector<PlannedKill> plan_kills(std::uint64_t kills, std::uint64_t messages, std::size_t processes,
                                    Random& random) {
  MS_ASSERT(processes > 0, "somebody has to be killed");
  std::vector<PlannedKill> plan;
  const double slice = 0.95 * static_cast<double>(messages) / static_cast<double>(kills);
  for (std::uint64_t i = 0; i < kills; ++i) {
    PlannedKill kill;
    kill.after_entered = static_cast<std::uint64_t>((static_cast<double>(i) + random.unit()) * slice);
    kill.pause = milliseconds(static_cast<std::int64_t>(10 + random.below(490)));
    kill.after_arrival = random.below(2) == 0;
    kill.victim = static_cast<std::size_t>(random.below(processes));
    plan.push_back(kill);
  }
  return plan;
}

TwinComparison compare_twins(const NodeView& live, const NodeView& standby) {
  using Verdict = TwinComparison::Verdict;
  TwinComparison twins;
  if (!live.answered || !standby.answered) return twins;
  if (live.durable_lsn == standby.durable_lsn)
    twins.log = live.log_hash == standby.log_hash ? Verdict::same : Verdict::different;
  if (live.applied_lsn == standby.applied_lsn)
    twins.state = live.state_hash == standby.state_hash ? Verdict::same : Verdict::different;
  return twins;
}

int run_kill_loop(const KillLoopOptions& options) {
  const std::vector<SeriesColumn> columns{
      {"kills", [](const DrillReport& report) { return figure(report, "kills"); }},
      {"longest pause",
       [](const DrillReport& report) { return figure(report, "longest time without an arrival"); }}};
  return run_series("kill-loop", options, columns,
                    [&](const DrillPlace& place) { return KillLoop(options, place).run(); });
}

}  // namespace mainstay::drills
