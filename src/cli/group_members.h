// The part of `mainstay group` that asks running nodes about who is one of the group.
#pragma once

#include <CLI/CLI.hpp>
#include <boost/json/value.hpp>

#include "config/broker_config.h"

namespace mainstay::cli {

void add_group_members(CLI::App& group, int& out);

/// `group` of the node's /status; null when it does not answer within a few seconds, is another
/// node than the configuration's, or knows nothing of nodes.
[[nodiscard]] boost::json::value live_group(const config::BrokerConfig& config);
/// A line for each node.
void print_live_group(const boost::json::value& live);

}  // namespace mainstay::cli
