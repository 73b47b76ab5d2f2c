// `mainstay verify DIR --compare OTHER`: are two directories the same log and the same state of it? The
// comparing is replica/compare_directories.h; this prints it.
#include "cli/verify_compare.h"

#include <array>
#include <boost/json.hpp>
#include <filesystem>
#include <iostream>

#include "cli/data_directory.h"
#include "cli/exit_codes.h"
#include "cli/member_reports.h"
#include "drills/progress_line.h"
#include "io/system_clock.h"
#include "replica/compare_directories.h"

namespace mainstay::cli {
namespace {

namespace json = boost::json;
using Outcome = replica::DirectoryComparison::Outcome;
using LogVerdict = replica::LogComparison::Verdict;
using StateVerdict = replica::StateComparison::Verdict;

/// One of the two, as it is shown.
struct Shown {
  std::string directory;
  std::string name;  ///< tells it from the other
  DataDirectory opened;
  std::optional<DirectoryReport> report;  ///< of a group
  std::string report_problem;             ///< the superblock is damaged or can't be read
};

const char* text(Outcome outcome) {
  switch (outcome) {
    case Outcome::equal:
      return "equal";
    case Outcome::differ:
      return "differ";
    case Outcome::damaged:
      return "damaged";
    case Outcome::not_compared:
      return "not compared";
  }
  return "unknown";
}

const char* text(LogVerdict verdict) {
  switch (verdict) {
    case LogVerdict::equal:
      return "equal";
    case LogVerdict::differ:
      return "differ";
    case LogVerdict::nothing_in_common:
      return "nothing in common";
  }
  return "unknown";
}

const char* text(StateVerdict verdict) {
  switch (verdict) {
    case StateVerdict::equal:
      return "equal";
    case StateVerdict::differ:
      return "differ";
    case StateVerdict::not_compared:
      return "not compared";
  }
  return "unknown";
}

json::array texts(const std::vector<std::string>& from) {
  json::array out;
  for (const std::string& text : from) out.push_back(json::value(text));
  return out;
}

json::value record_object(const std::optional<replica::RecordSight>& record) {
  if (!record) return nullptr;
  return json::object{
      {"epoch", record->epoch.value}, {"type", journal::name_of(record->type)}, {"hash", hex(record->hash)}};
}

json::value state_object(const std::optional<replica::StateAt>& state) {
  if (!state) return nullptr;
  return json::object{
      {"hash", hex(state->hash)},
      {"messages", state->messages},
      {"from_checkpoint_lsn", state->checkpoint.value},
      {"recorded_by_lsn", state->recorded ? json::value(state->recorded_by.value) : json::value(nullptr)}};
}

json::object directory_object(const Shown& shown, const replica::ComparedDirectory& found) {
  json::value group = nullptr;
  if (shown.report) {
    group = json::object{{"committed_lsn", shown.report->committed.value},
                         {"report", json::parse(coordination::encode_member_report(shown.report->report))}};
  }
  json::value reach = nullptr;
  if (found.reach.from)
    reach = json::object{{"from_lsn", found.reach.from->value}, {"to_lsn", found.reach.to.value}};
  return {{"directory", shown.opened.shown},
          {"name", shown.name},
          {"node", found.node},
          {"incarnation", found.incarnation.text()},
          {"first_lsn", found.first.value},
          {"last_lsn", found.end.lsn.value},
          {"hash", hex(found.end.hash)},
          {"epoch", found.epoch.value},
          {"records", found.log.records},
          {"torn_bytes", found.log.torn_bytes},
          {"problems", texts(found.log.problems)},
          {"state_reach", reach},
          {"quarantine", texts(found.quarantine)},
          {"group", group},
          {"group_problem", shown.report_problem}};
}

json::value lsn_or_null(bool known, Lsn lsn) {
  if (!known) return nullptr;
  return lsn.value;
}

json::object log_object(const replica::LogComparison& log, replica::Meaning::Counts counts) {
  const bool in_common = log.verdict != LogVerdict::nothing_in_common;
  json::value difference = nullptr;
  if (log.verdict == LogVerdict::differ) {
    difference = json::object{{"lsn", log.differ_at.value},
                              {"exact", log.exact()},
                              {"first", record_object(log.first)},
                              {"second", record_object(log.second)}};
  }
  json::value goes_on = nullptr;
  if (counts == replica::Meaning::Counts::first) goes_on = "first";
  if (counts == replica::Meaning::Counts::second) goes_on = "second";
  return {{"verdict", text(log.verdict)},
          {"from_lsn", lsn_or_null(in_common, log.from)},
          {"to_lsn", lsn_or_null(in_common, log.to)},
          {"equal_to_lsn", lsn_or_null(in_common && log.equal_to, log.equal_to.value_or(Lsn{}))},
          {"difference", difference},
          {"goes_on", goes_on}};
}

json::object to_json(const std::array<Shown, 2>& shown, const replica::DirectoryComparison& found,
                     const replica::Meaning& meaning, Outcome outcome) {
  const replica::StateComparison& state = found.state;
  return {{"ok", outcome == Outcome::equal},
          {"verdict", text(outcome)},
          {"cluster", found.first.cluster.text()},
          {"first", directory_object(shown[0], found.first)},
          {"second", directory_object(shown[1], found.second)},
          {"log", log_object(found.log, meaning.counts)},
          {"state", json::object{{"verdict", text(state.verdict)},
                                 {"lsn", lsn_or_null(state.first || state.second, state.at)},
                                 {"first", state_object(state.first)},
                                 {"second", state_object(state.second)},
                                 {"damaged", state.damaged},
                                 {"why", state.why}}},
          {"must_never_be", meaning.impossible},
          {"meaning", texts(meaning.sentences)}};
}

/// Shows nothing before two seconds have passed: most comparisons are over by then.
class Progress {
 public:
  explicit Progress(Clock& clock) : clock_(clock), from_(clock.now() + seconds(2)) {}
  void show(const std::string& name, const char* doing, Lsn lsn, Lsn of) {
    if (clock_.now() < from_) return;
    if (!line_) line_.emplace(clock_);
    line_->show(name + ": " + doing + ", LSN " + std::to_string(lsn.value) +
                (of > Lsn{} ? " of " + std::to_string(of.value) : ""));
  }

 private:
  Clock& clock_;
  const Instant from_;
  std::optional<drills::ProgressLine> line_;
};

replica::ComparedSide side_of(const Shown& shown, const replica::ComparedDirectory& found) {
  replica::ComparedSide out;
  out.name = shown.name;
  out.member = {found.node, found.incarnation};
  out.first = found.first;
  out.end = found.end.lsn;
  out.epoch = found.epoch;
  if (shown.report) {
    out.member = shown.report->report.member;
    out.group = replica::ComparedSide::Group{shown.report->committed, shown.report->report.record};
  }
  return out;
}

void print_record(const std::string& name, const replica::RecordSight& record) {
  std::cout << "            " << name << ": epoch " << record.epoch.value << ", "
            << journal::name_of(record.type) << ", hash " << hex(record.hash) << "\n";
}

void print(const std::array<Shown, 2>& shown, const replica::DirectoryComparison& found,
           const replica::Meaning& meaning) {
  const std::array<const replica::ComparedDirectory*, 2> sides{&found.first, &found.second};
  for (std::size_t i = 0; i < 2; ++i) {
    const replica::ComparedDirectory& it = *sides[i];
    std::cout << (i == 0 ? "first       " : "second      ") << shown[i].name;
    if (shown[i].name != shown[i].opened.shown) std::cout << " in " << shown[i].opened.shown;
    std::cout << "\n            disk " << it.incarnation.text() << ", LSN " << it.first.value << " to "
              << it.end.lsn.value << ", last epoch " << it.epoch.value << ", hash " << hex(it.end.hash)
              << "\n";
    if (shown[i].report) {
      const coordination::MemberReport& report = shown[i].report->report;
      std::cout << "            group: promised epoch " << report.promised.value << ", LSN "
                << shown[i].report->committed.value << " committed at least";
      if (report.record)
        std::cout << ", last record believed: epoch " << report.record->epoch.value << ", led by "
                  << report.record->leader.node;
      std::cout << "\n";
    }
    if (it.log.torn_bytes > 0) {
      std::cout << "            torn tail " << it.log.torn_bytes
                << " bytes, never acknowledged; no part of what is compared\n";
    }
    for (const std::string& name : it.quarantine) std::cout << "            quarantine/" << name << "\n";
    for (const std::string& problem : it.log.problems) std::cout << "PROBLEM     " << problem << "\n";
    if (!shown[i].report_problem.empty()) std::cout << "GROUP       " << shown[i].report_problem << "\n";
  }
  const replica::LogComparison& log = found.log;
  std::cout << "logs        ";
  switch (log.verdict) {
    case LogVerdict::nothing_in_common:
      std::cout << "not compared: no LSN is in both\n";
      break;
    case LogVerdict::equal:
      std::cout << "equal up to LSN " << log.to.value << ", hash " << hex(log.hash) << "\n";
      break;
    case LogVerdict::differ:
      std::cout << (log.exact() ? "DIFFER from LSN " : "DIFFER at LSN ") << log.differ_at.value << " on\n";
      if (log.first) print_record(shown[0].name, *log.first);
      if (log.second) print_record(shown[1].name, *log.second);
      break;
  }
  const replica::StateComparison& state = found.state;
  std::cout << "states      ";
  switch (state.verdict) {
    case StateVerdict::equal:
      std::cout << "equal at LSN " << state.at.value << ", hash " << hex(state.first->hash) << ", "
                << state.first->messages << " messages\n";
      break;
    case StateVerdict::differ:
      std::cout << "DIFFER at LSN " << state.at.value << "\n";
      break;
    case StateVerdict::not_compared:
      std::cout << (state.damaged ? "DAMAGED: " : "not compared: ") << state.why << "\n";
      break;
  }
  for (const auto& [name, at] :
       {std::pair(shown[0].name, state.first), std::pair(shown[1].name, state.second)}) {
    if (!at) continue;
    std::cout << "            " << name << ": hash " << hex(at->hash) << ", from "
              << (at->checkpoint == Lsn{} ? "the first record"
                                          : "checkpoint " + std::to_string(at->checkpoint.value));
    if (at->recorded) std::cout << ", as record " << at->recorded_by.value << " of the log says";
    std::cout << "\n";
    if (!at->not_used.empty()) std::cout << "            not used: " << at->not_used << "\n";
  }
  for (const std::string& sentence : meaning.sentences) std::cout << "meaning     " << sentence << ".\n";
}

/// The two of a name that differs; else where they are.
void name_them(std::array<Shown, 2>& shown, const replica::DirectoryComparison& found) {
  const bool told = !found.first.node.empty() && found.first.node != found.second.node;
  shown[0].name = told ? found.first.node : shown[0].opened.shown;
  shown[1].name = told ? found.second.node : shown[1].opened.shown;
}

int fail(const std::string& what, int status) {
  std::cerr << "mainstay verify: " << what << "\n";
  return status;
}

}  // namespace

int verify_compare(const CompareArguments& arguments) {
  std::error_code unknown;
  if (std::filesystem::equivalent(arguments.first, arguments.second, unknown))
    return fail(arguments.first + " and " + arguments.second +
                    " are the same directory: give those of two nodes, or a node's and its copy",
                kUsage);
  io::SystemClock clock;
  std::array<Shown, 2> shown;
  for (std::size_t i = 0; i < 2; ++i) {
    shown[i].directory = i == 0 ? arguments.first : arguments.second;
    auto opened = open_data_directory(shown[i].directory);
    if (!opened) return fail(opened.error().what, kCouldNotRun);
    shown[i].opened = std::move(*opened);
    shown[i].name = shown[i].opened.shown;
    auto report = read_member_directory(shown[i].directory, clock);
    if (!report) {
      shown[i].report_problem = report.error().what;
    } else if (*report) {
      shown[i].report_problem = (*report)->damaged;
      shown[i].report = std::move(**report);
    }
  }
  Progress progress(clock);
  replica::CompareOptions options;
  if (arguments.at) options.at = Lsn{*arguments.at};
  options.progress = [&](bool second, const char* doing, Lsn lsn, Lsn of) {
    progress.show(shown[second ? 1 : 0].name, doing, lsn, of);
  };
  const auto found =
      replica::compare_directories(*shown[0].opened.disk, "", *shown[1].opened.disk, "", options);
  if (!found)
    return fail(found.error().what,
                found.error().kind == replica::CompareError::Kind::other_cluster ? kUsage : kCouldNotRun);
  name_them(shown, *found);
  const replica::Meaning meaning =
      replica::explain(found->log, side_of(shown[0], found->first), side_of(shown[1], found->second));
  Outcome outcome = found->outcome();
  const bool superblock = !shown[0].report_problem.empty() || !shown[1].report_problem.empty();
  if (outcome != Outcome::differ && (superblock || meaning.impossible)) outcome = Outcome::damaged;
  if (arguments.json) {
    std::cout << json::serialize(to_json(shown, *found, meaning, outcome)) << "\n";
  } else {
    print(shown, *found, meaning);
    switch (outcome) {
      case Outcome::equal:
        std::cout << "the same log and the same state\n";
        break;
      case Outcome::differ:
        std::cout << "they differ\n";
        break;
      case Outcome::damaged:
        std::cout << "what is damaged or must never be is named above\n";
        break;
      case Outcome::not_compared:
        std::cout << "nothing that could be compared differs, but not both of log and state could be\n";
        break;
    }
  }
  switch (outcome) {
    case Outcome::equal:
      return kOk;
    case Outcome::differ:
    case Outcome::damaged:
      return kNotClean;
    case Outcome::not_compared:
      return kCouldNotRun;
  }
  return kCouldNotRun;
}

}  // namespace mainstay::cli
