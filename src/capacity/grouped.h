// Numbers as people read them, for this room's texts.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>

namespace mainstay::capacity {

/// "12,345"; three digits when small.
inline std::string grouped(double number) {
  if (std::fabs(number) < 100 && number != std::floor(number)) return fmt::format("{:.3g}", number);
  std::string out = fmt::format("{:.0f}", number);
  for (std::size_t at = out.size(); at > (out[0] == '-' ? 4U : 3U);) out.insert(at -= 3, ",");
  return out;
}

}  // namespace mainstay::capacity
