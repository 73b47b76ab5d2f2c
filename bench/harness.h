// What every benchmark has in common: options, a directory on the disk to measure, progress, and the way
// from figures to table, file and exit status.
#pragma once

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "bench.h"
#include "figures.h"

namespace mainstay::bench {

/// The benchmark cannot be run or its own check failed (a message came twice, the broker ended): no figure,
/// exit status 2. Figures that the record had before are kept, and the reason with them.
struct CouldNotRun : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Common {
  std::string program;    ///< the mainstay binary
  std::string directory;  ///< made for this run, on the disk to measure; gone afterwards
  int rounds = 5;
  std::string json_file;
};

/// Runs one benchmark: parses, prints the environment, calls `measure`, prints table and file.
/// @param add_options  the benchmark's own options; `common.rounds` holds the default for --rounds.
/// @param measure  fills Record::figures; the rest is there already.
struct Benchmark {
  std::string name;
  std::string question;  ///< one sentence for --help
  std::string examples;  ///< for --help: whole lines
  int rounds = 5;        ///< 0: it has no rounds, and no option --rounds
};
int run_benchmark(const Benchmark& benchmark, const Arguments& arguments,
                  const std::function<void(CLI::App&)>& add_options,
                  const std::function<void(const Common&, Record&)>& measure);

/// A line on standard error once a measurement has taken two seconds, then every two seconds (on a terminal:
/// the same line again).
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// @param of  0: not known
  void at(std::uint64_t done, std::uint64_t of);

 private:
  using Clock = std::chrono::steady_clock;
  std::string what_;
  Clock::time_point next_;
  bool shown_ = false;
};

/// `wanted` messages, or as many as fit in `bytes_each` on the disk with a tenth left free. When fewer:
/// `note` says so and what would be needed.
std::uint64_t messages_that_fit(const std::string& directory, std::uint64_t wanted, std::uint64_t bytes_each,
                                std::string& note);

/// Moves: `figures` in order, medians over rounds.
Figure figure(std::string id, std::string what, std::string unit);
inline Figure at_least(Figure f, double target) {
  f.at_least = target;
  return f;
}
inline Figure at_most(Figure f, double target) {
  f.at_most = target;
  return f;
}

double seconds_now();  ///< monotonic
/// The value below which the fraction `q` of them lies; reorders. 0 of none.
double quantile(std::vector<float>& of, double q);
constexpr double kMiB = 1048576.0;

}  // namespace mainstay::bench
