// How safe a message must be before its publish is confirmed: the queue's least level, and what the producer
// asks for. docs/durability.md.
#pragma once

#include <optional>
#include <string_view>

#include "amqp/engine.h"
#include "base/bytes.h"
#include "broker/types.h"

namespace mainstay::frontend {

/// Link property of a client sender: the level of all its messages. A symbol or string: journal, region,
/// global.
inline constexpr std::string_view kDurabilityProperty = "mainstay:durability";
/// Message annotation: the level of this message, in place of its link's.
inline constexpr std::string_view kDurabilityAnnotation = "x-opt-mainstay-durability";

struct DurabilityAsked {
  std::optional<broker::Durability> level;  ///< nothing: nothing was asked
  std::optional<amqp::Condition> problem;   ///< asked for something that is no level
};
/// @param properties  of the attach: an encoded map, or empty
[[nodiscard]] DurabilityAsked durability_of_link(BytesView properties);
/// @param section  message-annotations with its descriptor, or empty
[[nodiscard]] DurabilityAsked durability_of_message(BytesView section);

/// What a confirm waits for; never less than what is asked.
struct DurabilityDue {
  broker::Durability level{};
  std::optional<amqp::Condition> refusal;  ///< the queue does not let producers ask for more
};
[[nodiscard]] DurabilityDue durability_due(const broker::QueueOptions& queue,
                                           std::optional<broker::Durability> asked);

}  // namespace mainstay::frontend
