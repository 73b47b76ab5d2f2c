// mainstay-sim: the production core under seeded faults. Exit status: 0 all seeds were safe and ended well, 1
// unsafe, 2 stuck, 3 wrong use (a crash ends with the signal's status).
#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <map>
#include <mutex>
#include <thread>

#include "base/bytes.h"
#include "sim/group_simulation.h"
#include "sim/shrink.h"
#include "sim/simulation.h"

namespace {

using mainstay::sim::Report;

boost::json::object counters(const std::map<std::string, std::uint64_t>& from) {
  boost::json::object all;
  for (const auto& [name, count] : from) all[name] = count;
  return all;
}

void print(const std::map<std::string, std::uint64_t>& all, const char* title) {
  std::printf("%s\n", title);
  for (const auto& [name, count] : all) {
    std::printf("  %-44s %llu\n", name.c_str(), static_cast<unsigned long long>(count));
  }
}

struct Totals {
  std::map<std::string, std::uint64_t> faults, reached;
  std::uint64_t published = 0, completed = 0, lost = 0, events = 0;
  double virtual_seconds = 0;
};

void add(const std::map<std::string, std::uint64_t>& from, std::map<std::string, std::uint64_t>& to) {
  for (const auto& [name, count] : from) to[name] += count;
}

/// Runs seeds on several threads and hands out their reports in the order of the seeds. What is not wanted
/// any more is not begun.
class InOrder {
 public:
  InOrder(std::uint64_t first, std::uint64_t count, unsigned threads,
          std::function<Report(std::uint64_t)> simulate)
      : first_(first), count_(count), simulate_(std::move(simulate)) {
    for (unsigned i = 0; i < std::max(1U, threads); ++i) threads_.emplace_back([this] { work(); });
  }
  ~InOrder() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  InOrder(const InOrder&) = delete;
  InOrder& operator=(const InOrder&) = delete;

  Report next() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return done_.count(handed_) != 0; });
    Report report = std::move(done_.extract(handed_).mapped());
    ++handed_;
    changed_.notify_all();
    return report;
  }

 private:
  void work() {
    constexpr std::uint64_t kAhead = 64;
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return ended_ || begun_ == count_ || begun_ < handed_ + kAhead; });
      if (ended_ || begun_ == count_) return;
      const std::uint64_t mine = begun_++;
      lock.unlock();
      Report report = simulate_(first_ + mine);
      lock.lock();
      done_.emplace(mine, std::move(report));
      changed_.notify_all();
    }
  }

  std::uint64_t first_, count_, begun_ = 0, handed_ = 0;
  bool ended_ = false;
  std::function<Report(std::uint64_t)> simulate_;
  std::map<std::uint64_t, Report> done_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};

}  // namespace

int main(int argc, char** argv) try {
  mainstay::sim::Options options;
  std::uint64_t seeds = 1;
  bool json = false;
  std::string canary, resurrect;
  bool group = false;
  mainstay::sim::GroupOptions group_options;
  mainstay::sim::FaultChoice faults;
  std::vector<std::string> only, without;
  std::vector<std::uint64_t> masked;
  bool shrink = false;
  unsigned jobs = 0;
  std::vector<std::string> bugs;
  for (const auto& each : mainstay::sim::group_bugs()) bugs.push_back(each.name);
  CLI::App app{
      "Runs two regions, their clients and an operator under seeded faults, and checks every promise."};
  app.add_option("--seed", options.seed, "first seed")->capture_default_str();
  app.add_option("--seeds", seeds, "how many seeds, counting up")->check(CLI::PositiveNumber);
  app.add_option("--operations", options.operations, "messages to publish per seed")
      ->check(CLI::Range(1, 1'000'000));
  app.add_flag("--json", json, "one JSON object at the end");
  app.add_flag("--trace", options.trace, "tell on standard error what happens when");
  app.add_option("--canary", canary, "break a rule on purpose; it must be noticed")
      ->check(CLI::IsMember(mainstay::sim::canary_names()));
  app.add_flag(
      "--group", group,
      "instead of two regions: the nodes of one group with their register, by the rules of replication");
  app.add_flag("--members", group_options.members_only,
               "of a group: its members and logs only, without a broker");
  app.add_option("--resurrect", resurrect, "of a group: bring back a known bug; it must be found")
      ->check(CLI::IsMember(bugs));
  app.add_option("--jobs", jobs, "seeds at a time; without it one for each processor")
      ->check(CLI::Range(1, 1024));
  app.add_flag("--shrink", shrink,
               "of a seed that fails: look for the fewest operations and faults that fail the same way");
  app.add_option("--only", only, "inject these faults only, by the numbers that --trace tells (or none)")
      ->delimiter(',')
      ->type_name("N,N,...");
  app.add_option("--mask", masked, "leave these faults out, by their numbers")
      ->delimiter(',')
      ->type_name("N,N,...");
  app.add_option("--without", without, "leave out a class of faults, by the name that is counted; repeatable")
      ->type_name("'CLASS'");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 3;
  }
  group = group || !resurrect.empty() || group_options.members_only;
  if (!canary.empty()) options.canary = *mainstay::sim::canary_named(canary);

  if (!only.empty()) {
    faults.only.emplace();
    for (const std::string& each : only) {
      if (each == "none") continue;
      if (each.find_first_not_of("0123456789") != std::string::npos) {
        std::fprintf(stderr, "mainstay-sim: --only takes numbers of faults, or none; not \"%s\"\n",
                     each.c_str());
        return 3;
      }
      faults.only->insert(std::stoull(each));
    }
  }
  faults.masked.insert(masked.begin(), masked.end());
  faults.without.insert(without.begin(), without.end());
  options.faults = group_options.faults = faults;

  Totals totals;
  const auto began = std::chrono::steady_clock::now();
  const std::uint64_t first = options.seed;
  group_options.operations = options.operations;
  group_options.trace = options.trace;
  if (!resurrect.empty()) {
    for (const auto& each : mainstay::sim::group_bugs()) {
      if (each.name != resurrect) continue;
      group_options.bug = each.bug;
      group_options.members_only = group_options.members_only || each.members_only;
    }
  }
  if (!json && seeds == 1) std::printf("seed %llu\n", static_cast<unsigned long long>(first));
  std::fflush(stdout);
  const auto run = [&](std::uint64_t seed, std::uint64_t operations,
                       const mainstay::sim::FaultChoice& choice) {
    if (group) {
      auto with = group_options;
      with.seed = seed;
      with.operations = operations;
      with.faults = choice;
      return mainstay::sim::simulate_group(with);
    }
    auto with = options;
    with.seed = seed;
    with.operations = operations;
    with.faults = choice;
    return mainstay::sim::simulate(with);
  };
  const unsigned threads = jobs != 0 ? jobs : std::thread::hardware_concurrency();
  InOrder reports(first, seeds, options.trace ? 1 : threads,
                  [&](std::uint64_t seed) { return run(seed, options.operations, faults); });
  for (std::uint64_t i = 0; i < seeds; ++i) {
    const Report report = reports.next();
    if (!json && seeds == 1) std::printf("options: %s\n", report.options.c_str());
    add(report.faults, totals.faults);
    add(report.reached, totals.reached);
    totals.published += report.published;
    totals.completed += report.completed;
    totals.lost += report.lost_in_forced_promotion.size();
    totals.events += report.events;
    totals.virtual_seconds += report.virtual_seconds;
    const bool safe = report.violations.empty();
    if (safe && report.stuck.empty()) {
      if (!json && seeds == 1) {
        for (const auto& id : report.lost_in_forced_promotion) {
          std::printf("lost with the unshipped tail of a forced promotion: %s\n", id.c_str());
        }
        std::printf("digest %s\n", mainstay::hex(report.digest).c_str());
      }
      continue;
    }
    if (json) {
      boost::json::array violations;
      for (const auto& what : report.violations) violations.emplace_back(what);
      std::cout << boost::json::serialize(boost::json::object{{"seed", report.seed},
                                                              {"options", report.options},
                                                              {"violations", violations},
                                                              {"stuck", report.stuck},
                                                              {"faults", counters(report.faults)},
                                                              {"reached", counters(report.reached)}})
                << std::endl;
    } else {
      if (seeds > 1) {
        std::printf("seed %llu\noptions: %s\n", static_cast<unsigned long long>(report.seed),
                    report.options.c_str());
      }
      print(report.faults, "faults");
      print(report.reached, "reached");
      for (const auto& what : report.violations) std::printf("UNSAFE %s\n", what.c_str());
      if (!report.stuck.empty()) std::printf("STUCK %s\n", report.stuck.c_str());
    }
    const std::string stage = std::string(group ? " --group" : "") +
                              (group_options.members_only ? " --members" : "") +
                              (canary.empty() ? "" : " --canary " + canary) +
                              (resurrect.empty() ? "" : " --resurrect " + resurrect);
    const auto repeat = [&](std::uint64_t operations, const mainstay::sim::FaultChoice& with) {
      return "mainstay-sim" + stage + " --seed " + std::to_string(report.seed) + " --operations " +
             std::to_string(operations) + mainstay::sim::command_line(with);
    };
    std::printf("replay: %s\n", repeat(options.operations, faults).c_str());
    if (shrink) {
      std::fflush(stdout);
      const auto small = mainstay::sim::shrink(
          [&](std::uint64_t operations, const mainstay::sim::FaultChoice& with) {
            return run(report.seed, operations, with);
          },
          options.operations, faults);
      std::printf("smallest of %u runs that fail so: %llu operations, %zu faults\n", small.runs,
                  static_cast<unsigned long long>(small.operations), small.report.schedule.size());
      for (const auto& each : small.report.schedule)
        std::printf("  %9.4f s  fault %llu: %s\n", each.seconds, static_cast<unsigned long long>(each.number),
                    each.name.c_str());
      for (const auto& what : small.report.violations) std::printf("UNSAFE %s\n", what.c_str());
      if (!small.report.stuck.empty()) std::printf("STUCK %s\n", small.report.stuck.c_str());
      std::printf("replay: %s\n", repeat(small.operations, small.faults).c_str());
    }
    return safe ? 2 : 1;
  }
  const double real = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (json) {
    std::cout << boost::json::serialize(
                     boost::json::object{{"seed", first},
                                         {"seeds", seeds},
                                         {"published", totals.published},
                                         {"completed", totals.completed},
                                         {"lost_in_forced_promotion", totals.lost},
                                         {"events", totals.events},
                                         {"virtual_seconds", totals.virtual_seconds},
                                         {"real_seconds", real},
                                         {"times_real_time", totals.virtual_seconds / real},
                                         {"seeds_per_second", static_cast<double>(seeds) / real},
                                         {"threads", threads},
                                         {"faults", counters(totals.faults)},
                                         {"reached", counters(totals.reached)}})
              << std::endl;
    return 0;
  }
  print(totals.faults, "faults");
  print(totals.reached, "reached");
  std::printf(
      "%llu seeds safe: %llu messages acknowledged, %llu settled, %llu lost in forced promotions (unshipped "
      "tails)\n"
      "%.0f s simulated in %.1f s on %u thread(s): %.0f times as fast, %.1f seeds a second\n",
      static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(totals.published),
      static_cast<unsigned long long>(totals.completed), static_cast<unsigned long long>(totals.lost),
      totals.virtual_seconds, real, threads, totals.virtual_seconds / real,
      static_cast<double>(seeds) / real);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "mainstay-sim: %s\n", error.what());
  return 3;
}
