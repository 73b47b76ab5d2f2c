// When a message is to be enqueued, as its sender says.
#pragma once

#include <optional>

#include "amqp/engine.h"
#include "base/bytes.h"
#include "base/clock.h"

namespace mainstay::frontend {

/// Message annotation: a timestamp.
inline constexpr std::string_view kScheduledEnqueueAnnotation = "x-opt-scheduled-enqueue-time";

struct ScheduleAsked {
  std::optional<WallTime> time;            ///< nothing: at once
  std::optional<amqp::Condition> problem;  ///< it is no timestamp
};
/// @param section  message-annotations with its descriptor, or empty
[[nodiscard]] ScheduleAsked schedule_of_message(BytesView section);

}  // namespace mainstay::frontend
