// mainstay-sim: the production core under seeded faults. Exit status: 0 all seeds were safe and ended well, 1
// unsafe, 2 stuck, 3 wrong use (a crash ends with the signal's status).
#include <CLI/CLI.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>

#include "base/bytes.h"
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

}  // namespace

int main(int argc, char** argv) try {
  mainstay::sim::Options options;
  std::uint64_t seeds = 1;
  bool json = false;
  std::string canary;
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 3;
  }
  if (!canary.empty()) options.canary = *mainstay::sim::canary_named(canary);

  Totals totals;
  const auto began = std::chrono::steady_clock::now();
  const std::uint64_t first = options.seed;
  for (std::uint64_t i = 0; i < seeds; ++i) {
    options.seed = first + i;
    if (!json && seeds == 1) std::printf("seed %llu\n", static_cast<unsigned long long>(options.seed));
    std::fflush(stdout);
    const Report report = mainstay::sim::simulate(options);
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
    std::printf("replay: mainstay-sim --seed %llu --operations %llu%s\n",
                static_cast<unsigned long long>(report.seed),
                static_cast<unsigned long long>(options.operations),
                canary.empty() ? "" : (" --canary " + canary).c_str());
    return safe ? 2 : 1;
  }
  const double real = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (json) {
    std::cout << boost::json::serialize(boost::json::object{{"seed", first},
                                                            {"seeds", seeds},
                                                            {"published", totals.published},
                                                            {"completed", totals.completed},
                                                            {"lost_in_forced_promotion", totals.lost},
                                                            {"events", totals.events},
                                                            {"virtual_seconds", totals.virtual_seconds},
                                                            {"real_seconds", real},
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
      "%.0f s simulated in %.1f s: %.0f times as fast\n",
      static_cast<unsigned long long>(seeds), static_cast<unsigned long long>(totals.published),
      static_cast<unsigned long long>(totals.completed), static_cast<unsigned long long>(totals.lost),
      totals.virtual_seconds, real, totals.virtual_seconds / real);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "mainstay-sim: %s\n", error.what());
  return 3;
}
