#include "drills/drill_series.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "drills/figures.h"
#include "drills/tsv.h"
#include "io/system_clock.h"

namespace mainstay::drills {
namespace {

namespace fs = std::filesystem;

/// Moves the evidence beside the report and, unless it is wanted, removes the rest.
void keep_evidence(const std::string& directory, bool whole_workspace) {
  std::error_code ignored;
  const std::string work = directory + "/work";
  for (const char* evidence : {"generated.tsv", "arrivals.tsv"})
    fs::copy_file(work + "/" + evidence, directory + "/" + evidence, fs::copy_options::overwrite_existing,
                  ignored);
  if (!whole_workspace) fs::remove_all(work, ignored);
}

Result<std::string, Failure> make_report_directory(const std::string& name, const std::string& report,
                                                   std::uint64_t seed, Clock& clock) {
  std::error_code error;
  std::string when = readable_time(clock.wall().ms).substr(0, 19);
  for (char& c : when)
    if (c == ' ' || c == ':') c = c == ' ' ? 'T' : '-';
  const std::string base =
      fs::absolute(report, error).string() + "/" + name + "-" + when + "-seed-" + std::to_string(seed);
  std::string directory = base;
  for (int again = 2; fs::exists(directory, error); ++again) directory = base + "-" + std::to_string(again);
  fs::create_directories(directory, error);
  if (error) return Failure{"cannot create the report directory " + directory + ": " + error.message()};
  return {boost::system::in_place_value, std::move(directory)};
}

std::string table_head(const std::vector<SeriesColumn>& columns) {
  std::string line = fmt::format("  {:>6}  {:>9}  {:>9}  {:>5}  {:>8}  {:>9}", "seed", "in", "delivered",
                                 "lost", "repeated", "reordered");
  for (const SeriesColumn& column : columns) line += fmt::format("  {:>13}", column.title);
  return line + fmt::format("  {:>8}  {}\n", "took", "verdict");
}

std::string table_line(std::uint64_t seed, const DrillReport& report,
                       const std::vector<SeriesColumn>& columns) {
  const AuditReport& audit = report.audit;
  std::string line =
      fmt::format("  {:>6}  {:>9}  {:>9}  {:>5}  {:>8}  {:>9}", seed, grouped(audit.in),
                  grouped(audit.delivered), audit.lost.size(), audit.repeated.size(), audit.reordered.size());
  for (const SeriesColumn& column : columns) line += fmt::format("  {:>13}", column.cell(report));
  return line + fmt::format("  {:>8}  {}\n", readable_seconds(report.duration_s),
                            report.clean()           ? "clean"
                            : report.failure.empty() ? "NOT CLEAN"
                                                     : "COULD NOT FINISH");
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

int run_series(const std::string& name, const DrillOptions& options, const std::vector<SeriesColumn>& columns,
               const std::function<DrillReport(const DrillPlace&)>& drill) {
  io::SystemClock clock;
  int status = 0;
  const bool many = options.seed_first != options.seed_last;
  std::string table = table_head(columns);
  for (std::uint64_t seed = options.seed_first;; ++seed) {
    const auto directory = make_report_directory(name, options.report, seed, clock);
    if (!directory) {
      fmt::print(stderr, "mainstay drill {}: {}\n", name, directory.error().what);
      return 2;
    }
    DrillReport report;
    {
      ProgressLine progress(clock);
      if (many) progress.say(fmt::format("seed {}", seed));
      report = drill({.seed = seed, .directory = *directory, .clock = clock, .progress = progress});
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
        fmt::print(stderr, "mainstay drill {}: {}\n", name, written.error().what);
        status = 2;
      }
    if (!report.failure.empty())
      status = 2;
    else if (!report.clean())
      status = std::max(status, 1);
    table += table_line(seed, report, columns);
    std::fflush(stdout);
    if (seed == options.seed_last) break;
  }
  if (many && !options.json) fmt::print("\n{}\n  reports in {}\n", table, options.report);
  return status;
}

}  // namespace mainstay::drills
