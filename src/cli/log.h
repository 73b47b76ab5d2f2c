// The process's log on standard error: time, level, text; one line each.
#pragma once

#include <string>

#include "node/options.h"

namespace mainstay::cli {

/// @param level  debug, info, warning or error. @param name  what the lines are from, e.g. "east-1".
node::LogSink stderr_log(const std::string& level, const std::string& name);

}  // namespace mainstay::cli
