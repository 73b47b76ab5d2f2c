// Exit statuses of `mainstay`, documented in `mainstay --help`.
#pragma once

namespace mainstay::cli {

inline constexpr int kOk = 0;        ///< done; for checks: clean
inline constexpr int kNotClean = 1;  ///< the check or audit found something
inline constexpr int kCouldNotRun =
    2;  ///< refused, unreachable, stuck or timed out; nothing is known to be wrong with the data
inline constexpr int kUsage = 64;          ///< wrong command line
inline constexpr int kConfiguration = 78;  ///< wrong configuration file
inline constexpr int kStopped =
    70;  ///< a running node stopped itself: it could not trust disk or log any more

}  // namespace mainstay::cli
