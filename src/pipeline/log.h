// Where the pipeline's sentences go. The caller decides how they are written down.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace mainstay::pipeline {

enum class Level : std::uint8_t { info, warning, error };
/// Called on the component's thread. Never given message contents: they are customer data.
using Log = std::function<void(Level, const std::string&)>;

}  // namespace mainstay::pipeline
