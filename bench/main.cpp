// `mainstay-bench NAME …`: every benchmark behind one name. `./dev bench NAME` builds it for release and runs
// it.
#include <cstring>
#include <iostream>

#include "bench.h"
#include "journal_bench.h"

int main(int argc, char** argv) {
  if (argc >= 2 && std::strcmp(argv[1], "journal") == 0) {
    return mainstay::bench::run_journal_bench({argv + 2, argv + argc});
  }
  if (argc >= 2 && std::strcmp(argv[1], "publish") == 0)
    return mainstay::bench::run_publish_bench(argc - 1, argv + 1);
  std::cout
      << "Usage: mainstay-bench NAME [options]\n\n"
         "  journal   the journal's group commit against a bare loop of write and sync, as a ratio\n"
         "  publish   AMQP publish with confirm; publish + receive + complete; one message in flight\n\n"
         "`mainstay-bench NAME --help` lists the options. Figures count only from a release build on a quiet "
         "machine.\n"
         "Exit status: 0 targets reached, 1 not reached, 2 could not run.\n";
  return argc >= 2 && std::strcmp(argv[1], "--help") == 0 ? 0 : 2;
}
