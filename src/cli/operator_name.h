// Who gives a command, as registers and logs keep it.
#pragma once

#include <string>

namespace mainstay::cli {

/// "operator user@host"
[[nodiscard]] std::string operator_name();

}  // namespace mainstay::cli
