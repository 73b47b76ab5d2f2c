#include "harness.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "environment.h"

namespace mainstay::bench {
namespace {

/// The directory of one run.
class Workspace {
 public:
  explicit Workspace(const std::string& base) : path(base + "/mainstay-bench-XXXXXX") {
    if (mkdtemp(path.data()) == nullptr)
      throw CouldNotRun("cannot make a directory in " + base + ": --directory names one that can be written");
  }
  ~Workspace() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  std::string path;
};

std::string command_of(const std::string& name, const Arguments& arguments) {
  std::string out = "./dev bench " + name;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--json") {
      ++i;  // where the file went is nobody's business
    } else {
      out += " " + arguments[i];
    }
  }
  return out;
}

}  // namespace

int run_benchmark(const Benchmark& benchmark, const Arguments& arguments,
                  const std::function<void(CLI::App&)>& add_options,
                  const std::function<void(const Common&, Record&)>& measure) {
  Common common;
  common.rounds = benchmark.rounds;
  std::string base;
  CLI::App app{benchmark.question, "mainstay-bench " + benchmark.name};
  add_options(app);
  if (benchmark.rounds > 0)
    app.add_option("--rounds", common.rounds, "measured in turns; medians count")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
  app.add_option("--directory", base, "an existing directory on the disk to measure")
      ->default_str("the one for temporary files");
  app.add_option("--program", common.program, "the mainstay binary")->default_str("the one beside this");
  app.add_option("--json", common.json_file, "writes the figures to this file as well");
  app.footer("Exit status: 0 every target reached, 1 at least one missed, 2 could not run.\nExamples:\n" +
             benchmark.examples);
  try {
    std::vector<std::string> reversed(arguments.rbegin(), arguments.rend());
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  Record record;
  record.benchmark = benchmark.name;
  record.command = command_of(benchmark.name, arguments);
  try {
    if (common.program.empty())
      common.program = std::filesystem::read_symlink("/proc/self/exe").parent_path() / "mainstay";
    if (!std::filesystem::exists(common.program))
      throw CouldNotRun(common.program + " is not there: build it, or name one with --program");
    if (base.empty()) base = std::filesystem::temp_directory_path().string();
    if (!std::filesystem::is_directory(base)) throw CouldNotRun(base + " is not a directory");
    const Workspace workspace(base);
    common.directory = workspace.path;
    record.environment = environment_text(workspace.path);
    std::cout << record.environment << "\n" << std::flush;
    measure(common, record);
  } catch (const std::exception& error) {
    record.trouble = error.what();
    std::cerr << "bench " << benchmark.name << ": " << error.what() << "\n";
  }
  if (!record.figures.empty()) std::cout << table({record}) << std::flush;
  if (!common.json_file.empty()) {
    std::ofstream out(common.json_file);
    out << to_json({record});
    out.close();
    if (!out) {
      std::cerr << "bench " << benchmark.name << ": cannot write " << common.json_file << "\n";
      return 2;
    }
  }
  return exit_status({record});
}

Progress::Progress(std::string what)
    : what_(std::move(what)), next_(Clock::now() + std::chrono::seconds(2)) {}
Progress::~Progress() {
  if (shown_ && isatty(STDERR_FILENO) == 1) std::fprintf(stderr, "\r\033[K");
}
void Progress::at(std::uint64_t done, std::uint64_t of) {
  const auto now = Clock::now();
  if (now < next_) return;
  next_ = now + std::chrono::seconds(2);
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const std::string total = of == 0 ? "" : " of " + readable(static_cast<double>(of));
  std::fprintf(stderr, "%s%s: %s%s%s", terminal ? "\r\033[K" : "", what_.c_str(),
               readable(static_cast<double>(done)).c_str(), total.c_str(), terminal ? "" : "\n");
  std::fflush(stderr);
  shown_ = true;
}

std::uint64_t messages_that_fit(const std::string& directory, std::uint64_t wanted, std::uint64_t bytes_each,
                                std::string& note) {
  const std::uint64_t space = free_bytes(directory);
  const std::uint64_t fit = (space - space / 10) / bytes_each;
  if (fit >= wanted) return wanted;
  constexpr double kGiB = 1024.0 * kMiB;
  note = "only " + readable(static_cast<double>(space) / kGiB) + " GiB are free: measured with " +
         readable(static_cast<double>(fit)) + " messages instead of " +
         readable(static_cast<double>(wanted)) + ", which need " +
         readable(static_cast<double>(wanted * bytes_each) / kGiB / 0.9) + " GiB";
  std::cerr << note << "\n";
  if (fit < 10'000) throw CouldNotRun("not enough space in " + directory + ": " + note);
  return fit;
}

Figure figure(std::string id, std::string what, std::string unit) {
  Figure out;
  out.id = std::move(id);
  out.what = std::move(what);
  out.unit = std::move(unit);
  return out;
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double quantile(std::vector<float>& of, double q) {
  if (of.empty()) return 0;
  const auto at = of.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(of.size() - 1));
  std::nth_element(of.begin(), at, of.end());
  return static_cast<double>(*at);
}

}  // namespace mainstay::bench
