// Question: what does the journal cost over the disk itself? See journal_bench.cpp.
#pragma once

#include <string>
#include <vector>

namespace mainstay::bench {

/// Options: --dir DIR (on the disk to measure; default "."), --rounds N (≥ 5), --seconds S (per measurement),
/// --json, --help. Prints a table, or one JSON object.
/// @return 0 when the journal reaches its target, 1 when not, 2 for wrong options or trouble.
int run_journal_bench(const std::vector<std::string>& args);

}  // namespace mainstay::bench
