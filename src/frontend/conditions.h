// Broker errors as AMQP conditions (service-bus-dialect.md §8), and outcomes' maps as the broker takes them.
#pragma once

#include <string>

#include "amqp/engine.h"
#include "base/bytes.h"
#include "broker/types.h"

namespace mainstay::frontend {

[[nodiscard]] amqp::Condition condition_of(const broker::BrokerError& error);

/// What a client's `rejected` says: reason, description and the other entries of the error's info map.
struct DeadLetterRequest {
  std::string reason, description;
  Buffer properties;  ///< encoded AMQP map with string keys; empty when none
};
[[nodiscard]] DeadLetterRequest dead_letter_request(const amqp::Outcome& rejected);

/// The map with its keys as strings; empty when none is left or it is no map.
[[nodiscard]] Buffer with_string_keys(BytesView encoded_map);

/// `modified`'s message-annotations as an encoded map with string keys, to be merged into application
/// properties.
[[nodiscard]] Buffer modified_properties(const amqp::Outcome& modified);

}  // namespace mainstay::frontend
