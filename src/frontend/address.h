// Node addresses as clients write them (service-bus-dialect.md §4).
#pragma once

#include <string>
#include <string_view>

#include "broker/types.h"

namespace mainstay::frontend {

struct Address {
  std::string entity;  ///< without scheme, authority, leading '/', sub-queue suffix; percent-decoded
  broker::SubQueue sub = broker::SubQueue::active;
  bool management = false;  ///< the request/response node of the entity or of its dead-letter queue
};

/// Reads an address: an entity name, a path or a whole URI (`amqps://host/entity`), `…/$DeadLetterQueue`,
/// `…/$management` or both, in any case.
[[nodiscard]] Address read_address(std::string_view text);

}  // namespace mainstay::frontend
