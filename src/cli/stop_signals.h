// How a command that works until it is told to end hears of it.
#pragma once

#include <atomic>

namespace mainstay::cli {

/// From now on SIGTERM and SIGINT set the flag instead of ending the process.
/// @return the flag: one for the process, for as long as it lives
[[nodiscard]] const std::atomic<bool>& stop_on_signals();

}  // namespace mainstay::cli
