// The benchmarks behind `mainstay-bench NAME` (`./dev bench NAME`). Each states its question at the top of
// its file, measures, and gives back what it found as a Record; bench/harness.h does what all have in common.
#pragma once

#include <string>
#include <vector>

namespace mainstay::bench {

/// One program argument list per benchmark, without the program's and the benchmark's name.
/// @return exit status: 0 targets reached (or help shown), 1 missed, 2 could not run or wrong options.
using Arguments = std::vector<std::string>;
int run_journal_bench(const Arguments& arguments);
int run_publish_bench(const Arguments& arguments);
int run_e2e_bench(const Arguments& arguments);
int run_latency_bench(const Arguments& arguments);
int run_backlog_bench(const Arguments& arguments);
int run_restart_bench(const Arguments& arguments);
int run_many_queues_bench(const Arguments& arguments);
int run_large_bench(const Arguments& arguments);
int run_longrun_bench(const Arguments& arguments);
int run_pair_bench(const Arguments& arguments);
int run_all(const Arguments& arguments);

}  // namespace mainstay::bench
