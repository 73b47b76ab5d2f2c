// Undoes what was not durable, from what the disk layer noted (disk_format.h).
#pragma once

#include <string>

#include "base/result.h"
#include "lab/faulty_disk.h"

namespace mainstay::lab {

/// See FaultyDisk::take_back(). Leaves `state` without notes.
[[nodiscard]] Result<TakenBack, Failure> take_back(const std::string& directory, const std::string& state,
                                                   const Loss& loss);

}  // namespace mainstay::lab
