#include "journal_bench.h"

int main(int argc, char** argv) {
  return mainstay::bench::run_journal_bench({argv + 1, argv + argc});
}
