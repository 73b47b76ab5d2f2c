// Feeds the files of a directory: real messages instead of made ones.
#pragma once

#include <memory>
#include <string>

#include "drills/feed.h"

namespace mainstay::drills {

/// @param directory  its regular files, subdirectories included, are copied in the order of their paths.
/// @param inbox  where they appear, by rename, under names that keep the order.
/// @param record  the ingest record to write. What is a duplicate or conflict is told by
/// payments::SeenMessages.
[[nodiscard]] Result<std::unique_ptr<Feed>, Failure> feed_directory(const std::string& directory,
                                                                    const std::string& inbox,
                                                                    const std::string& record);

}  // namespace mainstay::drills
