// Merging of the maps that consumers give with abandon and dead-letter into what earlier ones gave.
#pragma once

#include <optional>

#include "base/bytes.h"

namespace mainstay::broker {

/// Both are encoded AMQP maps (1.0 part 1, §1.6.23) or empty. @return the map with every entry of `newer`
/// and those of `older` whose key, compared by its encoding, `newer` does not have; nothing when one of them
/// is not a map or the result would be over `bytes_max`. Values are copied as they are, not looked into.
[[nodiscard]] std::optional<Buffer> merge_properties(BytesView older, BytesView newer, std::size_t bytes_max);

}  // namespace mainstay::broker
