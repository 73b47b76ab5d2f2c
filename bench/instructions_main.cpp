// `mainstay-instructions NAME COUNT`: does one scenario, for a tool that counts instructions around it.
// `--list`: name and unit of each, a line each. bench/instructions.py drives it.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "scenarios.h"

int main(int argc, char** argv) {
  using mainstay::bench::scenarios;
  if (argc == 2 && std::string(argv[1]) == "--list") {
    for (const auto& scenario : scenarios()) std::printf("%s %s\n", scenario.name, scenario.unit);
    return 0;
  }
  if (argc == 2 && std::string(argv[1]) == "--compiler") {
    std::printf("%s\n", __VERSION__);
    return 0;
  }
  if (argc == 3) {
    for (const auto& scenario : scenarios()) {
      if (std::string(argv[1]) != scenario.name) continue;
      scenario.run(std::strtoull(argv[2], nullptr, 10));
      return 0;
    }
  }
  std::fprintf(stderr, "usage: mainstay-instructions --list | --compiler | NAME COUNT\n");
  return 2;
}
