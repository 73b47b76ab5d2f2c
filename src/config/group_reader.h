// Reads `[group]`. Internal to config.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/common.h"
#include "config/group_config.h"

namespace mainstay::config {

/// Nothing when the table is absent. Placement is checked here: problems go to `report`, allowed ones into
/// the result. @param voter_places  of `place.voters`
std::optional<GroupConfig> read_group(TableReader& table, Report& report, const std::string& name,
                                      const std::string& region, const RegisterPlace& place,
                                      const std::vector<Place>& voter_places);

}  // namespace mainstay::config
