// The two readers behind read_messages(): one item each, into a Message.
#pragma once

#include <optional>
#include <string_view>

#include "payments/formats.h"
#include "payments/message.h"

namespace mainstay::payments {

/// Fills what can be read even when a rule fails; the first rule that fails is returned.
std::optional<Defect> read_mt(std::string_view item, const Limits& limits, Message& message);
std::optional<Defect> read_mx(std::string_view item, const Limits& limits, Message& message);

}  // namespace mainstay::payments
