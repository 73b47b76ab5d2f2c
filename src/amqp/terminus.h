// Sources and targets (part 3 of the standard, section 3.5): what a client's attach asks for, and the echo
// that answers it.
#pragma once

#include "amqp/engine.h"
#include "amqp/performatives.h"

namespace mainstay::amqp {

/// Fills `out` from an attach. @return false when a terminus is malformed; `problem` says which.
bool read_attach(const AttachFrame& attach, AttachRequest& out, std::string& problem);

/// The client's source as it came, but for the session assigned (written in the form in which the client
/// asked) and the address assigned. Empty stays empty.
Buffer echo_source(BytesView source, const std::optional<std::string>& session_id,
                   const std::optional<std::string>& assigned_address);
Buffer echo_target(BytesView target, const std::optional<std::string>& assigned_address);
/// The client's link properties, with `com.microsoft:locked-until-utc` and
/// `mainstay:duplicate-detection-window-ms` when given. Empty when there are none.
Buffer echo_properties(BytesView properties, std::optional<std::int64_t> locked_until_ticks,
                       std::optional<std::int64_t> duplicate_window_ms);

}  // namespace mainstay::amqp
