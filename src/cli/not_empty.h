// For words that must be given: an empty one says nothing, and is a wrong command line.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace mainstay::cli {

inline CLI::Validator not_empty() {
  return {[](std::string& word) { return word.empty() ? std::string("must not be empty") : std::string(); },
          ""};
}

}  // namespace mainstay::cli
