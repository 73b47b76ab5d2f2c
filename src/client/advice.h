// What an error means for a client that has several endpoints. Pure.
//
// Sources: OASIS AMQP 1.0 part 2 §2.8.15 to 2.8.18 (standard conditions), Azure Service Bus
// ("com.microsoft:…"), and what our nodes say (docs/clients.md has the table for users).
#pragma once

#include <cstdint>
#include <string_view>

namespace mainstay::client {

/// What to do after a connection or link ended, or after an attach was refused, with this condition.
enum class Advice : std::uint8_t {
  /// This node does not serve now (a standby, a sealed or fenced one, or it is leaving): try the next at
  /// once.
  not_live,
  /// No TCP connection, or it broke: the node or the way to it is gone.
  unreachable,
  /// It took the connection and did not answer in time: frozen, or cut off in one direction.
  silent,
  /// It serves, and takes nothing more for now: this endpoint again, after a wait.
  busy,
  /// It does not know us, or not with this password. Waiting cures nothing.
  credentials,
  /// It serves, and refuses what we asked for: no such queue, not allowed, not implemented.
  request,
};

/// @param condition  of the error; one that nobody knows counts as `unreachable`: another endpoint, after a
/// wait.
[[nodiscard]] Advice advice_of(std::string_view condition);

/// Whether a message rejected with this condition will be rejected always: it, or what it asks for, is at
/// fault. Else the same message may be sent again.
[[nodiscard]] bool message_at_fault(std::string_view condition);

[[nodiscard]] const char* name_of(Advice advice);

}  // namespace mainstay::client
