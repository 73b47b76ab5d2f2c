#include "sim/shrink.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace mainstay::sim {
namespace {

std::string rule(const Report& report) {
  if (report.violations.empty()) return report.stuck.empty() ? "" : "stuck";
  const std::string& first = report.violations.front();
  return first.substr(0, first.find(':'));
}

class Shrinker {
 public:
  Shrinker(const Run& run, std::uint64_t operations, const FaultChoice& faults, unsigned runs_max)
      : run_(run), runs_max_(runs_max) {
    best_.operations = operations;
    best_.faults = faults;
    best_.report = run_(operations, faults);
    best_.runs = 1;
    rule_ = rule(best_.report);
  }

  ShrinkResult shrink() {
    for (std::size_t before = ~std::size_t{0}; before > size() && !out_of_runs();) {
      before = size();
      fewer_operations();
      fewer_classes();
      fewer_faults();
    }
    return std::move(best_);
  }

 private:
  [[nodiscard]] std::size_t size() const { return best_.operations + best_.report.schedule.size(); }
  [[nodiscard]] bool out_of_runs() const { return best_.runs >= runs_max_; }

  bool fails(std::uint64_t operations, const FaultChoice& faults) {
    if (out_of_runs()) return false;
    ++best_.runs;
    Report report = run_(operations, faults);
    if (rule_.empty() || rule(report) != rule_) return false;
    best_.operations = operations;
    best_.faults = faults;
    best_.report = std::move(report);
    return true;
  }

  void fewer_operations() {
    while (best_.operations > 1 && fails(best_.operations / 2, best_.faults)) {
    }
    while (best_.operations > 1 && fails(best_.operations - 1, best_.faults)) {
    }
  }

  void fewer_classes() {
    std::set<std::string> there;
    for (const InjectedFault& each : best_.report.schedule) there.insert(each.name);
    for (const std::string& name : there) {
      FaultChoice without = best_.faults;
      without.without.insert(name);
      (void)fails(best_.operations, without);
    }
  }

  /// What happened in the smallest run, in halves, quarters, …, one by one.
  void fewer_faults() {
    std::set<std::uint64_t> kept;
    for (const InjectedFault& each : best_.report.schedule) kept.insert(each.number);
    // Said by what is there: classes that are left out say no more then.
    FaultChoice only;
    only.only = kept;
    if (!fails(best_.operations, only)) return;
    for (std::size_t part = std::max<std::size_t>(1, kept.size() / 2);; part /= 2) {
      bool smaller = false;
      const std::vector<std::uint64_t> numbers(kept.begin(), kept.end());
      for (std::size_t from = 0; from < numbers.size(); from += part) {
        std::set<std::uint64_t> fewer = kept;
        for (std::size_t i = from; i < std::min(numbers.size(), from + part); ++i) fewer.erase(numbers[i]);
        if (fewer.size() == kept.size()) continue;
        FaultChoice choice;
        choice.only = fewer;
        if (!fails(best_.operations, choice)) continue;
        kept = std::move(fewer);
        smaller = true;
      }
      if (part == 1 && !smaller) break;
      if (part == 1) part = 2;  // once more, one by one
      if (out_of_runs()) break;
    }
    // Those that could not be any more, for want of others.
    std::set<std::uint64_t> happened;
    for (const InjectedFault& each : best_.report.schedule) happened.insert(each.number);
    best_.faults.only = happened;
  }

  const Run& run_;
  unsigned runs_max_;
  std::string rule_;
  ShrinkResult best_;
};

}  // namespace

ShrinkResult shrink(const Run& run, std::uint64_t operations, const FaultChoice& faults, unsigned runs_max) {
  return Shrinker(run, operations, faults, runs_max).shrink();
}

std::string command_line(const FaultChoice& faults) {
  std::string text;
  if (faults.only) {
    text += " --only ";
    if (faults.only->empty()) text += "none";
    bool first = true;
    for (const std::uint64_t number : *faults.only)
      text += (std::exchange(first, false) ? "" : ",") + std::to_string(number);
  }
  bool first = true;
  for (const std::uint64_t number : faults.masked)
    text += (std::exchange(first, false) ? " --mask " : ",") + std::to_string(number);
  for (const std::string& name : faults.without) text += " --without '" + name + "'";
  return text;
}

}  // namespace mainstay::sim
