// Figures as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace mainstay::drills {

/// "20,000".
[[nodiscard]] std::string grouped(std::uint64_t number);
/// "0 ms", "420 ms", "1.93 s", "2 min 03 s", "4 h 10 min".
[[nodiscard]] std::string readable_seconds(double seconds);
/// "2026-11-21 14:03:07 UTC".
[[nodiscard]] std::string readable_time(std::int64_t wall_ms);

}  // namespace mainstay::drills
