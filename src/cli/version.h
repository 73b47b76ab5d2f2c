#pragma once

namespace mainstay::cli {

inline constexpr const char* kVersion = MAINSTAY_VERSION;

}  // namespace mainstay::cli
