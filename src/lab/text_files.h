// Whole files as text: logs, evidence, configuration of what a drill starts.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace mainstay::lab {

/// A whole file as text. The failure names path and the system's reason.
[[nodiscard]] Result<std::string, Failure> read_text_file(const std::string& path);

/// Creates or replaces a file, not durably: for reports and drill evidence, which a crash may lose.
[[nodiscard]] Result<void, Failure> write_text_file(const std::string& path, std::string_view content);

}  // namespace mainstay::lab
