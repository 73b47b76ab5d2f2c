// Every benchmark in turn, each in a process of its own, and the comparison with other brokers; then one
// table with every target. `--write-docs` keeps it in docs/performance.md with a chart.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <optional>
#include <sstream>

#include "harness.h"
#include "peers/best_rows.h"
#include "plan.h"
#include "report.h"

extern char** environ;

namespace mainstay::bench {
namespace {

struct Part {
  const char* name;
  double seconds, quick_seconds;  ///< about, on a machine of two cores
  Arguments quick;                ///< instead of the sizes that the targets are for
};
const std::vector<Part>& parts() {
  static const std::vector<Part> all = {
      {"journal", 60, 6, {"--rounds", "5", "--seconds", "0.1"}},
      {"publish", 120, 20, {"--rounds", "3", "--messages", "100000"}},
      {"e2e", 150, 30, {"--rounds", "3", "--seconds", "3", "--messages", "100000"}},
      {"latency", 60, 10, {"--rounds", "3", "--messages", "1000"}},
      {"backlog", 900, 40, {"--rounds", "3", "--shallow", "100000", "--deep", "500000", "--slice", "20000"}},
      {"restart", 600, 20, {"--rounds", "1", "--shallow", "100000", "--deep", "500000"}},
      {"many-queues",
       600,
       30,
       {"--rounds", "3", "--queues", "1000", "--connections", "100", "--messages", "50000"}},
      {"large", 90, 10, {"--rounds", "3", "--messages", "100"}},
      {"longrun", 1500, 20, {"--messages", "2000000"}},
      {"pair", 3600, 300, {"--quick"}},
      {"peers", 1000, 240, {"--quick"}},
  };
  return all;
}

std::string read_file(const std::string& path) {
  std::ifstream in(path);
  std::stringstream out;
  out << in.rdbuf();
  return out.str();
}
void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) throw CouldNotRun("cannot write " + path);
}

/// Runs a program to its end with our own output. @return its exit status; 2 when it could not be run, 128 +
/// the signal that ended it.
int run(const std::string& program, const Arguments& arguments) {
  std::vector<const char*> argv = {program.c_str()};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  argv.push_back(nullptr);
  pid_t pid = 0;
  if (const int failed =
          posix_spawn(&pid, program.c_str(), nullptr, nullptr, const_cast<char**>(argv.data()), environ);
      failed != 0) {
    std::cerr << "cannot start " << program << ": " << std::strerror(failed) << "\n";
    return 2;
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/// Stands in the table for a benchmark that gave no figures: its targets are missed.
Record not_measured(const std::string& name, const std::string& why) {
  Figure missing = at_most(figure(name + ".could_not_run", name + ": could not run", ""), 0);
  missing.note = why;
  return {name, "./dev bench " + name, "", {missing}, why};
}

/// What it measured, whole or not, with the reason.
std::vector<Record> measure(const Part& part, bool quick, const std::string& directory) {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string scratch =
      std::filesystem::temp_directory_path() / ("mainstay-bench-" + std::to_string(getpid()) + ".json");
  std::string program = self;
  Arguments with = {part.name};
  if (std::string(part.name) == "peers") {
    program = self.parent_path() / "mainstay-bench-peers";
    with.clear();
  }
  if (quick) with.insert(with.end(), part.quick.begin(), part.quick.end());
  if (!directory.empty()) with.insert(with.end(), {"--directory", directory});
  with.insert(with.end(), {"--json", scratch});
  std::filesystem::remove(scratch);
  const int status = run(program, with);
  auto found = from_json(read_file(scratch));
  std::filesystem::remove(scratch);
  const std::string why = status > 128 ? "ended by signal " + std::to_string(status - 128)
                                       : "could not run; its words are in the output of `bench all`";
  if (!found || found->empty()) return {not_measured(part.name, why)};
  if (status > 1 && exit_status(*found) != 2) found->front().trouble = why;
  for (Record& record : *found) {
    if (record.figures.empty()) record.figures = not_measured(part.name, record.trouble).figures;
  }
  return *found;
}

std::vector<Record> records_in(const std::string& file) {
  auto read = from_json(read_file(file));
  if (!read) throw CouldNotRun(file + " is not a file of benchmark records");
  // Records made before this was done: the rounds are in them.
  for (Record& record : *read) prefer_better_rows(record);
  return std::move(*read);
}

}  // namespace

int run_all(const Arguments& arguments) {
  std::vector<std::string> only, skip;
  std::string json_file, directory, from, resume, docs;
  bool quick = false;
  CLI::App app{
      "Every benchmark in sequence, `peers` included when it is built; then one table with every target.",
      "mainstay-bench all"};
  app.add_option("--only", only, "these benchmarks only")->delimiter(',');
  app.add_option("--skip", skip, "all but these")->delimiter(',');
  app.add_flag("--quick", quick,
               "small sizes, to see that everything runs: the figures say so and do not count");
  app.add_option("--directory", directory, "an existing directory on the disk to measure")
      ->default_str("the one for temporary files");
  app.add_option("--json", json_file, "writes every record to this file, again after each benchmark");
  auto* from_option =
      app.add_option("--from", from,
                     "takes the records from this file; measures again only what --only names")
          ->check(CLI::ExistingFile);
  app.add_option("--resume", resume,
                 "goes on with this file, which --json wrote: measures what is not in it or not whole, and "
                 "writes it again. Give --quick as the first time")
      ->check(CLI::ExistingFile)
      ->excludes(from_option);
  app.add_option("--write-docs", docs,
                 "directory with performance.md: its generated part and performance.svg are written anew")
      ->check(CLI::ExistingDirectory);
  app.footer(
      "Exit status: 0 every target reached, 1 at least one missed, 2 a benchmark or a peer could not be "
      "measured, or only in part: the others' figures are kept, and the reason is told.\n"
      "Examples:\n"
      "  ./dev bench all --quick\n"
      "  ./dev bench all --json figures.json --write-docs docs     one to two hours, 14 GB of disk\n"
      "  ./dev bench all --resume figures.json --write-docs docs   what is missing or was not whole\n"
      "  ./dev bench all --from figures.json --write-docs docs     the page again, without measuring\n"
      "  ./dev bench all --from figures.json --only latency --json figures.json     one of them again");
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
    for (const auto* names : {&only, &skip}) {
      for (const std::string& name : *names) {
        if (std::none_of(parts().begin(), parts().end(), [&](const Part& part) { return part.name == name; }))
          throw CLI::ValidationError("there is no benchmark \"" + name + "\"");
      }
    }
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  try {
    std::vector<Record> records;
    if (!from.empty()) records = records_in(from);
    if (!resume.empty()) {
      records = records_in(resume);
      if (json_file.empty()) json_file = resume;
    }
    std::vector<Planned> planned;
    for (const Part& part : parts())
      planned.push_back({part.name, quick ? part.quick_seconds : part.seconds});
    const std::vector<std::string> left = left_to_measure(planned, records);
    std::erase_if(planned, [&](const Planned& part) {
      const auto named = [&](const std::vector<std::string>& in) {
        return std::find(in.begin(), in.end(), part.name) != in.end();
      };
      return named(skip) || (only.empty() ? !from.empty() : !named(only)) ||
             (!resume.empty() && !named(left));
    });
    Schedule schedule(planned);
    for (std::size_t i = 0; i < planned.size(); ++i) {
      const Part& part = *std::find_if(parts().begin(), parts().end(),
                                       [&](const Part& each) { return each.name == planned[i].name; });
      std::cout << "\n== " << part.name << " (" << i + 1 << " of " << planned.size() << "; "
                << schedule.text() << ")\n"
                << std::flush;
      const double begun = seconds_now();
      const std::vector<Record> found = measure(part, quick, directory);
      merge(records, found);
      schedule.done(seconds_now() - begun, exit_status(found) != 2);
      // After each: what was measured in an hour must not be lost with what comes next.
      if (!json_file.empty()) write_file(json_file, to_json(records));
    }
    std::cout << "\n== every figure\n"
              << (records.empty() ? "" : records.front().environment) << "\n"
              << table(records) << std::flush;
    if (!docs.empty()) {
      const std::string page = docs + "/performance.md";
      const auto written = with_generated(read_file(page), markdown(records));
      if (!written) throw CouldNotRun(page + " lacks the markers of its generated part");
      write_file(page, *written);
      write_file(docs + "/performance.svg", chart_svg(records));
      std::cout << "written: " << page << ", " << docs << "/performance.svg\n";
    }
    return exit_status(records);
  } catch (const std::exception& error) {
    std::cerr << "bench all: " << error.what() << "\n";
    return 2;
  }
}

}  // namespace mainstay::bench
