#include "cli/operator_name.h"

#include <unistd.h>

#include <cstdlib>

namespace mainstay::cli {

std::string operator_name() {
  const char* user = std::getenv("USER");
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  return "operator " + std::string(user != nullptr ? user : "uid " + std::to_string(getuid())) + "@" + host;
}

}  // namespace mainstay::cli
